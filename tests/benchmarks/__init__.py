"""How fast xcomctl is, against the database's own client: `python -m tests.benchmarks`."""
