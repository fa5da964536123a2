"""Stored values: decode, check, encode and render them. Never runs code of a value."""
