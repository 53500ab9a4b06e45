"""The configuration room."""
