"""A store that another process serves over gRPC, with the names of the facade.

It holds no data: what it answers is what the service answered.
"""

from __future__ import annotations

from synthians_memory.entrypoints.grpc_client.remote import RemoteMemoryPersistence
from synthians_memory.entrypoints.grpc_client.remote_tiers import RemoteTiers

__all__ = ["RemoteMemoryPersistence", "RemoteTiers"]
