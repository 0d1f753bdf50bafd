"""Portions of what was captured, and workers that answer one after another."""

import errno
import tempfile
import threading
import time
from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detr_common.errors import InputError
from parity.capture import Captured, portions
from parity.rungs import PORT, REFERENCE, RUNS, TRUTH, Run
from parity.spool import Spool
from parity.trace import Entry
from parity.turns import in_turns, one_by_one, with_spooled


def portions_of(keys: list[int], sizes: list[int], budget: int) -> list[list[tuple[int, int]]]:
    events = [Captured(f"{number}", "m", "", None, "", "", key) for number, key in enumerate(keys)]
    return [[(int(c.name), int(str(c.key))) for c in part] for part in portions(events, dict(enumerate(sizes)), budget)]


@given(
    st.lists(st.integers(0, 5), max_size=12), st.lists(st.integers(0, 9), min_size=6, max_size=6), st.integers(0, 20)
)
def test_portions_hold_every_tensor_in_order(keys: list[int], sizes: list[int], budget: int) -> None:
    parts = portions_of(keys, sizes, budget)
    assert [event for part in parts for event in part] == list(enumerate(keys))
    for part in parts:
        held = {key for _, key in part}
        assert sum(sizes[key] for key in held) <= budget or len(held) == 1
    for part, after in pairwise(parts):
        assert sum(sizes[key] for key in {key for _, key in [*part, after[0]]}) > budget


def test_a_tensor_that_comes_again_counts_once() -> None:
    assert portions_of([0, 0, 1], [6, 4], 10) == [[(0, 0), (1, 0), (2, 1)]]
    assert portions_of([0, 1, 0], [6, 5], 10) == [[(0, 0)], [(1, 1)], [(2, 0)]]
    assert portions_of([], [], 8) == []


def entries(*names: str, scale: float = 1.0) -> list[Entry]:
    return [Entry(name, "m", "m.py:1", np.full((2, 3), scale * number)) for number, name in enumerate(names)]


class Answers:
    """Stands in for a worker."""

    ahead = 0

    def __init__(self, run: Run, *names: str) -> None:
        self.label = " ".join(run)
        self._entries = entries(*names, scale=1.0 + RUNS.index(run))

    def entries(self) -> Iterator[Entry]:
        yield from self._entries


def test_a_spool_gives_back_what_it_was_given() -> None:
    first, second = entries("a", "b")
    passed_on = Entry("c", "m", "m.py:2", first.array, "caller", "0 = a", "a")
    empty = Entry("d", "m", "m.py:3", np.zeros((0, 4), np.float32))
    number = Entry("e", "m", "m.py:4", np.array(2.5))
    turned = Entry("f", "m", "m.py:5", np.arange(6.0).reshape(2, 3).T)
    again = Entry("a", "m", "m.py:6", np.ones(1, bool))
    given = [first, second, passed_on, empty, number, turned, again]
    with Spool(iter(given)) as spool:
        assert "a" in spool and "x" not in spool
        taken, place = spool.take("a")
        others = [spool.take(name) for name in "cbdefa"]
        assert not list(spool.rest())
        assert "a" not in spool
    assert place == 0
    assert [one.name for one, _ in others] == ["c", "b", "d", "e", "f", "a"]
    assert [at for _, at in others] == [2, 1, 3, 4, 5, 6]
    assert others[0][0].array is taken.array
    for one, at in [(taken, 0), *others]:
        assert (one.owner, one.source, one.caller, one.inputs, one.repeats) == (
            given[at].owner,
            given[at].source,
            given[at].caller,
            given[at].inputs,
            given[at].repeats,
        )
        assert one.array.dtype == given[at].array.dtype
        np.testing.assert_array_equal(one.array, given[at].array)


def test_workers_one_by_one_say_what_they_say_in_turns() -> None:
    names = {
        TRUTH: "abcd",
        (PORT, "float64"): "abxd",
        (REFERENCE, "float32"): "abc",
        (REFERENCE, "float32-twin"): "abcdd",
        (PORT, "float32"): "ba",
    }
    asked: list[Run] = []

    def heard(stream: Any) -> dict[Run, list[tuple[str, int, float]]]:
        found: dict[Run, list[tuple[str, int, float]]] = {run: [] for run in names}
        for run, entry, place in stream:
            found[run].append((entry.name, place, float(entry.array.sum())))
        return {run: sorted(ones, key=lambda one: one[1]) for run, ones in found.items()}

    workers = {run: Answers(run, *text) for run, text in names.items()}
    in_turn = heard(in_turns(workers, lambda *_: None))
    came: dict[Run, str] = dict.fromkeys(names, "")

    def note(run: Run, entry: Entry) -> None:
        came[run] += entry.name

    alone = heard(one_by_one(workers, asked.append, lambda *_: None, note))
    assert came == names, "each in its own order, for a recording"

    def known(found: dict[Run, list[tuple[str, int, float]]]) -> Any:
        # Of what the port has not, values are not read: nothing is compared with them.
        return {run: [(n, at, total if n in "abxd" else None) for n, at, total in ones] for run, ones in found.items()}

    alone[REFERENCE, "float32-twin"].pop(), in_turn[REFERENCE, "float32-twin"].pop()  # the second d
    assert known(alone) == known(in_turn)
    # The port speaks last, so that its order is that of the comparison, and the truth first.
    assert asked == [TRUTH, *(run for run in names if run not in (TRUTH, (PORT, "float64"))), (PORT, "float64")]


def test_all_versions_of_a_tensor_come_together() -> None:
    workers = {run: Answers(run, *"abc") for run in RUNS}
    order = [entry.name for _, entry, _ in one_by_one(workers, lambda _: None, lambda *_: None)]
    assert order == [name for name in "abc" for _ in RUNS]


def test_what_the_port_lacks_is_not_read_but_for_masks() -> None:
    large, mask = np.ones((500, 1000)), np.array([True, False, True])
    with Spool(iter([Entry("a", "m", "", large), Entry("b", "m", "", mask)])) as spool:
        (first, _), (second, _) = spool.rest()
    assert (first.array.shape, first.array.dtype, first.array.strides) == (large.shape, large.dtype, (0, 0))
    np.testing.assert_array_equal(second.array, mask)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no device that is always full")
def test_a_full_disk_is_told_of_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also by an array that is smaller than what a buffer would hold back."""
    monkeypatch.setattr(tempfile, "TemporaryFile", partial(open, "/dev/full", "wb"))
    with pytest.raises(InputError, match=r"no room for more .*; set TMPDIR to a folder with more room"):
        Spool(iter(entries("a")))


def test_too_few_files_are_told_of_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr("parity.spool.Store", refuse)
    with pytest.raises(InputError, match=r"Too many open files\); compare fewer steps \(--free\)"):
        Spool()


def test_a_comparison_that_is_broken_off_waits_for_nobody() -> None:
    said = threading.Event()

    def slow() -> Iterator[Entry]:
        yield from entries("a")
        said.wait(60)  # a worker that computes

    threads = set(threading.enumerate())
    heard = with_spooled(TRUTH, slow(), {})
    assert next(heard)[1].name == "a"
    start = time.monotonic()
    heard.close()  # type: ignore[attr-defined]
    assert time.monotonic() - start < 3
    said.set()
    for thread in set(threading.enumerate()) - threads:
        thread.join(10)
        assert not thread.is_alive()
