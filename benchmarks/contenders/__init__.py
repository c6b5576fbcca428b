"""One module per contender, each with a class `Store`; named by CONTENDERS.

They are imported by the process that runs one, and by nothing else.
"""

from __future__ import annotations

# Name on the command line: module, settings that its class is given.
CONTENDERS: dict[str, tuple[str, dict[str, object]]] = {
    "ours": ("ours", {}),
    "ours-behind": ("ours", {"write_mode": "behind"}),
    "ours-8bit": ("ours", {"vector_storage": "8-bit"}),
    "floor": ("floor", {}),
    "floor-lists": ("floor_lists", {}),
    "naive": ("naive", {}),
    "sqlite-vec": ("sqlite_vec", {}),
    "chroma": ("chroma", {}),
    "lancedb": ("lance", {}),
    "lancedb-index": ("lance", {"index": True}),
    "qdrant": ("qdrant", {}),
    "langgraph": ("langgraph", {}),
}
OURS = ("ours", "ours-behind", "ours-8bit")
VECTOR_PEERS = ("sqlite-vec", "chroma", "lancedb", "qdrant")
SEARCH_PEERS = (*VECTOR_PEERS, "lancedb-index")
PEERS = (*VECTOR_PEERS, "langgraph")
