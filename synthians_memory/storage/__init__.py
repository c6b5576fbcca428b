"""Bytes on a medium: back ends, the journal, locks, the cache and the files that users name.

It has never heard of a memory.
"""
