"""Questions to the metadata database. Nothing here can write."""
