"""A store for the memories of AI agents, in plain files.

It is not a server: it is embedded in the program that uses it.
"""
