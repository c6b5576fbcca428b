"""Pages of a report, taken apart; and pictures of a browser, decoded."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any, NamedTuple

VOID = {"meta", "link", "img", "br", "hr", "input", "base", "embed", "source"}
# Attributes by which a page loads or runs something.
LOADING = {"src", "href", "xlink:href", "srcset", "action", "formaction", "data", "poster", "style", "background"}


@dataclass
class Node:
    """An element of a page."""

    tag: str
    attributes: dict[str, str | None] = field(default_factory=dict)
    children: list[Node] = field(default_factory=list)
    own_text: str = ""

    @property
    def text(self) -> str:
        return self.own_text + "".join(child.text for child in self.children)

    def all(self, tag: str) -> list[Node]:
        below = [found for child in self.children for found in child.all(tag)]
        return [self, *below] if self.tag == tag else below

    def everything(self) -> list[Node]:
        return [self, *(found for child in self.children for found in child.everything())]

    def by_id(self, name: str) -> Node:
        (found,) = (node for node in self.everything() if node.attributes.get("id") == name)
        return found


class _Parser(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.root = Node("")
        self.open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        node = Node(tag, dict(attrs))
        self.open[-1].children.append(node)
        if tag not in VOID:
            self.open.append(node)

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1].tag == tag, f"</{tag}> closes <{self.open[-1].tag}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.open[-1].own_text += data


def parsed(page: bytes) -> Node:
    """The tree of a page, all of whose elements are closed in order."""
    parser = _Parser()
    parser.feed(page.decode())
    parser.close()
    assert parser.open == [parser.root]
    return parser.root


def require_self_contained(root: Node) -> None:
    """That a page runs nothing and loads nothing, and forbids it as well."""
    tags = {node.tag for node in root.everything()}
    assert not tags & {
        "script",
        "img",
        "link",
        "iframe",
        "object",
        "embed",
        "form",
        "base",
        "use",
        "image",
        "a",
        "input",
    }
    for node in root.everything():
        assert not LOADING & node.attributes.keys(), node
        assert not [name for name in node.attributes if name.startswith("on")], node
    (style,) = root.all("style")
    assert "url(" not in style.text
    assert "@import" not in style.text
    policy = [node.attributes["content"] for node in root.all("meta") if "http-equiv" in node.attributes]
    assert policy[0] is not None
    assert policy[0].startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy[0]


class Picture(NamedTuple):
    """What a PNG shows: rows of RGB or RGBA bytes."""

    width: int
    height: int
    channels: int
    rows: list[bytes]

    def colour(self, x: int, y: int) -> tuple[int, ...]:
        return tuple(self.rows[y][x * self.channels : x * self.channels + 3])

    def colours(self) -> set[tuple[int, ...]]:
        """Those of every fourth pixel of every fourth row."""
        return {self.colour(x, y) for y in range(0, self.height, 4) for x in range(0, self.width, 4)}


def decoded(png: bytes) -> Picture:
    """A picture as browsers save it: 8 bits a channel, not interlaced."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    at, packed, header = 8, b"", b""
    while at < len(png):
        length, kind = struct.unpack(">I4s", png[at : at + 8])
        data = png[at + 8 : at + 8 + length]
        at += 12 + length
        header = data if kind == b"IHDR" else header
        packed += data if kind == b"IDAT" else b""
    width, height, depth, colour, *_, interlaced = struct.unpack(">IIBBBBB", header)
    assert (depth, interlaced) == (8, 0)
    channels = {2: 3, 6: 4}[colour]
    return Picture(width, height, channels, _unfiltered(zlib.decompress(packed), width * channels, channels))


def _unfiltered(raw: bytes, stride: int, channels: int) -> list[bytes]:
    rows: list[bytes] = []
    above = bytes(stride)
    for start in range(0, len(raw), stride + 1):
        above = _unfilter(raw[start], bytearray(raw[start + 1 : start + 1 + stride]), above, channels)
        rows.append(above)
    return rows


def _unfilter(kind: int, line: bytearray, above: bytes, channels: int) -> bytes:
    if kind == 0:
        return bytes(line)
    predict: Any = {
        1: lambda left, up, corner: left,
        2: lambda left, up, corner: up,
        3: lambda left, up, corner: (left + up) // 2,
        4: _paeth,
    }[kind]
    for x in range(len(line)):
        left, corner = (line[x - channels], above[x - channels]) if x >= channels else (0, 0)
        line[x] = (line[x] + predict(left, above[x], corner)) & 255
    return bytes(line)


def _paeth(left: int, up: int, corner: int) -> int:
    guess = left + up - corner
    return min((left, up, corner), key=lambda value: abs(guess - value))
