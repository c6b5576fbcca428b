"""The generated code in the package is what protoc makes of the proto files beside it."""

from __future__ import annotations

from pathlib import Path

import generated_code

NAMES = sorted(
    f"synthians/memory/v1/{name}_pb2{end}" for name in ("memory", "store") for end in (".py", ".pyi", "_grpc.py")
)


def test_it_is_generated_afresh_as_it_lies_there(tmp_path: Path) -> None:
    made = generated_code.generate(tmp_path)
    assert sorted(made) == NAMES
    for name in made:
        fresh, kept = ((folder / name).read_text(encoding="utf-8") for folder in (tmp_path, generated_code.PROTO))
        assert fresh == kept, f"{name} is not what its proto file says: run python tests/service/generated_code.py"
