"""The ledger: a hash-chained log of every run, the facts promoted from it, their artifacts and capsules.

It is not a part of the core: no memory depends on it.
"""
