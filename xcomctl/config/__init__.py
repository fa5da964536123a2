"""Configuration: the file, the metadata database it selects, and its URL."""
