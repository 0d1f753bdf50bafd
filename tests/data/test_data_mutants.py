"""Faults of reading, planted in one of the two processes that read: each is found, at the array that it is of."""

from pathlib import Path
from unittest import mock

import pytest

from detr_common import masks
from parity.layers import LayersSession
from parity.mutants.data import _PLANTS, DATA, reading_with
from parity.mutants.kills import Ground

ALWAYS = ("masks-not-flipped",)


@pytest.mark.parametrize(
    "name", [pytest.param(one.name, marks=() if one.name in ALWAYS else pytest.mark.slow) for one in DATA]
)
def test_fault_of_reading_is_found_where_it_sits(name: str, tmp_path: Path) -> None:
    (mutant,) = (one for one in DATA if one.name == name)
    # The rung of data has workers of its own.
    kill = Ground(mock.create_autospec(LayersSession), tmp_path).kill(mutant)
    assert kill.placed, f"{mutant.what}: found at {kill.owner or 'nothing'}, {kill.at}"


def test_every_fault_can_be_planted_and_is_gone_afterwards() -> None:
    assert set(_PLANTS) == {one.name for one in DATA}
    plain = masks.flip
    with reading_with("masks-not-flipped"):
        assert masks.flip is not plain
    assert masks.flip is plain
    with pytest.raises(KeyError), reading_with("no-such-fault"):
        pass
