"""What git tells: which files it tracks, and what they held at a revision.

It changes nothing in a repository, and runs git with lists of arguments only, never through a shell.
"""

from __future__ import annotations

import os
import subprocess
from typing import Final, Self

from synthians_memory.errors import GitFailedError, InvalidValueError

__all__ = ["GitTree"]

# Whatever a repository configures, git starts no other program here.
_OPTIONS: Final = ("--literal-pathspecs", "--no-replace-objects", "-c", "core.fsmonitor=false")
_REGULAR: Final = frozenset(("100644", "100755"))


class GitTree:
    """The work tree of one repository; made by `holding`.

    Attributes:
        top: its directory, without symlinks.
    """

    def __init__(self, top: str) -> None:
        self.top = top

    @classmethod
    def holding(cls, directory: str) -> Self:
        """The work tree that `directory` lies in.

        Raises:
            GitFailedError: there is no git, or no work tree.
        """
        top = _answer(directory, "rev-parse", "--show-toplevel")
        return cls(os.path.realpath(os.fsdecode(top.removesuffix(b"\n"))))

    def tracked_path(self, path: str) -> str:
        """The path of a file relative to the tree, with "/", where git tracks it as a regular file.

        Args:
            path: absolute, or relative to the present directory; a symlink in its last place is not followed.

        Raises:
            InvalidValueError: it lies outside the tree, is not tracked, or is no regular file.
            GitFailedError: git does not answer.
        """
        inside = self.path_inside(path)
        listed = _answer(self.top, "ls-files", "--stage", "-z", "--", inside).split(b"\0")
        modes = [record.split(b" ", 1)[0].decode() for record in listed if record.endswith(b"\t" + os.fsencode(inside))]
        if not modes:
            raise InvalidValueError(
                f"{path} is not tracked by git",
                path=path,
                hint="Add it with `git add`; what git ignores is no artifact.",
            )
        if not _REGULAR.issuperset(modes):
            raise InvalidValueError(f"{path} is no regular file", path=path, hint="Give the path of a file itself.")
        return inside

    def path_inside(self, path: str) -> str:
        """`path` relative to the tree. Raises InvalidValueError where it lies outside."""
        folder, name = os.path.split(os.path.abspath(path))
        inside = os.path.relpath(os.path.join(os.path.realpath(folder), name), self.top)
        if inside == os.curdir or inside.split(os.sep)[0] == os.pardir or os.path.isabs(inside):
            raise InvalidValueError(
                f"{path} lies outside of {self.top}", path=path, hint="Give a file of this work tree."
            )
        return inside.replace(os.sep, "/")

    def commit(self, revision: str) -> str:
        """The commit that `revision` names. Raises GitFailedError where it names none."""
        found = _answer(self.top, "rev-parse", "--verify", "--end-of-options", f"{revision}^{{commit}}")
        return found.decode().strip()

    def content(self, commit: str, path: str) -> bytes | None:
        """What the file at `path`, relative to the tree, held in `commit`; None where it was not there.

        Raises:
            GitFailedError: git does not answer, or something else than a file is there.
        """
        listed = _answer(self.top, "ls-tree", "-z", commit, "--", path).rstrip(b"\0")
        if not listed:
            return None
        kind, name = listed.split(b"\t")[0].split(b" ")[1:3]
        if kind != b"blob":
            raise GitFailedError(f"{path} is no file in {commit}", path=path, hint="Give another revision.")
        return _answer(self.top, "cat-file", "blob", name.decode())


def _answer(directory: str, *arguments: str) -> bytes:
    # Variables such as GIT_DIR would lead to another repository than that of the directory.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment |= {"GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
    try:
        done = subprocess.run(  # noqa: S603 - a list of arguments, and no shell
            ["git", "-C", directory, *_OPTIONS, *arguments],  # noqa: S607 - where git is, the PATH says
            env=environment,
            capture_output=True,
            check=False,
        )
    except FileNotFoundError as error:
        raise GitFailedError("there is no program git on the PATH") from error
    except (OSError, ValueError) as error:
        raise GitFailedError(f"git cannot be run: {error}") from error
    if done.returncode != 0:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise GitFailedError(
            f"git {arguments[0]} in {directory} failed: {said[-1] if said else done.returncode}",
            hint="Give a directory, and a revision, that git knows.",
        )
    return done.stdout
