"""Ways into a store from outside a Python program.

They are no part of the engine: each only translates, and nothing below imports them.
"""
