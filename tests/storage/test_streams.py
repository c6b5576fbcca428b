"""Files of lines as users name them: real files, pipes, standard streams, damaged gzip."""

from __future__ import annotations

import asyncio
import errno
import gzip
import io
import os
import stat
import subprocess
import sys
import threading
import zlib
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import synthians_memory
from synthians_memory.errors import DamagedError, DiskError, InvalidValueError, NotRegularFileError
from synthians_memory.storage.streams import CHUNK_BYTES, read_lines, write_lines

pytestmark = pytest.mark.asyncio

LINES = [b"one", b"", b"three", "vier ü".encode()]
TEXT = b"".join(line + b"\n" for line in LINES)
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(synthians_memory.__file__).parent.parent)}


async def collect(chunks: AsyncIterator[list[bytes]]) -> list[bytes]:
    return [line async for chunk in chunks for line in chunk]


async def delivered_before_error(
    path: Path, error: type[Exception], *, chunk_bytes: int = CHUNK_BYTES, max_line_bytes: int = 1 << 20
) -> tuple[list[bytes], Exception]:
    lines: list[bytes] = []

    async def gather() -> None:
        async for chunk in read_lines(path, chunk_bytes=chunk_bytes, max_line_bytes=max_line_bytes):
            lines.extend(chunk)

    with pytest.raises(error) as caught:
        await gather()
    return lines, caught.value


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


MARK = b"\xef\xbb\xbf"


class TestReading:
    @pytest.mark.parametrize("zipped", [False, True])
    @pytest.mark.parametrize("size", [1, 2, 3, 4, CHUNK_BYTES])
    @pytest.mark.parametrize(
        ("text", "lines"),
        [
            (MARK + b"one\ntwo", [b"one", b"two"]),
            (MARK + b"one", [b"one"]),
            (MARK + b"\none\n", [b"", b"one"]),
            (MARK, []),
            (MARK * 2 + b"one\n", [MARK + b"one"]),
            (b"one\n" + MARK + b"two\n" + MARK, [b"one", MARK + b"two", MARK]),
            (b"\n" + MARK, [b"", MARK]),
            (MARK[:2] + b"\n", [MARK[:2]]),
        ],
    )
    async def test_a_byte_order_mark_is_no_part_of_the_first_line(
        self, tmp_path: Path, text: bytes, lines: list[bytes], size: int, zipped: bool
    ) -> None:
        (tmp_path / "lines").write_bytes(gzip.compress(text) if zipped else text)
        assert await collect(read_lines(tmp_path / "lines", chunk_bytes=size)) == lines

    @pytest.mark.parametrize("name", ["lines.jsonl", "lines.jsonl.gz", "zipped without the name"])
    async def test_lines_come_without_their_breaks(self, tmp_path: Path, name: str) -> None:
        (tmp_path / name).write_bytes(TEXT if name == "lines.jsonl" else gzip.compress(TEXT))
        assert await collect(read_lines(tmp_path / name)) == LINES

    @pytest.mark.parametrize(
        ("content", "expected"),
        [(b"", []), (b"\n", [b""]), (b"a", [b"a"]), (b"a\nb", [b"a", b"b"]), (b"a\r\nb\n\n", [b"a\r", b"b", b""])],
    )
    async def test_the_end_of_the_file(self, tmp_path: Path, content: bytes, expected: list[bytes]) -> None:
        (tmp_path / "lines").write_bytes(content)
        assert await collect(read_lines(tmp_path / "lines")) == expected

    @pytest.mark.parametrize("chunk_bytes", [1, 2, 7, 64, CHUNK_BYTES])
    @pytest.mark.parametrize("compress", [False, True])
    async def test_the_size_of_a_step_changes_nothing(self, tmp_path: Path, chunk_bytes: int, compress: bool) -> None:
        path = tmp_path / ("lines.gz" if compress else "lines")
        path.write_bytes(gzip.compress(TEXT * 3) if compress else TEXT * 3)
        assert await collect(read_lines(path, chunk_bytes=chunk_bytes)) == LINES * 3

    async def test_many_lines_come_in_few_steps(self, tmp_path: Path) -> None:
        lines = [b"%d" % number for number in range(300_000)]
        (tmp_path / "lines").write_bytes(b"\n".join(lines))
        chunks = [chunk async for chunk in read_lines(tmp_path / "lines")]
        assert [line for chunk in chunks for line in chunk] == lines
        assert len(chunks) <= 4

    @pytest.mark.parametrize("chunk_bytes", [3, CHUNK_BYTES])
    async def test_gzip_members_are_read_one_behind_the_other(self, tmp_path: Path, chunk_bytes: int) -> None:
        members = [gzip.compress(part) for part in (b"one\ntw", b"", b"o\nthree\n", b"four")]
        (tmp_path / "lines.gz").write_bytes(b"".join(members) + bytes(50))
        found = await collect(read_lines(tmp_path / "lines.gz", chunk_bytes=chunk_bytes))
        assert found == [b"one", b"two", b"three", b"four"]

    async def test_every_truncation_of_gzip_is_told(self, tmp_path: Path) -> None:
        whole = gzip.compress(b"".join(b"line %d\n" % number for number in range(30)))
        path = tmp_path / "lines.gz"
        for length in range(len(whole)):
            path.write_bytes(whole[:length])
            lines, error = await delivered_before_error(path, DamagedError)
            assert lines == [b"line %d" % number for number in range(len(lines))]
            assert f"at line {len(lines) + 1}" in str(error)
            assert str(path) in str(error)
            in_small_steps, _ = await delivered_before_error(path, DamagedError, chunk_bytes=1 + length % 5)
            assert in_small_steps == lines

    async def test_damaged_gzip_is_told(self, tmp_path: Path) -> None:
        whole = bytearray(gzip.compress(TEXT * 50))
        whole[-6] ^= 0xFF
        path = tmp_path / "lines.gz"
        path.write_bytes(whole)
        lines, error = await delivered_before_error(path, DamagedError)
        assert f"at line {len(lines) + 1}" in str(error)
        path.write_bytes(gzip.compress(TEXT) + b"no gzip")
        lines, error = await delivered_before_error(path, DamagedError)
        assert lines == LINES
        assert "at line 5" in str(error)

    async def test_what_is_called_gzip_and_is_none_is_told(self, tmp_path: Path) -> None:
        (tmp_path / "lines.gz").write_bytes(TEXT)
        lines, error = await delivered_before_error(tmp_path / "lines.gz", DamagedError)
        assert lines == []
        assert "at line 1" in str(error)

    @pytest.mark.parametrize("chunk_bytes", [4, 50, CHUNK_BYTES])
    @pytest.mark.parametrize("ending", [b"", b"\n", b"\nafter\n"])
    @pytest.mark.parametrize("compress", [False, True])
    async def test_a_line_that_is_too_long_is_numbered(
        self, tmp_path: Path, chunk_bytes: int, ending: bytes, compress: bool
    ) -> None:
        content = b"x" * 100 + b"\n\nshort\n" + b"y" * 101 + ending
        path = tmp_path / "lines"
        path.write_bytes(gzip.compress(content) if compress else content)
        lines, error = await delivered_before_error(
            path, InvalidValueError, chunk_bytes=chunk_bytes, max_line_bytes=100
        )
        assert lines == [b"x" * 100, b"", b"short"]
        assert "line 4 of" in str(error)

    async def test_a_gzip_bomb_is_unpacked_no_further_than_the_bound(self, tmp_path: Path) -> None:
        packer = zlib.compressobj(9, zlib.DEFLATED, 31)
        packed = b"".join(packer.compress(bytes(1 << 20)) for _ in range(256)) + packer.flush()
        (tmp_path / "bomb.gz").write_bytes(packed)
        assert len(packed) < 1 << 20
        lines, error = await delivered_before_error(tmp_path / "bomb.gz", InvalidValueError, chunk_bytes=1 << 16)
        assert lines == []
        assert "line 1 of" in str(error)

    async def test_a_missing_file_and_a_folder_are_refused(self, tmp_path: Path) -> None:
        _, error = await delivered_before_error(tmp_path / "missing", DiskError)
        assert isinstance(error, DiskError)
        assert error.errno == errno.ENOENT
        assert str(tmp_path / "missing") in str(error)
        _, error = await delivered_before_error(tmp_path, NotRegularFileError)
        assert "Look at the path" in str(error)

    async def test_a_pipe_is_read_as_it_comes(self, tmp_path: Path) -> None:
        fifo = tmp_path / "fifo"
        os.mkfifo(fifo)
        go_on = threading.Event()

        def write() -> None:
            with fifo.open("wb", buffering=0) as pipe:
                pipe.write(b"first\nsec")
                go_on.wait()
                pipe.write(b"ond\n")

        writer = threading.Thread(target=write)
        writer.start()
        async with aclosing(read_lines(fifo)) as chunks:
            assert await anext(chunks) == [b"first"]
            go_on.set()
            assert await anext(chunks) == [b"second"]
        writer.join()

    @pytest.mark.parametrize("compress", [False, True])
    async def test_standard_input_is_read(self, compress: bool) -> None:
        program = (
            "import asyncio\n"
            "from synthians_memory.storage.streams import read_lines\n"
            "async def main():\n"
            "    async for chunk in read_lines('-'):\n"
            "        print(chunk)\n"
            "asyncio.run(main())\n"
        )
        result = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-c", program],
            input=gzip.compress(TEXT) if compress else TEXT,
            env=ENVIRONMENT,
            capture_output=True,
            check=True,
        )
        assert result.stdout.decode() == f"{LINES}\n"
        assert result.stderr == b""


class TestWriting:
    @pytest.mark.parametrize("name", ["lines.jsonl", "lines.jsonl.gz"])
    async def test_what_is_written_is_read(self, tmp_path: Path, name: str) -> None:
        path = tmp_path / name
        umask = os.umask(0)
        try:
            async with write_lines(path) as out:
                await out.write(LINES[:1])
                await out.write([])
                await out.write(iter(LINES[1:]))
                assert not path.exists()
        finally:
            os.umask(umask)
        assert await collect(read_lines(path)) == LINES
        content = path.read_bytes()
        assert (gzip.decompress(content) if name.endswith(".gz") else content) == TEXT
        assert mode_of(path) == 0o600
        assert os.listdir(tmp_path) == [name]

    async def test_equal_lines_give_equal_bytes_whatever_the_name_and_the_steps(self, tmp_path: Path) -> None:
        lines = [b"%d" % number for number in range(20_000)]
        async with write_lines(tmp_path / "a.gz") as out:
            await out.write(lines)
        async with write_lines(tmp_path / "b.gz", chunk_bytes=1000) as out:
            for number in range(0, 20_000, 100):
                await out.write(lines[number : number + 100])
        content = (tmp_path / "a.gz").read_bytes()
        assert content == (tmp_path / "b.gz").read_bytes()
        assert content[4:8] == bytes(4)  # no time
        assert content[3] == 0  # no name

    async def test_an_empty_file_is_written(self, tmp_path: Path) -> None:
        for name, expected in (("a", b""), ("a.gz", b"")):
            async with write_lines(tmp_path / name):
                pass
            content = (tmp_path / name).read_bytes()
            assert (gzip.decompress(content) if name.endswith(".gz") else content) == expected
            assert await collect(read_lines(tmp_path / name)) == []

    async def test_an_existing_file_is_replaced_at_the_end_only(self, tmp_path: Path) -> None:
        path = tmp_path / "lines"
        path.write_bytes(b"old")
        with path.open("rb") as reader:
            async with write_lines(path, chunk_bytes=1) as out:
                await out.write(LINES)
                assert path.read_bytes() == b"old"
            assert path.read_bytes() == TEXT
            assert reader.read() == b"old"

    @pytest.mark.parametrize("existing", [False, True])
    async def test_an_error_leaves_the_target_as_it_was(self, tmp_path: Path, existing: bool) -> None:
        path = tmp_path / "lines"
        if existing:
            path.write_bytes(b"old")

        async def fail() -> None:
            async with write_lines(path, chunk_bytes=1) as out:
                await out.write(LINES)
                raise KeyError("mine")

        with pytest.raises(KeyError, match="mine"):
            await fail()
        assert os.listdir(tmp_path) == ["lines"] * existing
        assert not existing or path.read_bytes() == b"old"

    async def test_cancelling_leaves_the_target_as_it_was(self, tmp_path: Path) -> None:
        started = asyncio.Event()

        async def export() -> None:
            async with write_lines(tmp_path / "lines", chunk_bytes=1) as out:
                while True:
                    await out.write(LINES)
                    started.set()

        task = asyncio.create_task(export())
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert os.listdir(tmp_path) == []

    async def test_a_line_break_in_a_line_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(InvalidValueError, match="line break"):
            async with write_lines(tmp_path / "lines") as out:
                await out.write([b"good", b"bad\nline"])
        assert os.listdir(tmp_path) == []

    async def test_two_exports_to_one_target_do_not_mix(self, tmp_path: Path) -> None:
        path = tmp_path / "lines"
        async with write_lines(path, chunk_bytes=1) as first, write_lines(path, chunk_bytes=1) as second:
            await first.write([b"first"])
            await second.write([b"second"])
        assert path.read_bytes() in {b"first\n", b"second\n"}
        assert os.listdir(tmp_path) == ["lines"]

    async def test_a_symlink_is_followed(self, tmp_path: Path) -> None:
        (tmp_path / "folder").mkdir()
        link = tmp_path / "link"
        link.symlink_to(tmp_path / "folder" / "target")
        for _ in range(2):
            async with write_lines(link) as out:
                await out.write(LINES)
            assert link.is_symlink()
            assert (tmp_path / "folder" / "target").read_bytes() == TEXT
            assert os.listdir(tmp_path / "folder") == ["target"]

    async def test_a_device_is_written_to_and_stays_one(self) -> None:
        async with write_lines("/dev/null") as out:
            await out.write(LINES)
        assert stat.S_ISCHR(os.stat("/dev/null").st_mode)

    async def test_a_full_device_is_told(self) -> None:
        with pytest.raises(DiskError) as caught:
            async with write_lines("/dev/full") as out:
                await out.write(LINES)
        assert caught.value.errno == errno.ENOSPC
        assert "/dev/full" in str(caught.value)

    async def test_a_pipe_gets_the_lines(self, tmp_path: Path) -> None:
        fifo = tmp_path / "fifo.gz"
        os.mkfifo(fifo)
        received = asyncio.create_task(asyncio.to_thread(fifo.read_bytes))
        async with write_lines(fifo) as out:
            await out.write(LINES)
        assert gzip.decompress(await received) == TEXT

    @pytest.mark.parametrize(("target", "number"), [("missing/lines", errno.ENOENT), (".", errno.EISDIR)])
    async def test_a_target_that_cannot_be_is_told(self, tmp_path: Path, target: str, number: int) -> None:
        with pytest.raises(DiskError) as caught:
            async with write_lines(tmp_path / target) as out:
                await out.write(LINES)
        assert caught.value.errno == number
        assert str(tmp_path / target) in str(caught.value)
        assert os.listdir(tmp_path) == []

    async def test_standard_output_gets_plain_lines(self, monkeypatch: pytest.MonkeyPatch) -> None:
        output = io.TextIOWrapper(io.BytesIO())
        monkeypatch.setattr(sys, "stdout", output)
        async with write_lines("-") as out:
            await out.write(LINES)
        monkeypatch.undo()
        assert isinstance(output.buffer, io.BytesIO)
        assert output.buffer.getvalue() == TEXT


@given(
    st.lists(st.binary(max_size=40).map(lambda line: line.replace(b"\n", b""))),
    st.integers(1, 50),
    st.sampled_from(["lines", "lines.gz"]),
)
async def test_any_lines_survive_the_round_trip(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], chunk_bytes: int, name: str
) -> None:
    path = tmp_path_factory.mktemp("streams") / name
    async with write_lines(path, chunk_bytes=chunk_bytes) as out:
        await out.write(lines)
    if path.read_bytes()[:1] != b"\x1f" or name.endswith(".gz"):
        assert await collect(read_lines(path, chunk_bytes=chunk_bytes)) == lines
