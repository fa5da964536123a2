"""Configuration: the file, the metadata database it selects, and that database's URL."""
