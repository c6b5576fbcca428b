"""A change of the model on a disk that fails, or loses power, at any call: the old model or the new one, never a mix."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from synthians_memory.engine.part_files import Model
from synthians_memory.models import MemoryEntry
from synthians_memory.testing.faults import READING, SYNCING
from synthians_memory.testing.power_cut import Policy
from synthians_memory.testing.store_crash import StoreSweep
from synthians_memory.testing.store_history import DrivenStore
from synthians_memory.testing.store_reembedding import converts, goes_back, stages, switches
from synthians_memory.testing.store_scenarios import SMALL_STORE, StoreScenario, assembly, memory

Step = Callable[[DrivenStore], object]

LONG = 3600
SAME = Model("same:2", 4)
LONGER = Model("longer:1", 6)
SHORTER = Model("shorter:1", 3)
FREE = replace(SMALL_STORE, embedding_dimension=None)


def saves(*entities: object) -> Step:
    return lambda driven: driven.save(*entities)  # type: ignore[arg-type]


def deletes(name: str) -> Step:
    return lambda driven: driven.delete(("memory", name))


def checkpoint(driven: DrivenStore) -> None:
    driven.checkpoint()


def close(driven: DrivenStore) -> None:
    driven.close()


BEFORE: Sequence[Step] = (
    saves(*(memory(f"m{n}") for n in range(4)), memory("bare", embedded=False)),
    saves(assembly("a", "m0", "m1"), assembly("b")),
    checkpoint,
    saves(memory("m1", 2)),
)


def unembedded(name: str, edition: int = 1) -> object:
    return memory(name, edition, embedded=False)


def scenario(
    name: str, *steps: Step, config: object = FREE, closed: bool = True, before: object = BEFORE
) -> StoreScenario:
    return StoreScenario(name, steps, before, closed=closed, config=config)  # type: ignore[arg-type]


SCENARIOS = [
    scenario("staged", stages(LONGER, 3), saves(memory("m0", 3)), deletes("m2"), stages(LONGER)),
    scenario("another dimension", switches(LONGER)),
    scenario("the same dimension", switches(SAME)),
    scenario(
        "saved right before",
        stages(SAME),
        saves(memory("m0", 8), unembedded("x"), MemoryEntry(memory_id="m3", content="")),
        deletes("m2"),
        switches(SAME),
    ),
    scenario("after a crash", switches(LONGER), closed=False),
    scenario(
        "staged twice, then for another model", stages(LONGER, 2), stages(LONGER, 5), stages(SAME, 2), switches(SHORTER)
    ),
    replace(scenario("converted", switches(SHORTER), converts(2), converts(20), converts(20)), log_share=100.0),
    scenario(
        "used while it is converted",
        switches(SAME),
        saves(unembedded("m0", 5), unembedded("new")),
        converts(2),
        deletes("m1"),
        deletes("m3"),
        checkpoint,
        saves(unembedded("m1", 7)),
        converts(1),
        checkpoint,
        converts(20),
        saves(unembedded("m2", 9)),
    ),
    replace(scenario("closed while it is converted", switches(LONGER), converts(2), close), log_share=100.0),
    scenario(
        "there and back",
        switches(LONGER),
        converts(3),
        saves(unembedded("m2", 9)),
        deletes("m1"),
        goes_back,
        converts(20),
    ),
    scenario("there and back and on", switches(SHORTER), goes_back, switches(SAME)),
    scenario("an empty store", switches(LONGER), before=()),
]
RESUMED = [
    scenario("opened while it is converted", saves(unembedded("m0", 5)), converts(3), deletes("m1"), converts(20), closed=False,
             before=(*BEFORE, switches(SAME), converts(1), saves(unembedded("m3", 4)))),
    scenario("opened right after the step", checkpoint, converts(20), closed=False, before=(*BEFORE, switches(LONGER))),
]  # fmt: skip
each_scenario = pytest.mark.parametrize("case", [*SCENARIOS, *RESUMED], ids=lambda case: case.name)


@each_scenario
def test_a_power_cut_leaves_one_of_the_two_models_whole(case: StoreScenario) -> None:
    assert StoreSweep(case).crashes(step=97, seeds=(0,))


@each_scenario
def test_a_failing_call_leaves_one_of_the_two_models_whole(case: StoreScenario) -> None:
    assert StoreSweep(case).faults(step=293, policies=["lose_all"])


def test_a_conversion_whose_files_failed_to_be_synced_writes_them_again() -> None:
    before = (saves(memory("m0"), memory("m1")),)
    case = scenario("few files", switches(SAME), converts(20), converts(20), before=before)
    assert StoreSweep(case).faults(verbs=SYNCING, errnos=[errno.EIO], policies=["lose_all"], mended=True)


@pytest.mark.parametrize("policy", ["killed", "sampled"])
def test_a_step_of_which_nobody_knows_whether_it_was_taken_is_followed_by_no_save(policy: Policy) -> None:
    case = scenario(
        "undecided", switches(SAME), saves(unembedded("m0", 9)), before=(saves(memory("m0"), memory("m1")),)
    )
    assert StoreSweep(case).faults(verbs=frozenset(["sync_folder"]), errnos=[errno.EIO], policies=[policy])


@pytest.mark.parametrize("case", RESUMED, ids=lambda case: case.name)
def test_a_power_cut_while_a_conversion_is_recovered_loses_nothing(case: StoreScenario) -> None:
    assert StoreSweep(case).crashes_of_recovery(step=97, inner_step=31, policies=["sampled"])


@pytest.mark.long
@pytest.mark.timeout(LONG)
@each_scenario
def test_a_power_cut_at_every_call(case: StoreScenario) -> None:
    assert StoreSweep(case).crashes()


@pytest.mark.long
@pytest.mark.timeout(LONG)
@each_scenario
def test_a_power_cut_at_every_few_calls_of_the_recovery_from_one(case: StoreScenario) -> None:
    assert StoreSweep(case).crashes_of_recovery(step=7, inner_step=5)


@pytest.mark.long
@pytest.mark.timeout(LONG)
@each_scenario
def test_every_failing_call(case: StoreScenario) -> None:
    assert StoreSweep(case).faults(step=3)


@pytest.mark.long
@pytest.mark.timeout(LONG)
@each_scenario
def test_every_failing_read(case: StoreScenario) -> None:
    assert StoreSweep(case).faults(step=3, verbs=READING, policies=["lose_all"])


@pytest.mark.long
@pytest.mark.timeout(LONG)
@each_scenario
def test_a_store_goes_on_once_the_disk_is_mended(case: StoreScenario) -> None:
    assert StoreSweep(case).faults(step=3, errnos=[errno.EIO], policies=["lose_all"], mended=True)
