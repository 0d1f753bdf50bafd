"""load_weights of both packages: strict, cast to the model's dtype, nothing changed where something does not fit."""

from collections.abc import Callable
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from observe_loading import BAD, GOOD
from sides import Arrays, small_args

import fixtures
from weight_convert import write

PACKAGES = ("torch", "jittor")
MISSING, SHAPED = "class_embed.bias", "transformer.decoder.layers.1.norm2.weight"


def weights() -> Arrays:
    return fixtures.state_dict(small_args())


def cast(state: Arrays, dtype: object) -> Arrays:
    return {name: value.astype(dtype) for name, value in state.items()}


@pytest.fixture(scope="module")
def observed(observe: Callable[..., dict[str, Arrays]], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Arrays]:
    folder = tmp_path_factory.mktemp("weights")
    state = weights()
    for dtype in ("float32", "float16", "bfloat16", "float64"):
        values = cast(state, ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
        for suffix in (name.partition(".")[2] for name in GOOD if name.startswith(dtype)):
            write(values, folder / f"{dtype}.{suffix}")
    for suffix in ("pth", "pkl"):
        write({"model": state, "epoch": 3}, folder / f"whole.{suffix}")
    write(state | {"backbone.0.body.bn1.num_batches_tracked": np.array(7)}, folder / "counted.pth")
    lacking = {name: value for name, value in state.items() if name != MISSING}
    reshaped = {SHAPED: state[SHAPED][:-1].copy()}
    write(lacking, folder / "missing.pth")
    write(state | {"surplus.weight": np.ones(3, dtype=np.float32)}, folder / "extra.pkl")
    write(state | reshaped, folder / "shape.safetensors")
    write(lacking | reshaped | {"surplus.weight": np.ones(3, dtype=np.float32)}, folder / "all.pth")
    (folder / "text.pth").write_text("not a checkpoint")
    return observe("observe_loading", folder=str(folder))


@pytest.mark.parametrize("file", GOOD)
@pytest.mark.parametrize("package", PACKAGES)
def test_float32_model_takes_every_kind_of_file(observed: dict[str, Arrays], package: str, file: str) -> None:
    state = weights()
    if file.startswith(("float16", "bfloat16")):
        state = cast(state, ml_dtypes.bfloat16 if file.startswith("b") else np.float16)
    for name, value in state.items():
        loaded = observed[package][f"float32/{file}/{name}"]
        assert loaded.dtype == np.float32
        assert np.array_equal(loaded, value.astype(np.float32)), name
    assert observed[package][f"frozen/float32/{file}"]


@pytest.mark.parametrize("file", ["float64.pth", "float32.pkl"])
@pytest.mark.parametrize("package", PACKAGES)
def test_float64_model_keeps_its_dtype(observed: dict[str, Arrays], package: str, file: str) -> None:
    for name, value in weights().items():
        loaded = observed[package][f"float64/{file}/{name}"]
        assert loaded.dtype == np.float64
        assert np.array_equal(loaded, value.astype(np.float64)), name
    assert observed[package][f"frozen/float64/{file}"]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("package", PACKAGES)
def test_what_does_not_fit_is_named_and_nothing_changes(observed: dict[str, Arrays], package: str, dtype: str) -> None:
    width = small_args().hidden_dim
    named = {
        "missing": f"missing {MISSING} [92]",
        "extra": "unexpected surplus.weight [3]",
        "shape": f"{SHAPED} has shape [{width - 1}], the model needs [{width}]",
    }
    for file in BAD:
        message = str(observed[package][f"error/{dtype}/{file}"])
        assert Path(file).name in message
        assert observed[package][f"unchanged/{dtype}/{file}"], file
        kind = file.partition(".")[0]
        told = named.values() if kind == "all" else [named[kind]] if kind in named else []
        assert all(text in message for text in told), message
        if told:
            assert message.startswith("InputError: ") and f"in {len(told)} places" in message


def test_gradients_flow_after_loading_and_agree(observed: dict[str, Arrays]) -> None:
    ours, theirs = ({n: v for n, v in observed[p].items() if n.startswith("gradient/")} for p in ("jittor", "torch"))
    assert list(ours) == list(theirs) and len(ours) > 80
    scale = max(float(np.abs(gradient).max()) for gradient in theirs.values())
    worst = 0.0
    for name, gradient in theirs.items():
        size, error = float(np.abs(gradient).max()), float(np.abs(ours[name] - gradient).max())
        if "decoder.layers.0.self_attn.in_proj" in name and size < 1e-12 * scale:
            # Zero by symmetry: the values there are all alike, so the scores do not matter. Judged absolutely.
            assert error <= 1e-12 * scale, f"{name}: {error:.1e}"
            continue
        assert np.abs(ours[name]).max() > 0, f"no gradient reaches {name}"
        worst = max(worst, error / size)
        assert error <= 1e-11 * size, f"{name}: {error:.1e} of {size:.1e}"
    print(f"largest relative difference of a gradient: {worst:.1e}")
