"""docs/configuration.md names every key with its default, and its examples hold."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from synthians_memory.maintenance.configuration import load_configuration
from synthians_memory.maintenance.configuration_keys import DEFAULTS
from synthians_memory.maintenance.github import TOKEN_VARIABLE

PAGE = (Path(__file__).resolve().parent.parent / "docs" / "configuration.md").read_text(encoding="utf-8")
ROWS = dict(re.findall(r"^\| `((?:storage|health|alerts|capture)\.[\w.<>]+)` \| (.+?) \|", PAGE, re.MULTILINE))


def shown(value: object) -> str:
    if value in (None, []):
        return "none"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def test_every_key_stands_there_with_its_default() -> None:
    built_in = {key for key in DEFAULTS if key.startswith("capture.")}
    tags = {key for key in built_in if key.startswith("capture.tags.")}
    assert ROWS.keys() == DEFAULTS.keys() - tags | {"capture.tags.<tag>"}
    for key, default in ROWS.items():
        assert default.startswith("[built in]") if key.startswith("capture.") else default == shown(DEFAULTS[key]), key
    assert TOKEN_VARIABLE in PAGE


def test_the_example_file_is_read(tmp_path: Path) -> None:
    (example,) = re.findall(r"^```yaml\n(.+?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    file = tmp_path / ".config" / "synthians-memory" / "config.yaml"
    assert example.startswith(f"# ~/{file.relative_to(tmp_path)}\n")
    file.parent.mkdir(parents=True)
    file.write_text(example)
    found = load_configuration(None, {"HOME": str(tmp_path)})
    assert (found.path, found.backup_retention_days) == (str(tmp_path / "memories"), 14)
    assert found.github is not None
    assert found.capture.judge("Grace Hopper wrote it in rust").tags == ("people",)


def test_the_example_program_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (example,) = re.findall(r"^```python\n(.+?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    scope: dict[str, object] = {}
    exec(example, scope)  # noqa: S102
    assert scope["store"].config.storage_path == "./notes"  # type: ignore[attr-defined]
