"""What a model raised is told without the harness's own lines, and once for all runs that raised alike."""

import pytest

from parity.failures import together, traceback_of
from parity.wire import Disconnected, receive

JITTOR = "Failed reason:\x1b[38;5;1m[f 1127 17:23:06.585180 {} reshape_op.cc:45] Check failed 560 == 56\x1b[m"


def through_the_harness(raised: Exception) -> str:
    """Return what is told of an error that a model raises, which the harness has called."""

    class Model:
        def readinto(self, *_: object) -> None:
            raise raised

    with pytest.raises(type(raised)) as caught:
        receive(Model())
    return traceback_of(caught.value)


def test_the_models_part_of_a_traceback_is_told() -> None:
    told = through_the_harness(RuntimeError(JITTOR.format("88")))
    assert told.startswith("Traceback (most recent call last):") and "raise raised" in told
    assert "parity/wire.py" not in told
    assert told.endswith("RuntimeError: Failed reason:[reshape_op.cc:45] Check failed 560 == 56\n")
    assert told == through_the_harness(RuntimeError(JITTOR.format("2a:C1")))


def test_what_the_harness_raises_is_told_as_it_is() -> None:
    class Empty:
        def readinto(self, _: object) -> int:
            return 0

        def read(self, *_: object) -> bytes:
            return b""

        def fileno(self) -> int:
            raise OSError

    with pytest.raises(Disconnected) as caught:
        receive(Empty())
    assert "parity/wire.py" in traceback_of(caught.value)


def test_runs_that_raised_alike_are_told_of_together() -> None:
    crashes = ["jittor float64: Traceback: a\n", "torch float32: b: c\n", "jittor float32: Traceback: a\n"]
    assert together(crashes) == ["jittor float64, jittor float32: Traceback: a", "torch float32: b: c"]
    assert together([]) == []
