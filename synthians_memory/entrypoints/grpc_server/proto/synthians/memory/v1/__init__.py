"""A folder of the proto package synthians.memory.v1.

It holds no code of its own.
"""
