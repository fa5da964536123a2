"""Stored values: decode them, encode them, render them; nothing here runs a value's code."""
