"""Import of memories that other programs have stored: the original Synthians code, and the MCP memory server.

It never writes to the source, and it is not the import of this library's own lines.
"""
