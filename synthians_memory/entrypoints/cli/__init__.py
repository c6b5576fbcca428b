"""The program `synthians-memory`: one module per command, and what the commands share.

It is not an interface for programs in Python: those use `MemoryPersistence`.
"""
