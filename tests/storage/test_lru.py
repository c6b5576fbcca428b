"""The byte-bounded cache, against a plain model and from many threads."""

from __future__ import annotations

import threading
from collections import OrderedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthians_memory.errors import InvalidValueError
from synthians_memory.storage.lru import ByteLRU, CacheStats

KEYS = st.sampled_from("abcdef")
STEPS = st.one_of(
    st.tuples(st.just("put"), KEYS, st.integers(1, 12)),
    st.tuples(st.just("get"), KEYS, st.just(0)),
    st.tuples(st.just("discard"), KEYS, st.just(0)),
)


def test_the_least_recently_used_goes_first() -> None:
    cache: ByteLRU[str, str] = ByteLRU(10)
    cache.put("a", "A", 4)
    cache.put("b", "B", 4)
    assert cache.get("a") == "A"
    cache.put("c", "C", 4)
    assert (cache.get("a"), cache.get("b"), cache.get("c")) == ("A", None, "C")
    assert cache.stats() == CacheStats(hits=3, misses=1, bytes=8, entries=2)


def test_a_value_over_the_bound_is_not_kept_and_neither_is_what_it_replaces() -> None:
    cache: ByteLRU[str, str] = ByteLRU(10)
    cache.put("a", "old", 4)
    cache.put("a", "new", 11)
    assert cache.get("a") is None
    assert cache.stats().bytes == 0


def test_no_bytes_turn_it_off() -> None:
    cache: ByteLRU[str, str] = ByteLRU(0)
    cache.put("a", "A", 1)
    assert cache.get("a") is None
    assert cache.stats() == CacheStats(hits=0, misses=1, bytes=0, entries=0)


def test_clear_and_discard() -> None:
    cache: ByteLRU[str, str] = ByteLRU(10)
    cache.put("a", "A", 1)
    cache.put("b", "B", 1)
    cache.discard("a")
    cache.discard("a")
    assert cache.stats().entries == 1
    cache.clear()
    assert cache.get("b") is None
    assert cache.stats().bytes == 0


@pytest.mark.parametrize("size", [0, -1])
def test_a_size_below_one_is_refused(size: int) -> None:
    cache: ByteLRU[str, str] = ByteLRU(10)
    cache.put("a", "A", 1)
    with pytest.raises(InvalidValueError):
        cache.put("a", "B", size)
    assert cache.get("a") == "A"


def test_a_negative_bound_is_refused() -> None:
    with pytest.raises(InvalidValueError):
        ByteLRU(-1)


@given(st.integers(0, 30), st.lists(STEPS, max_size=60))
def test_it_behaves_as_an_ordered_dict_that_drops_from_the_front(bound: int, steps: list[tuple[str, str, int]]) -> None:
    cache: ByteLRU[str, int] = ByteLRU(bound)
    model: OrderedDict[str, int] = OrderedDict()
    for step, key, size in steps:
        if step == "get":
            assert cache.get(key) == model.get(key)
            if key in model:
                model.move_to_end(key)
            continue
        model.pop(key, None)
        if step == "discard":
            cache.discard(key)
        else:
            cache.put(key, size, size)
            while size <= bound and sum(model.values()) + size > bound:
                model.popitem(last=False)
            if size <= bound:
                model[key] = size
        assert (cache.stats().bytes, cache.stats().entries) == (sum(model.values()), len(model))


def test_many_threads_keep_the_bound() -> None:
    cache: ByteLRU[int, int] = ByteLRU(500)
    wrong: list[int] = []

    def work(start: int) -> None:
        for number in range(start, start + 2000):
            key = number % 97
            cache.put(key, key, 10 + key % 5)
            if cache.get(key) not in {key, None} or cache.stats().bytes > 500:
                wrong.append(key)
            if number % 7 == 0:
                cache.discard(key)

    threads = [threading.Thread(target=work, args=(n * 31,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert cache.stats().hits + cache.stats().misses == 8000
