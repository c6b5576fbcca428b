"""The proto files of the service, and the code that protoc makes of them.

Nothing in it is written by hand but the proto files.
"""
