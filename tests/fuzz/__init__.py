"""A search for inputs that make xcomctl crash: `python -m tests.fuzz --seconds 600 --seed 1`.

It is not part of the test suite. Every run of the program has random arguments, environment,
descriptors, limits, files and stored values; one that ends with exit code 70, with a traceback or
not at all is printed with what reproduces it.
"""
