"""The settings of a service: where it listens, whom it admits, and its bounds; checked before anything is opened.

It is not the settings of the store, which are those of `StoreConfig`.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import stat
from dataclasses import dataclass, field
from typing import Final

from synthians_memory.errors import InvalidValueError, PermissionDeniedError, UsageError, disk_error

__all__ = ["DEFAULT_PORT", "Bounds", "ServiceSettings", "is_loopback", "read_token", "read_user_file"]

DEFAULT_PORT: Final = 50053

_MIB: Final = 1 << 20
_MOST_FILE: Final = 1 * _MIB
_LEAST_TOKEN: Final = 16
_MOST_TOKEN: Final = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What a service takes at most.

    Attributes:
        message_bytes: of one message that it receives.
        calls: calls at once, over all connections; more are refused.
        connections: more are closed as soon as they are made.
        deadline: seconds for a call that brings no deadline of its own; of a stream, for each step of it.
        handshake: seconds until a connection must have become one of gRPC.
        grace: seconds that calls have to end when the service does.
    """

    message_bytes: int = 16 * _MIB
    calls: int = 128
    connections: int = 512
    deadline: float = 300.0
    handshake: float = 10.0
    grace: float = 30.0

    def __post_init__(self) -> None:
        for name, least in (("message_bytes", 1024), ("calls", 1), ("connections", 1)):
            if getattr(self, name) < least:
                raise InvalidValueError(f"{name} is {getattr(self, name)}; it must be at least {least}")
        for name in ("deadline", "handshake", "grace"):
            if not 0 < getattr(self, name) <= 1_000_000:
                raise InvalidValueError(f"{name} is {getattr(self, name)}; it must be a number of seconds above 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSettings:
    """Where a service listens, and whom it admits.

    Attributes:
        host: a name or an address; "127.0.0.1" and "::1" are reached from this machine alone.
        port: 0 for any that is free.
        token: what every call must bring; None admits all. It stands in no message.
        certificate, key: PEM; both or none. With them the service speaks TLS and nothing else.
        bounds: what it takes at most.

    Raises:
        UsageError: an address that others reach, without a token and TLS.
        InvalidValueError: a value is wrong.
    """

    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    token: str | None = field(default=None, repr=False)
    certificate: bytes | None = None
    key: bytes | None = field(default=None, repr=False)
    bounds: Bounds = Bounds()

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65_535:
            raise InvalidValueError(f"the port is {self.port}", hint="Give one of 0 to 65535; 0 for any that is free.")
        if (self.certificate is None) != (self.key is None):
            raise UsageError("of certificate and key only one was given", hint="Give both, or neither.")
        if not (self.token and self.certificate) and not is_loopback(self.host):
            raise UsageError(
                f"{self.host} is reached from other machines, which needs a token and TLS",
                hint="Give --token-file, --tls-cert and --tls-key; or listen on 127.0.0.1.",
            )

    @property
    def addresses(self) -> list[str]:
        """The numeric addresses that `host` stands for. Raises InvalidValueError where it stands for none."""
        return _resolved(self.host)


def is_loopback(host: str) -> bool:
    """Whether every address of `host` is reached from this machine alone. Raises InvalidValueError."""
    return all(ipaddress.ip_address(address.partition("%")[0]).is_loopback for address in _resolved(host))


def _resolved(host: str) -> list[str]:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE) if host else []
    except (OSError, UnicodeError) as error:
        raise InvalidValueError(
            f"the host {host!r} has no address: {error}", hint="Give a name or an address."
        ) from error
    if not found:
        raise InvalidValueError("the host is empty", hint="Give a name or an address, such as 127.0.0.1.")
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def read_token(path: str) -> str:
    """The token in the file `path`, without the line break at its end.

    Raises:
        PermissionDeniedError: others than its owner may read or change the file.
        InvalidValueError: it holds no token of at least 16 printable ASCII characters.
        DiskError: it cannot be read.
    """
    text = read_user_file(path, secret=True)
    token = text.decode("ascii", "replace").strip()
    if not (_LEAST_TOKEN <= len(token) <= _MOST_TOKEN and all("!" <= character <= "~" for character in token)):
        raise InvalidValueError(
            f"{path} holds no token",
            path=path,
            hint=f"Write one line of {_LEAST_TOKEN} to {_MOST_TOKEN} printable ASCII characters without spaces, "
            "such as `openssl rand -hex 32` prints.",
        )
    return token


def read_user_file(path: str, *, secret: bool = False) -> bytes:
    """The content of a file that a user names, of 1 MiB at most.

    Args:
        path: the file.
        secret: whether nobody but its owner may have a right to it.

    Raises:
        PermissionDeniedError: somebody has.
        InvalidValueError: it is no regular file, or too large.
        DiskError: it cannot be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise InvalidValueError(f"{path} is no regular file", path=path, hint="Give the path of a file.")
            if secret and status.st_mode & 0o077:
                raise PermissionDeniedError(
                    f"{path} may be read by others (mode {stat.S_IMODE(status.st_mode):04o})",
                    path=path,
                    hint=f"Run: chmod 600 {path}",
                )
            content = file.read(_MOST_FILE + 1)
    except OSError as error:
        if isinstance(error, PermissionDeniedError):
            raise
        raise disk_error(error, "read", path) from error
    if len(content) > _MOST_FILE:
        raise InvalidValueError(f"{path} is larger than {_MOST_FILE} bytes", path=path)
    return content
