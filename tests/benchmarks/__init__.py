"""Benchmarks of speed: `python -m tests.benchmarks`."""
