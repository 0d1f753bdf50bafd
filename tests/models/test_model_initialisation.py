"""Fresh parameters of detr_jt have the distributions of their twins in detr_pt.

Seeds are fixed, so the outcome is too; the thresholds are those of a test that would raise a false alarm once in a
thousand seeds over all tensors together.
"""

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats
from sides import Array, Arrays

FALSE_ALARMS = 1e-3


@pytest.fixture(scope="module")
def samples(observe: Callable[..., dict[str, Arrays]]) -> dict[str, Arrays]:
    return observe("observe_initialisation")


def difference(ours: Array, theirs: Array, tests: int) -> str:
    """What tells two samples of one parameter apart, or nothing.

    Args:
        ours: values of one side.
        theirs: as many values of the other.
        tests: how many tensors are looked at together.
    """
    if ours.shape != theirs.shape:
        return f"{ours.shape} values and {theirs.shape}"
    if np.ptp(theirs) == 0 or np.ptp(ours) == 0:
        return "" if np.array_equal(ours, theirs) else f"{ours[:2]} where the other has {theirs[:2]}"
    alpha = FALSE_ALARMS / (3 * tests)
    p = stats.ks_2samp(ours, theirs).pvalue
    if p < alpha:
        return f"Kolmogorov-Smirnov p = {p:.1e}"
    # The spread of a sample's standard deviation follows from the fourth moment.
    n, kurtosis = theirs.size, float(stats.kurtosis(theirs, fisher=False))
    ratio = float(ours.std() / theirs.std())
    if abs(np.log(ratio)) > stats.norm.isf(alpha / 2) * np.sqrt(max(kurtosis - 1, 0.5) / (2 * n)):
        return f"standard deviation {ratio:.4f} times the other's"
    # A uniform sample reaches to 1 - e of its bound but with probability (1 - e) ** n.
    if kurtosis < 2 and n > 50:
        reach = float(np.abs(ours).max() / np.abs(theirs).max())
        if abs(np.log(reach)) > -np.log(alpha) / n * 2:
            return f"bound {reach:.5f} times the other's"
    return ""


def differences(ours: Arrays, theirs: Arrays) -> dict[str, str]:
    """All parameters that differ in distribution, with how."""
    found = {name: difference(ours[name], theirs[name], len(theirs)) for name in theirs}
    return {name: text for name, text in found.items() if text}


def test_every_parameter_has_the_distribution_of_its_twin(samples: dict[str, Arrays]) -> None:
    assert len(samples["torch"]) > 300
    assert differences(samples["jittor"], samples["torch"]) == {}


def test_no_two_parameters_hold_the_same_numbers(samples: dict[str, Arrays]) -> None:
    for package in samples.values():
        drawn = [values[:4].tobytes() for values in package.values() if np.ptp(values[:4]) > 0]
        assert len(drawn) > 80
        assert len(set(drawn)) == len(drawn)


def test_published_bounds(samples: dict[str, Arrays]) -> None:
    """The packed projection is initialised as one matrix, 3 E x E; biases of attention are zero."""
    for package in samples.values():
        for prefix in ("encoder.layers.0.self_attn", "decoder.layers.0.multihead_attn"):
            name = f"r50-pre-norm/transformer.{prefix}"
            assert np.abs(package[f"{name}.in_proj_weight"]).max() == pytest.approx(0.0765466, rel=1e-3)
            assert not package[f"{name}.in_proj_bias"].any() and not package[f"{name}.out_proj.bias"].any()


def uniform(values: Array, bound: float) -> Array:
    return np.random.default_rng(3).uniform(-bound, bound, values.shape).astype(values.dtype)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("in_proj_weight", lambda x: uniform(x, 0.10825)),  # q, k and v initialised apart, as in the original port
        ("in_proj_bias", lambda x: uniform(x, 0.0625)),  # a plain linear layer's bias, as in the original port
        ("out_proj.weight", lambda x: uniform(x, 0.0625)),  # no xavier
        ("linear1.bias", lambda x: uniform(x, 1 / np.sqrt(2048))),  # bound from the wrong side
        ("query_embed.weight", lambda x: uniform(x, np.sqrt(3))),  # same moments, another shape
        ("row_embed.weight", lambda x: x - np.float32(0.5)),  # centred instead of 0..1
        ("layer2.0.conv1.weight", lambda x: x * np.float32(np.sqrt(0.5))),  # fan-in instead of fan-out
        ("norm1.weight", lambda x: x * 0),
        ("linear2.weight", lambda x: x * np.float32(1.03)),  # a bound three per cent too wide
    ],
)
def test_a_wrong_initialisation_is_found(
    samples: dict[str, Arrays], name: str, wrong: Callable[[Array], Array]
) -> None:
    hit = [full for full in samples["jittor"] if full.endswith(name)]
    assert hit
    faulty = samples["jittor"] | {full: wrong(samples["jittor"][full]) for full in hit}
    assert list(differences(faulty, samples["torch"])) == hit
