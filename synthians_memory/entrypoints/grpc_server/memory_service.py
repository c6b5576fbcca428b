"""MemoryService: the three tiers of one open store, as calls.

It is not the server that takes them (`server`), and opens no tiers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from synthians_memory.entrypoints.grpc_server.proto.synthians.memory.v1 import memory_pb2, memory_pb2_grpc
from synthians_memory.entrypoints.grpc_server.tier_calls import LongTermCalls, OperationalCalls, WorkingCalls
from synthians_memory.tiers.tiers import Tiers

__all__ = ["MemoryService", "registration"]


class MemoryService(OperationalCalls, WorkingCalls, LongTermCalls, memory_pb2_grpc.MemoryServiceServicer):
    """Every call of the service, on the tiers of one store.

    Args:
        tiers: open; their event loop is that of the calls.
    """


def registration(tiers: Tiers) -> Callable[[Any], list[str]]:
    """What adds the service to a server, as `Server` takes it."""

    def add(server: Any) -> list[str]:
        cast(Any, memory_pb2_grpc).add_MemoryServiceServicer_to_server(MemoryService(tiers), server)
        return [memory_pb2.DESCRIPTOR.services_by_name["MemoryService"].full_name]

    return add
