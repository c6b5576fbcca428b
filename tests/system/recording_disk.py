"""A disk in user space that records every write and flush: one file in a FUSE file system, for a loop device.

Run as a program it serves the kernel; `RecordingDisk` is its client. It speaks just as much of the FUSE protocol
as a loop device needs, and passes data through to a backing file.

The log is a sequence of records: W offset length data, F for a flush, and M length data for what came over the
acknowledgement socket. What stands before a write in the log was acknowledged before that write was made.
"""

from __future__ import annotations

import ctypes
import errno
import os
import select
import socket
import stat
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from mounts import loop_device, unmounted

_FILE: Final = b"disk"
_ROOT, _DISK = 1, 2
_LOOKUP, _FORGET, _GETATTR, _OPEN, _READ, _WRITE, _STATFS, _RELEASE = 1, 2, 3, 14, 15, 16, 17, 18
_FSYNC, _FLUSH, _INIT, _INTERRUPT, _BATCH_FORGET = 20, 25, 26, 36, 42
_UNANSWERED = (_FORGET, _INTERRUPT, _BATCH_FORGET)
_BIG_WRITES, _MAX_PAGES = 1 << 5, 1 << 22
_DIRECT_IO = 1
_FOR_EVER = 1000
_MOST_WRITTEN = 1 << 20
_HEADER = struct.Struct("<IIQQIIIHH")
WRITE_RECORD = struct.Struct("<QI")
MARK_RECORD = struct.Struct("<I")

# What the client sends to let the disk fail: nothing, writes and flushes, or flushes alone.
HEALTHY, BROKEN, UNFLUSHABLE = b"h", b"b", b"u"


class _Server:
    """Answers the kernel until the file system is unmounted."""

    def __init__(self, backing: int, log: int, marks: socket.socket, orders: socket.socket) -> None:
        self._backing = backing
        self._size = os.fstat(backing).st_size
        self._log = log
        self._marks: socket.socket | None = marks
        self._orders = orders
        self._health = HEALTHY

    def serve(self, fuse: int) -> None:
        """Until it is unmounted."""
        while True:
            sources = [fuse, self._orders, *([self._marks] if self._marks else [])]
            ready = select.select(sources, [], [])[0]
            # First, so that a mark stands before every write made after it.
            self._take_marks()
            self._take_orders()
            if fuse in ready:
                try:
                    request = os.read(fuse, _MOST_WRITTEN + 65536)
                except OSError as error:
                    if error.errno == errno.ENODEV:
                        return
                    raise
                self._answer(fuse, request)

    def _take_marks(self) -> None:
        while self._marks is not None:
            try:
                data = self._marks.recv(1 << 20, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            except ConnectionResetError:
                data = b""
            if not data:
                self._marks = None
                return
            os.write(self._log, b"M" + MARK_RECORD.pack(len(data)) + data)

    def _take_orders(self) -> None:
        try:
            order = self._orders.recv(1, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        if order:
            self._health = order
            self._orders.send(order)

    def _answer(self, fuse: int, request: bytes) -> None:
        length, operation, unique, node, *_ = _HEADER.unpack_from(request)
        if operation in _UNANSWERED:
            return
        try:
            answer, error = self._do(operation, node, request[_HEADER.size : length]), 0
        except OSError as refusal:
            answer, error = b"", -(refusal.errno or errno.EIO)
        os.write(fuse, struct.pack("<IiQ", 16 + len(answer), error, unique) + answer)

    def _do(self, operation: int, node: int, body: bytes) -> bytes:
        if operation == _INIT:
            flags = _BIG_WRITES | _MAX_PAGES
            return struct.pack("<IIIIHHIIHHIIH22x", 7, 31, 0, flags, 12, 10, _MOST_WRITTEN, 1, 256, 0, 0, 0, 0)
        if operation == _LOOKUP:
            if body.rstrip(b"\0") != _FILE:
                raise OSError(errno.ENOENT, "no such file")
            return struct.pack("<QQQQII", _DISK, 0, _FOR_EVER, _FOR_EVER, 0, 0) + self._attributes(_DISK)
        if operation == _GETATTR:
            return struct.pack("<QII", _FOR_EVER, 0, 0) + self._attributes(node)
        if operation == _OPEN:
            return struct.pack("<QIi", 1, _DIRECT_IO, 0)
        if operation == _STATFS:
            return struct.pack("<5QIIII24x", 1, 1, 1, 1, 1, 4096, 255, 4096, 0)
        if operation in (_RELEASE, _FLUSH):
            return b""
        return self._transfer(operation, body)

    def _transfer(self, operation: int, body: bytes) -> bytes:
        if operation == _FSYNC:
            if self._health != HEALTHY:
                raise OSError(errno.EIO, "cannot flush")
            os.write(self._log, b"F")
            return b""
        if operation not in (_READ, _WRITE):
            raise OSError(errno.ENOSYS, "unknown operation")
        _, offset, size = struct.unpack_from("<QQI", body)
        if operation == _READ:
            return os.pread(self._backing, size, offset)
        if self._health == BROKEN:
            raise OSError(errno.EIO, "cannot write")
        data = body[40 : 40 + size]
        os.pwrite(self._backing, data, offset)
        os.write(self._log, b"W" + WRITE_RECORD.pack(offset, size) + data)
        return struct.pack("<II", size, 0)

    def _attributes(self, node: int) -> bytes:
        mode, size = (stat.S_IFDIR | 0o700, 0) if node == _ROOT else (stat.S_IFREG | 0o600, self._size)
        return struct.pack("<6Q10I", node, size, 0, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)


def main() -> None:
    """Arguments: backing file, mount point, log, and the descriptors of marks and orders."""
    backing, target, log = sys.argv[1:4]
    marks, orders = (socket.socket(fileno=int(argument)) for argument in sys.argv[4:6])
    fuse = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={fuse},rootmode=40000,user_id=0,group_id=0".encode()
    library = ctypes.CDLL(None, use_errno=True)
    if library.mount(b"recording-disk", os.fsencode(target), b"fuse", 0, options) != 0:
        raise OSError(ctypes.get_errno(), f"cannot mount on {target}")
    orders.send(HEALTHY)
    log_descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    _Server(os.open(backing, os.O_RDWR), log_descriptor, marks, orders).serve(fuse)


class RecordingDisk:
    """The disk while it runs.

    Attributes:
        device: path of its loop device.
        marks: what is sent here goes into the log, in the order of time.
    """

    def __init__(self, device: str, marks: socket.socket, orders: socket.socket) -> None:
        self.device = device
        self.marks = marks
        self._orders = orders

    def become(self, health: bytes) -> None:
        """HEALTHY, BROKEN or UNFLUSHABLE from now on; returns when it is."""
        self._orders.send(health)
        assert self._orders.recv(1) == health


@contextmanager
def recording_disk(backing: Path, log: Path) -> Iterator[RecordingDisk]:
    """A disk with the content of `backing`, which it changes, and its log; gone at the end, whatever happens."""
    target = backing.with_suffix(".fuse")
    target.mkdir(exist_ok=True)
    # Of packets, so that what a killed process sends is there whole or not at all.
    pairs = [socket.socketpair(type=socket.SOCK_SEQPACKET) for _ in range(2)]
    with ExitStack() as stack:
        for pair in pairs:
            for end in pair:
                stack.enter_context(end)
        (marks, marks_in), (orders, orders_in) = pairs
        descriptors = [marks_in.fileno(), orders_in.fileno()]
        arguments = [str(backing), str(target), str(log), *map(str, descriptors)]
        server = subprocess.Popen([sys.executable, str(Path(__file__).resolve()), *arguments], pass_fds=descriptors)
        stack.callback(_end, server)
        stack.enter_context(unmounted(target))
        marks_in.close()
        orders_in.close()
        assert orders.recv(1) == HEALTHY, "the disk did not start"
        device = stack.enter_context(loop_device(target / os.fsdecode(_FILE)))
        yield RecordingDisk(device, marks, orders)


def _end(server: subprocess.Popen[bytes]) -> None:
    """It ends by itself when it is unmounted."""
    try:
        server.wait(10)
    finally:
        server.kill()
        server.wait()


if __name__ == "__main__":
    main()
