"""Owns: the catalog's tables and statements. Refuses: to decide how a search is carried out (`catalog.planning`).

Entry point: `store.SqlCatalog`. What differs between databases is in `dialects`.
"""
