"""The kernels that detr_jt has of its own, against NumPy and against Jittor's operations in their place."""

from pathlib import Path

import numpy as np
import pytest
import torch
from observe_kernels import DTYPES, GROUP, PRODUCTS, WEIGHTS, relu_input, scores_of, update_inputs
from sides import Arrays, observe_jittor

WAYS = ("kernels", "operations")


@pytest.fixture(scope="module")
def observed(tmp_path_factory: pytest.TempPathFactory) -> Arrays:
    return observe_jittor("observe_kernels", Path(__file__).parent, tmp_path_factory.mktemp("kernels"), {})


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("index", range(len(PRODUCTS)))
def test_product_and_its_gradients(observed: Arrays, index: int, dtype: str, way: str) -> None:
    got = {name: observed[f"{way}/{dtype}/product/{index}/{name}"] for name in ("a", "b", "pull", "z", "da", "db")}
    a, b, pull = (got[name].astype(np.float64) for name in ("a", "b", "pull"))
    if PRODUCTS[index][4]:
        b = b.swapaxes(-1, -2)
    db = a.swapaxes(-1, -2) @ pull
    truth = {"z": a @ b, "da": pull @ b.swapaxes(-1, -2), "db": db.swapaxes(-1, -2) if PRODUCTS[index][4] else db}
    for name, value in truth.items():
        assert got[name].dtype == dtype and got[name].shape == value.shape
        error = np.abs(got[name] - value).max() / np.abs(value).max()
        assert error <= (1e-14 if dtype == "float64" else 2e-6), f"{name}: {error:.1e}"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", WEIGHTS)
def test_attention_weights_and_their_gradient(observed: Arrays, case: str, dtype: str, way: str) -> None:
    scores, padding, pull = scores_of(case, dtype)
    errors = {}
    for precision in (torch.float64, getattr(torch, dtype)):
        x = torch.from_numpy(scores).to(precision).requires_grad_()
        hidden = x if padding is None else x.masked_fill(torch.from_numpy(padding)[:, None, None], float("-inf"))
        y = hidden.softmax(-1)
        y.backward(torch.from_numpy(pull).to(precision))
        errors[precision] = {"y": y.detach().numpy(), "dx": x.grad.numpy()}
    truth = errors[torch.float64]
    for name in ("y", "dx"):
        got = observed[f"{way}/{dtype}/{case}/{name}"]
        assert got.dtype == dtype
        error = np.sqrt(np.mean((got - truth[name]) ** 2)) / np.sqrt(np.mean(truth[name] ** 2))
        theirs = np.sqrt(np.mean((errors[torch.float32][name] - truth[name]) ** 2)) if dtype == "float32" else 0.0
        assert error <= (1e-15 if dtype == "float64" else 1e-6), f"{name}: {error:.1e}"
        if way == "kernels" and dtype == "float32":
            assert np.sqrt(np.mean((got - truth[name]) ** 2)) <= 1.25 * theirs
        if padding is not None:
            assert not got[1, :, :, padding[1]].any()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", WEIGHTS)
def test_attention_weights_of_what_is_not_finite_are_nan_in_that_row_alone(
    observed: Arrays, case: str, dtype: str
) -> None:
    got = observed[f"kernels/{dtype}/{case}/broken"]
    assert np.isnan(got[0, 0, :3]).all() and np.isfinite(got[0, 1:]).all() and np.isfinite(got[1]).all()
    assert np.isnan(observed[f"kernels/{dtype}/{case}/none"]).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_relu_is_pytorchs_also_of_nan(observed: Arrays, dtype: str) -> None:
    theirs = torch.relu(torch.from_numpy(relu_input(dtype))).numpy()
    assert np.isnan(theirs).sum() == 25
    np.testing.assert_array_equal(observed[f"{dtype}/relu"], theirs)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["dropped", "gradient"])
def test_dropout_is_that_of_jittors_operations(observed: Arrays, name: str, dtype: str) -> None:
    ours, theirs = (observed[f"{way}/{dtype}/{name}"] for way in WAYS)
    assert ours.dtype == theirs.dtype == dtype
    assert ours.any()
    np.testing.assert_array_max_ulp(ours, theirs, 1)


@pytest.mark.parametrize("dtype", DTYPES)
def test_update_rounds_as_pytorch_does(observed: Arrays, dtype: str) -> None:
    first, gradients = update_inputs(dtype)
    p = torch.nn.Parameter(torch.from_numpy(first.copy()))
    optimizer = torch.optim.AdamW([p], **GROUP, fused=True)
    for gradient in gradients:
        p.grad = torch.from_numpy(gradient)
        optimizer.step()
    truth = {"p": p.detach(), **{name: optimizer.state[p][name] for name in ("exp_avg", "exp_avg_sq")}}
    for name, value in truth.items():
        ours, operations = (observed[f"{way}/{dtype}/{name}"] for way in WAYS)
        assert ours.dtype == dtype
        # What does not fill a vector, PyTorch computes by other instructions.
        whole = value.numel() // 16 * 16
        assert value.numel() > whole and np.array_equal(ours.ravel()[:whole], value.numpy().ravel()[:whole]), name
        np.testing.assert_array_max_ulp(ours, value.numpy(), 2)
        np.testing.assert_array_max_ulp(operations, value.numpy(), 16)


@pytest.mark.parametrize("dtype", DTYPES)
def test_dropout_drops_what_it_is_told(observed: Arrays, dtype: str) -> None:
    values, keep = observed[f"kernels/{dtype}/dropped"], observed[f"kernels/{dtype}/keep"]
    assert not values[~keep].any() and (values[keep] > 0).any()


def test_clipping(observed: Arrays) -> None:
    for name in ("norm", *(f"clipped/{index}" for index in range(4))):
        np.testing.assert_array_max_ulp(observed[f"kernels/{name}"], observed[f"operations/{name}"], 1)
    squares = sum((observed[f"kernels/clipped/{index}"].astype(np.float64) ** 2).sum() for index in range(4))
    assert abs(np.sqrt(squares) - 0.1) < 1e-6


def test_draws(observed: Arrays) -> None:
    first, second = observed["draw/first"], observed["draw/second"]
    assert first.dtype == bool and np.array_equal(first, observed["draw/again"])
    spread = np.sqrt(0.1 * 0.9 / first.size)
    for mask in (first, second):
        assert abs(mask.mean() - 0.9) < 5 * spread
        for axis in (0, 1):
            assert mask.mean(axis).std() < 1.3 * np.sqrt(0.1 * 0.9 / mask.shape[axis]), "values of a line fall together"
    for left, right in ((first, second), (first[:, 1:], first[:, :-1]), (first[1:], first[:-1])):
        assert abs(np.corrcoef(left.ravel(), right.ravel())[0, 1]) < 5 / np.sqrt(first.size)
    for apart in (2**power for power in range(1, 17)):
        assert abs(np.corrcoef(first.ravel()[apart:], first.ravel()[:-apart])[0, 1]) < 5 / np.sqrt(first.size - apart)
    assert observed["draw/all"].all() and not observed["draw/none"].any()


def test_threads_beside_each_other_compute_what_one_does(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    computed = []
    for threads in ("1", "4"):
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        computed.append(observe_jittor("observe_threads", Path(__file__).parent, tmp_path, {}))
    alone, together = computed
    assert alone.keys() == together.keys() and len(alone) > 50
    for name, value in alone.items():
        assert np.array_equal(value, together[name], equal_nan=True), name


def test_maps_are_held_only_where_a_gradient_needs_them(observed: Arrays) -> None:
    frozen, again, trained = observed["held"]
    assert frozen == again == 2 and trained > 5
