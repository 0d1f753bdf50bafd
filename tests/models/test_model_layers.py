"""The layers that detr_jt writes out itself."""

from collections.abc import Callable

import numpy as np
import pytest
from observe_layers import CONVOLUTIONS
from sides import Array, Arrays

PACKAGES = ("torch", "jittor")


@pytest.fixture(scope="module")
def observed(observe: Callable[..., dict[str, Arrays]]) -> dict[str, Arrays]:
    return observe("observe_layers")


@pytest.mark.parametrize("index", range(len(CONVOLUTIONS)))
def test_float64_convolution(observed: dict[str, Arrays], index: int) -> None:
    ours, theirs = (
        {n: v for n, v in observed[p].items() if n.startswith(f"conv/{index}/")} for p in reversed(PACKAGES)
    )
    y = ours[f"conv/{index}/y"]
    assert y.dtype == np.float64
    own = np.abs(y - ours[f"conv/{index}/own"]).max() / np.abs(y).max()
    assert own <= 1e-14, f"{own:.1e} from Jittor's own convolution"
    has_bias = CONVOLUTIONS[index][6]
    assert set(ours) == {f"conv/{index}/{key}" for key in ("y", "own", "grad_x", "grad_w", *["grad_b"] * has_bias)}
    for name, value in theirs.items():
        error = np.abs(ours[name] - value).max() / np.abs(value).max()
        assert error <= 1e-13, f"{name}: relative error {error:.1e}"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("package", PACKAGES)
def test_dropout(observed: dict[str, Arrays], package: str, dtype: str) -> None:
    got = {name: observed[package][f"dropout/{dtype}/{name}"] for name in ("new", "again", "eval", "train", "none")}
    kept = np.array(3, dtype=dtype) * np.array(1 / (1 - 0.3), dtype=dtype)
    for name in ("new", "again", "train"):
        values = got[name]
        assert values.dtype == dtype
        np.testing.assert_array_max_ulp(np.unique(values)[1:], kept[None], 1)
        share, spread = (values == 0).mean(), np.sqrt(0.3 * 0.7 / values.size)
        assert abs(share - 0.3) < 5 * spread
        assert abs(values.mean() - 3) < 5 * 3 / 0.7 * spread
        assert abs((values[:, :-1] == 0)[(values == 0)[:, 1:]].mean() - 0.3) < 0.01  # neighbours fall independently
    assert not np.array_equal(got["new"], got["again"])
    for name in ("eval", "none"):
        assert got[name].dtype == dtype and (got[name] == 3).all()


@pytest.mark.parametrize("package", PACKAGES)
def test_gradient_of_dropout_follows_its_mask(observed: dict[str, Arrays], package: str) -> None:
    y, gradient = observed[package]["dropout/y"], observed[package]["dropout/gradient"]
    np.testing.assert_allclose(gradient, y / 3, rtol=1e-15)
    assert 0 < (y == 0).sum() < y.size


def test_gradient_of_layer_norm_has_all_digits(observed: dict[str, Arrays]) -> None:
    reference, port = (observed[package]["norm/gradient"] for package in PACKAGES)
    assert reference.dtype == port.dtype == "float64"
    np.testing.assert_allclose(port, reference, rtol=0, atol=1e-14 * np.abs(reference).max())


def normalised(x: Array) -> Array:
    x = x.astype(np.longdouble)
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + np.longdouble(1e-5))


@pytest.mark.parametrize("case", ["common", "far"])
def test_layer_norm_loses_no_more_digits_than_torch(observed: dict[str, Arrays], case: str) -> None:
    for dtype in ("float32", "float64"):
        errors = {}
        for package in PACKAGES:
            x, y = (observed[package][f"norm/{case}/{dtype}/{name}"] for name in "xy")
            assert y.dtype == dtype
            errors[package] = float(np.abs(y - normalised(x)).max())
        print(case, dtype, errors)
        floor = 2 * np.finfo(dtype).eps * float(np.abs(y).max())
        assert errors["jittor"] <= 2 * max(errors["torch"], floor), errors


@pytest.mark.parametrize("when", ["new", "assigned", "loaded", "shared", "eps"])
def test_a_frozen_batch_norm_is_that_of_what_its_buffers_hold_now(observed: dict[str, Arrays], when: str) -> None:
    reference, port = (observed[package][f"frozen/{when}"] for package in PACKAGES)
    np.testing.assert_allclose(port, reference, rtol=1e-6, atol=1e-6)
    others = [f"frozen/{other}" for other in ("new", "assigned", "loaded", "shared", "eps") if other != when]
    assert all(np.abs(observed["torch"][key] - reference).max() > 1e-3 for key in others)


def test_a_frozen_batch_norm_that_is_trained_after_all_has_a_gradient(observed: dict[str, Arrays]) -> None:
    reference, port = (observed[package]["frozen/gradient"] for package in PACKAGES)
    assert np.abs(reference).min() > 1
    np.testing.assert_allclose(port, reference, rtol=1e-5)
