"""Benchmarks: each script runs by itself, `python -m bench` runs them one after the other. Never part of the tests."""
