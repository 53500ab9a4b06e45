"""Owns: what STAC says, as types and pure functions. Refuses: to store, fetch or serve anything."""
