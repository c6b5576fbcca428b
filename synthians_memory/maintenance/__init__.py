"""Care of a store: what keeps it whole, safe and useful beyond single reads and writes.

It is not the store: nothing here is needed to save, load or recover.
"""
