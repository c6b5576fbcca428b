"""The storage engine: one store kept consistent, synchronous but for its facade.

It is not the command line and not a service; it opens no file itself, `storage` does.
"""
