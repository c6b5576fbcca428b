"""The command serve as a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any


class Serving:
    """`serve --grpc` on a store; `stop` or `kill` it."""

    def __init__(self, store: Path, *options: str, port: int = 0) -> None:
        line = [sys.executable, "-m", "synthians_memory.entrypoints.cli", "--store", str(store), "serve", "--grpc"]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("SYNTHIANS_MEMORY_")}
        self.process = subprocess.Popen(
            [*line, "--port", str(port), *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self.errors: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        assert self.process.stdout is not None
        told = self.process.stdout.readline()
        self.address: dict[str, Any] = json.loads(told) if told else {}

    def _read(self) -> None:
        assert self.process.stderr is not None
        self.errors.extend(self.process.stderr)

    @property
    def port(self) -> int:
        return int(self.address["port"])

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Ask it to end; its exit code."""
        self.process.send_signal(number)
        return self.ended()

    def kill(self) -> None:
        self.process.kill()
        self.ended()

    def ended(self) -> int:
        code = self.process.wait(60)
        self._reader.join(10)
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self.process.stdout.close()
        self.process.stderr.close()
        return code

    @property
    def log(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.errors]
