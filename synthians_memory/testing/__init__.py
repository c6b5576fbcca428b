"""What proves a store: conformance suites and a disk that can be made to fail, shipped for every back end.

It is not used by the store itself, and holds no tests of this library's own.
"""
