"""Changes to the metadata database: push, delete and restore."""
