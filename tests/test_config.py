"""Settings: every value is checked, and by name."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from entity_strategies import type_name
from hypothesis import given
from hypothesis import strategies as st

from synthians_memory.config import StoreConfig
from synthians_memory.errors import InvalidTypeError, InvalidValueError, SynthiansMemoryError

NAMES = [field.name for field in dataclasses.fields(StoreConfig)]
BYTES = [name for name in NAMES if name.endswith("_bytes")]
SECONDS = [name for name in NAMES if name.endswith(("_interval", "_seconds"))]
FLAGS = ["auto_repair", "allow_network_filesystem"]
CHOICES = {
    "metric": ["cosine", "ip", "l2"],
    "durability": ["commit", "interval"],
    "write_mode": ["through", "behind"],
    "startup_check": ["off", "quick", "full"],
}


def test_the_promised_defaults() -> None:
    config = StoreConfig()
    promised = ("storage_path", "index_backup_count", "auto_repair", "backup_interval", "flush_threshold")
    assert [getattr(config, name) for name in promised] == ["./storage", 3, True, 3600.0, 20]
    assert (config.embedding_dimension, config.metric, config.durability) == (None, "cosine", "commit")
    assert (config.flush_interval, config.cache_bytes, config.startup_check) == (1.0, 64 * 2**20, "quick")


def test_every_setting_is_documented() -> None:
    assert all(name in (StoreConfig.__doc__ or "") for name in NAMES)


def test_a_config_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        StoreConfig().metric = "l2"  # type: ignore[misc]


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in CHOICES.items() for value in values])
def test_choices_are_taken(name: str, value: str) -> None:
    assert getattr(StoreConfig().with_overrides(**{name: value}), name) == value


@pytest.mark.parametrize("value", ["", "COSINE", "none", None, 1, [], {}, True])
@pytest.mark.parametrize("name", CHOICES)
def test_other_choices_are_refused_and_the_choices_named(name: str, value: object) -> None:
    with pytest.raises(InvalidValueError, match=f"{name} is .*'{CHOICES[name][0]}'"):
        StoreConfig(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), float("-inf"), -1, -(10**5000), 10**5000, 1e300], ids=type_name
)
@pytest.mark.parametrize("name", SECONDS)
def test_seconds_that_no_clock_can_wait_are_refused(name: str, value: float) -> None:
    with pytest.raises(InvalidValueError, match=f"{name} must lie in"):
        StoreConfig(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [-1, -(10**5000), 10**5000], ids=type_name)
@pytest.mark.parametrize("name", [*BYTES, "flush_threshold", "index_backup_count", "embedding_dimension"])
def test_counts_out_of_range_are_refused(name: str, value: int) -> None:
    with pytest.raises(InvalidValueError, match=f"{name} must lie in"):
        StoreConfig(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [None, "1", True, [1], 1.5, b"1"])
@pytest.mark.parametrize("name", [*BYTES, "flush_threshold", "index_backup_count"])
def test_counts_of_other_types_are_refused(name: str, value: object) -> None:
    with pytest.raises(InvalidTypeError, match=f"{name} must be an integer"):
        StoreConfig(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [None, 1, 0, "true", []])
@pytest.mark.parametrize("name", FLAGS)
def test_flags_of_other_types_are_refused(name: str, value: object) -> None:
    with pytest.raises(InvalidTypeError, match=f"{name} must be true or false"):
        StoreConfig(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [0, 65_537])
def test_dimensions_out_of_range_are_refused(value: int) -> None:
    with pytest.raises(InvalidValueError, match=r"embedding_dimension must lie in 1\.\.65536"):
        StoreConfig(embedding_dimension=value)


def test_paths_are_kept_as_strings() -> None:
    assert StoreConfig(storage_path=Path("a/b")).storage_path == "a/b"  # type: ignore[arg-type]
    assert StoreConfig().with_overrides(storage_path=Path("c")).storage_path == "c"


@pytest.mark.parametrize(
    ("value", "kind"), [(None, TypeError), (b"x", TypeError), (1, TypeError), ("", ValueError), ("a\0", ValueError)]
)
def test_what_is_no_path_is_refused(value: object, kind: type[Exception]) -> None:
    with pytest.raises(SynthiansMemoryError, match="storage_path") as caught:
        StoreConfig(storage_path=value)  # type: ignore[arg-type]
    assert isinstance(caught.value, kind)


def test_overrides_are_checked_and_the_original_stays() -> None:
    config = StoreConfig()
    assert config.with_overrides(flush_threshold=5).flush_threshold == 5
    assert config.flush_threshold == 20
    with pytest.raises(InvalidValueError, match="flush_threshold"):
        config.with_overrides(flush_threshold=0)


def test_an_unknown_setting_is_refused_and_the_known_are_named() -> None:
    with pytest.raises(InvalidTypeError, match=r"unknown setting flush_treshold\. Settings are: .*flush_threshold"):
        StoreConfig().with_overrides(flush_treshold=5)


_ANYTHING: st.SearchStrategy[Any] = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.lists(st.integers(), max_size=2)
)


@given(st.sampled_from(NAMES), _ANYTHING)
def test_every_value_is_taken_or_refused_by_the_library(name: str, value: Any) -> None:
    try:
        config = StoreConfig(**{name: value})
    except SynthiansMemoryError as error:
        text = str(error)
        assert name in text
        return
    assert getattr(config, name) == value
