"""Whether two frameworks end at the same place: two one-sided tests on pairs of runs (TOST; Schuirmann 1987)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from detr_common.errors import InputError


@dataclass(frozen=True)
class Equivalence:
    """The outcome of a test.

    Attributes:
        what: was measured.
        margin: within which a mean difference counts as none.
        differences: one for each seed.
        p: probability of such differences if the mean were at the margin or beyond.
        level: of the test.
    """

    what: str
    margin: float
    differences: tuple[float, ...]
    p: float
    level: float

    @property
    def mean(self) -> float:
        """The mean difference."""
        return float(np.mean(self.differences))

    @property
    def interval(self) -> tuple[float, float]:
        """The confidence interval of the mean whose lying within the margin is what the test asks for."""
        if len(set(self.differences)) == 1:
            return self.mean, self.mean
        from statsmodels.stats.weightstats import DescrStatsW

        low, high = DescrStatsW(np.array(self.differences)).tconfint_mean(2 * self.level)
        return float(low), float(high)

    def __bool__(self) -> bool:
        return self.p < self.level


def equivalence(
    what: str, values: Sequence[float], reference: Sequence[float], margin: float, level: float = 0.05
) -> Equivalence:
    """Test whether two sets of runs, paired by their seeds, have the same mean within a margin.

    Args:
        what: is measured, for the report.
        values: one for each seed.
        reference: as many.
        margin: in the unit of the values; it has to be chosen before the runs.
        level: at which "not the same" is rejected.

    Raises:
        InputError: fewer than three pairs, a value that is not finite, or a margin that is not positive.
    """
    differences = np.asarray(values, np.float64) - np.asarray(reference, np.float64)
    if len(differences) < 3 or not np.isfinite(differences).all() or not margin > 0:
        raise InputError(
            f"{what}: {len(differences)} pairs and a margin of {margin:g} do not make a test; three finite pairs or "
            "more and a positive margin are needed"
        )
    if np.ptp(differences) == 0:  # no spread, so no t
        p = 0.0 if abs(differences[0]) < margin else 1.0
    else:
        from statsmodels.stats.weightstats import ttost_paired

        p = float(ttost_paired(np.asarray(values), np.asarray(reference), -margin, margin)[0])
    return Equivalence(what, margin, tuple(float(one) for one in differences), p, level)
