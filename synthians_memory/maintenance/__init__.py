"""Care of a whole store: its move, its migration, and the import of what others have written.

It is not check and repair: the engine does both.
"""
