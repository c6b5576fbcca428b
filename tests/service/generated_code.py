"""The code that protoc makes of the service's proto files: `python tests/service/generated_code.py` puts it into the package."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc

PROTO = Path(__file__).resolve().parents[2] / "synthians_memory" / "entrypoints" / "grpc_server" / "proto"
PACKAGE = "synthians_memory.entrypoints.grpc_server.proto."


def generate(into: Path) -> list[str]:
    """Generate below `into`, as it lies below PROTO; the paths of what was made."""
    sources = sorted(path.relative_to(PROTO).as_posix() for path in PROTO.rglob("*.proto"))
    options = [f"-I{PROTO}", f"-I{files('grpc_tools') / '_proto'}"]
    options += [f"--{kind}_out={into}" for kind in ("python", "pyi", "grpc_python")]
    if protoc.main(["protoc", *options, *sources]):
        raise RuntimeError("protoc failed")
    made = sorted(path for path in into.rglob("*_pb2*.py*") if path.suffix in (".py", ".pyi"))
    for path in made:
        text = path.read_text(encoding="utf-8")
        # protoc takes the folder of the proto files for one from which Python imports.
        path.write_text(
            re.sub(r"^from (synthians\.)", rf"from {PACKAGE}\1", text, flags=re.MULTILINE), encoding="utf-8"
        )
    return [path.relative_to(into).as_posix() for path in made]


if __name__ == "__main__":
    generate(PROTO)
