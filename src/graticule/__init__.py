"""Graticule: a self-hosted GeoCatalog."""

__version__ = "0.1.0"
