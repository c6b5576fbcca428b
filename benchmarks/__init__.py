"""Measures this store beside its floor, the naive way and what users would pick instead: `python -m benchmarks`.

It is not part of the installed package.
"""
