"""Runs that take all their steps one after another say in each step what they would say side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from parity.run_by_run import RunByRun, prepare
from parity.rungs import PORT, RUNS, SECOND_TWIN, TRUTH, Run
from parity.steps import StepsJob, compare_steps
from parity.trace import Array, Entry

ALL = (*RUNS, SECOND_TWIN)
LAST = (PORT, "float64")


class Trained:
    """Stands in for a worker; its parameter is the number of its step and that of its run."""

    def __init__(self, run: Run, asked: list[tuple[Run, str, Any]], fails: int | None) -> None:
        self.run, self.label, self.asked, self.fails = run, " ".join(run), asked, fails
        self.failure = ""
        self.results: dict[str, Array] = {}

    def ask(self, do: str, arrays: Mapping[str, Array], **order: Any) -> None:
        self.order = order | {"do": do}
        chosen = {name: int(array[0]) for name, array in arrays.items()}
        self.asked.append((self.run, do, (order.get("number"), chosen)))

    def entries(self) -> Iterator[Entry]:
        self.failure, self.results, number = "", {}, self.order["number"]
        yield Entry("loss", "m", "", np.array(float(number)))
        if number == self.fails:
            self.failure = f"failed in step {number}"
            return
        yield Entry("param", "m", "", np.full(3, 10.0 * number + ALL.index(self.run)))
        if self.run == TRUTH:
            self.results = {"relu": np.full(2, number), "pool": np.full(4, 7)}

    def answer(self) -> dict[str, Array]:
        self.failure = ""
        return {}

    def release(self) -> None:
        self.asked.append((self.run, "release", None))


def trained(fails: Mapping[Run, int] | None = None) -> tuple[dict[Run, Any], list[tuple[Run, str, Any]]]:
    asked: list[tuple[Run, str, Any]] = []
    return {run: Trained(run, asked, (fails or {}).get(run)) for run in ALL}, asked


def by_run(workers: dict[Run, Any], count: int) -> RunByRun:
    def ask(run: Run, number: int, choices: Mapping[str, Array]) -> None:
        workers[run].ask("step", choices, number=number)

    return RunByRun(workers, count, ask, lambda _label, _count: None)


def test_all_versions_of_a_step_come_together_although_runs_come_one_after_another() -> None:
    workers, asked = trained()
    prepare(workers)
    with by_run(workers, 3) as alone:
        for number in range(3):
            heard = [(run, entry.name, float(entry.array.sum())) for run, entry, _ in alone.step(number)]
            assert alone.failures(number) == {}
            in_order = [LAST, *(run for run in ALL if run != LAST)]
            assert heard == [(run, "loss", number) for run in in_order] + [
                (run, "param", 3 * (10.0 * number + ALL.index(run))) for run in in_order
            ]
            # The last takes its next step while this one is judged.
            assert [what[0] for run, do, what in asked if do == "step" and run == LAST] == [*range(3)][: number + 2]
    steps = [(run, *what) for run, do, what in asked if do == "step"]
    assert [(run, number) for run, number, _ in steps] == [(run, k) for run in (*in_order[1:], LAST) for k in range(3)]
    for run, number, chosen in steps:
        assert chosen == ({"relu": number, "pool": 7} if run[1] != "float64" else {})
    # Each but the last forgets its optimizer before the next begins, and all give memory back in between.
    order = [(run, do) for run, do, _ in asked if do in ("finish", "release")]
    released = [(run, "release") for run in ALL]
    assert order == [one for run in in_order[1:] for one in (*released, (run, "finish"))] + released


@pytest.mark.parametrize("run", ALL)
def test_a_run_that_fails_is_told_of_in_its_step(run: Run) -> None:
    workers, asked = trained({run: 1})
    with by_run(workers, 3) as alone:
        names = [entry.name for _, entry, _ in alone.step(0)]
        assert names == ["loss"] * 6 + ["param"] * 6 and alone.failures(0) == {}
        heard = [(who, entry.name) for who, entry, _ in alone.step(1)]
        assert (run, "loss") in heard and (run, "param") not in heard and len(heard) == 11
        assert alone.failures(1) == {" ".join(run): "failed in step 1"}
    # The last is not asked for what nobody would hear.
    for one in (run, LAST):
        assert [what[0] for who, do, what in asked if do == "step" and who == one] == [0, 1]


class Crashing(Trained):
    """Fails in its first forced step, and says nothing in the others."""

    ahead = 0

    def entries(self) -> Iterator[Entry]:
        self.failure = "failed" if self.order.get("forced") else ""
        self.asked.append((self.run, "heard", self.order.get("number")))
        yield from ()

    def wait_built(self) -> None:
        pass


class Session:
    """Stands in for a session whose workers take turns."""

    sparing = True

    def __init__(self, workers: Mapping[Run, Any]) -> None:
        self.workers = {run: workers[run] for run in RUNS}
        self.start = lambda run: nullcontext(workers[run])

    def build(self, job: Any) -> None:
        pass


def test_after_forced_steps_that_crash_no_worker_owes_an_answer() -> None:
    asked: list[tuple[Run, str, Any]] = []
    workers = {run: Crashing(run, asked, None) for run in ALL}
    model = SimpleNamespace(build=lambda run, worker: None, settings=lambda workers: {})
    batch = SimpleNamespace(arrays=dict)
    verdict = compare_steps(cast(Any, Session(workers)), StepsJob(cast(Any, model), (cast(Any, batch),)))
    assert not verdict and verdict.crashes
    for run in ALL:
        steps = [what[0] for who, do, what in asked if who == run and do == "step"]
        heard = [what for who, do, what in asked if who == run and do == "heard"]
        assert heard == steps and set(steps) == {0}
