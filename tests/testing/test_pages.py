"""Pages behave as the bytearray they stand for."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from synthians_memory.testing.pages import PAGE, Pages

SPOTS = st.integers(0, 3 * PAGE) | st.sampled_from([PAGE - 1, PAGE, PAGE + 1, 2 * PAGE, 3 * PAGE])


def first_difference(one: bytes, other: bytes | bytearray) -> int | None:
    """Where they differ, which says more than a diff of pages of zeros."""
    if one == other:
        return None
    return next((at for at, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), len(one))


@given(
    st.lists(
        st.tuples(st.just("write"), SPOTS, SPOTS, st.sampled_from([0, 1])) | st.tuples(st.just("resize"), SPOTS),
        max_size=8,
    ),
    SPOTS,
    SPOTS,
)
def test_pages_are_an_array_of_bytes(steps: list[tuple[str, int, int, int] | tuple[str, int]], a: int, b: int) -> None:
    pages, plain = Pages(), bytearray()
    for step in steps:
        before, bytes_before = pages.copy(), bytes(plain)
        if step[0] == "write":
            _, offset, length, byte = step
            pages.write(offset, bytes([byte]) * length)
            plain.extend(bytes(max(offset + length - len(plain), 0)))
            plain[offset : offset + length] = bytes([byte]) * length
        else:
            pages.resize(step[1])
            plain.extend(bytes(max(step[1] - len(plain), 0)))
            del plain[step[1] :]
        assert first_difference(pages.read(), plain) is None
        assert len(pages) == len(plain)
        assert first_difference(before.read(), bytes_before) is None
    assert first_difference(pages.read(a, b), plain[a:b]) is None
    assert first_difference(pages.read(a), plain[a:]) is None
