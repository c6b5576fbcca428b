"""StoreService: the memories and assemblies of one open store, as calls.

It is not the server that takes them (`server`), and knows nothing of tokens and bounds (`guard`).
"""

from __future__ import annotations

from synthians_memory.entrypoints.grpc_server.care_calls import CareCalls
from synthians_memory.entrypoints.grpc_server.entity_calls import AssemblyCalls, MemoryCalls
from synthians_memory.entrypoints.grpc_server.proto.synthians.memory.v1 import store_pb2_grpc
from synthians_memory.entrypoints.grpc_server.search_calls import SearchCalls

__all__ = ["StoreService"]


class StoreService(MemoryCalls, AssemblyCalls, SearchCalls, CareCalls, store_pb2_grpc.StoreServiceServicer):
    """Every call of the service, on one store.

    Args:
        store: open; its event loop is that of the calls.
    """
