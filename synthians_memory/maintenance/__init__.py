"""Care of a store: watching, snapshots, restore.

It is not the engine: it mends nothing by itself, and changes a store only by the engine's own writes.
"""
