"""A user's home directory and a store in it, with configuration files where a test wants them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, NamedTuple

import yaml

from synthians_memory.maintenance.configuration import Configuration, load_configuration, user_file

Where = Literal["user", "store"]
WHERE: tuple[Where, ...] = ("user", "store")


class Home(NamedTuple):
    """A user's home directory, and a store."""

    path: Path

    @property
    def store(self) -> Path:
        return self.path / "notes"

    @property
    def environment(self) -> dict[str, str]:
        return {"HOME": str(self.path)}

    def file(self, where: Where) -> Path:
        return self.store / "config.yaml" if where == "store" else Path(user_file(self.environment))

    def write(self, where: Where, content: bytes | str | dict[str, Any]) -> Path:
        file = self.file(where)
        file.parent.mkdir(parents=True, exist_ok=True)
        text = yaml.safe_dump(content) if isinstance(content, dict) else content
        file.write_bytes(text.encode() if isinstance(text, str) else text)
        return file

    def load(self, path: str | Path | None = None, /, variables: Any = None, **arguments: Any) -> Configuration:
        return load_configuration(path or self.store, {**self.environment, **(variables or {})}, arguments)


def document(key: str, value: Any) -> dict[str, Any]:
    """The sections that give `key` its value."""
    for part in reversed(key.split(".")):
        value = {part: value}
    return dict(value)
