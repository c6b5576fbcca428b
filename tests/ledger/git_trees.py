"""Work trees of git for tests."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

IDENTITY = {
    "GIT_AUTHOR_NAME": "a",
    "GIT_AUTHOR_EMAIL": "a@example.org",
    "GIT_COMMITTER_NAME": "a",
    "GIT_COMMITTER_EMAIL": "a@example.org",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
}


def git(top: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=top, env={**os.environ, **IDENTITY}, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def make_tree(top: Path) -> Path:
    top.mkdir(parents=True, exist_ok=True)
    git(top, "init", "-q")
    return top


def commit(top: Path) -> str:
    git(top, "add", "-A")
    git(top, "commit", "-q", "--allow-empty", "-m", "state")
    return git(top, "rev-parse", "HEAD")
