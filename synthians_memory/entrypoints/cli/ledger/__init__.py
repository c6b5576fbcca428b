"""The commands of `ledger`: record runs, promote facts, index artifacts, look back, and examine.

They are not the ledger: synthians_memory.ledger is.
"""
