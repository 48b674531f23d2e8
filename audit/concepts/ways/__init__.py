"""Ways to find concepts: a way one file, one class and one line of `registry.py`."""
