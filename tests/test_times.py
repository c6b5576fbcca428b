"""Times: UTC and exact, whatever form they come in."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta, timezone, tzinfo

import pytest
from entity_strategies import micros, offsets, type_name, utc_times
from hypothesis import given
from hypothesis import strategies as st

from synthians_memory.errors import InvalidTypeError, InvalidValueError
from synthians_memory.times import SystemClock, as_utc, format_time, from_micros, parse_time, to_micros, utc_now

_FORM = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z")


class Stamp(datetime):
    """A foreign kind of datetime, as pandas and freezegun have."""


class NotATime(datetime):
    """A foreign datetime that is none, as pandas has."""

    def date(self) -> None:
        raise ValueError("NaT")


class Undecided(tzinfo):
    """A zone that does not know its offset."""

    def utcoffset(self, _: datetime | None) -> None:
        return None


@given(utc_times)
def test_text_and_back(value: datetime) -> None:
    text = format_time(value)
    assert _FORM.fullmatch(text)
    assert parse_time(text) == value
    assert parse_time(text).tzinfo is UTC


@given(utc_times)
def test_microseconds_and_back(value: datetime) -> None:
    assert from_micros(to_micros(value)) == value


@given(micros, micros)
def test_order_of_texts_is_order_of_times(one: int, other: int) -> None:
    texts = format_time(from_micros(one)), format_time(from_micros(other))
    assert (texts[0] < texts[1]) == (one < other)


@given(st.datetimes(datetime(2, 1, 1), datetime(9998, 12, 31)), offsets)  # noqa: DTZ001
def test_offsets_are_taken_off(naive: datetime, offset: timezone) -> None:
    expected = (naive - offset.utcoffset(None)).replace(tzinfo=UTC)
    value = naive.replace(tzinfo=offset)
    assert as_utc(value, "time") == expected
    assert as_utc(value.isoformat(), "time") == expected
    assert as_utc(value, "time").tzinfo is UTC


@given(st.datetimes())
def test_a_naive_time_is_read_as_utc(naive: datetime) -> None:
    assert as_utc(naive, "time") == naive.replace(tzinfo=UTC)
    assert as_utc(naive.isoformat(), "time") == naive.replace(tzinfo=UTC)
    assert as_utc(naive.replace(tzinfo=Undecided()), "time") == naive.replace(tzinfo=UTC)


def test_a_naive_time_is_utc_in_any_time_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        for zone in (None, Undecided()):
            assert as_utc(datetime(2026, 11, 20, 12, tzinfo=zone), "time") == datetime(2026, 11, 20, 12, tzinfo=UTC)
    time.tzset()


def test_subclasses_become_plain() -> None:
    value = as_utc(Stamp(2026, 11, 20, 12, tzinfo=timezone(timedelta(hours=1))), "time")
    assert type(value) is datetime
    assert value == datetime(2026, 11, 20, 11, tzinfo=UTC)
    assert type(as_utc(Stamp(2026, 11, 20, tzinfo=UTC), "time")) is datetime


@pytest.mark.parametrize(
    "text",
    [
        *[
            "now",
            "20",
            "2026-13-01",
            "2026-02-30T00:00:00Z",
            "2026-11-20T12:00:00+25:00",
            "٢٠٢٦-11-20",
            "0000-01-01",
            "10000-01-01",
        ],
        *("", "\ud800", "x" * 10**6, "0001-01-01T00:00:00+10:00", "9999-12-31T23:59:59-00:01"),
    ],
    ids=type_name,
)
def test_no_time_is_refused(text: str) -> None:
    with pytest.raises(InvalidValueError, match="created_at") as caught:
        as_utc(text, "created_at")
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("value", [None, 0, 1.5, b"2026-11-20", [], utc_now().date(), timedelta(1)])
def test_what_is_neither_time_nor_text_is_refused(value: object) -> None:
    with pytest.raises(InvalidTypeError, match="created_at must be a datetime"):
        as_utc(value, "created_at")


@pytest.mark.parametrize(
    "value",
    [
        NotATime(2026, 11, 20),
        datetime.min.replace(tzinfo=timezone(timedelta(hours=1))),
        datetime.max.replace(tzinfo=timezone(timedelta(hours=-1))),
    ],
)
def test_times_out_of_range_are_refused(value: datetime) -> None:
    with pytest.raises(InvalidValueError, match="created_at"):
        as_utc(value, "created_at")


@given(st.text(max_size=40))
def test_any_text_is_a_time_or_refused(text: str) -> None:
    try:
        value = parse_time(text)
    except InvalidValueError:
        return
    assert value.tzinfo is UTC


@pytest.mark.parametrize("value", [253_402_300_800_000_000, -62_135_596_800_000_001, 2**80])
def test_microseconds_beyond_the_calendar_are_refused(value: int) -> None:
    with pytest.raises(InvalidValueError, match="years 1 to 9999"):
        from_micros(value)


def test_the_system_clock_tells_the_time() -> None:
    clock = SystemClock()
    before = utc_now()
    assert before <= from_micros(clock.micros() + 1)
    assert clock.monotonic() <= clock.monotonic()
