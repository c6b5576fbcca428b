"""The service: one store, open in this process, served to others over gRPC.

It is no store of its own: every call is one of the facade's, and nothing is kept between calls.
"""
