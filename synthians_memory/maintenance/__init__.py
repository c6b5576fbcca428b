"""The care of a store from above its engine: copies of it, and what is done with them.

It is not the engine: no invariant of a store depends on anything here.
"""
