"""Steps of the optimizer on given gradients, its state moved from one package to the other, and what it refuses."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from sides import Array, Arrays, Torch, message_of

from detr_common.options import default_args

STEPS, DROP = 10, 5
SETTINGS = {"lr": 1e-4, "lr_backbone": 1e-5, "weight_decay": 1e-4, "lr_drop": DROP}
DTYPES = ("float64", "float32")
SHAPES = {
    "head.weight": (64, 96),
    "head.bias": (64,),
    "norm.scale": (257,),
    "one": (1,),
    "backbone.stem": (8, 3, 3, 3),
    "backbone.conv": (32, 16, 3, 3),
}
FROZEN = ("backbone.stem",)


def start(dtype: str) -> Arrays:
    """Parameters as a network has them: biases begin at 0, scales at 1."""
    rng = np.random.default_rng(1)
    values = {name: 0.05 * rng.standard_normal(shape) for name, shape in SHAPES.items()}
    values["head.bias"][:] = 0
    values["norm.scale"][:] = 1
    return {name: value.astype(dtype) for name, value in values.items()}


def gradients_of(step: int, dtype: str) -> Arrays:
    """Gradients over seven orders of magnitude."""
    rng = np.random.default_rng([2, step])
    names = [name for name in SHAPES if name not in FROZEN]
    return {
        name: (rng.standard_normal(SHAPES[name]) * 10.0 ** rng.integers(-6, 1, SHAPES[name])).astype(dtype)
        for name in names
    }


def model_of(side: Torch, values: Arrays, frozen: tuple[str, ...] = FROZEN) -> Any:
    """A module with parameters of these names."""
    if side.name == "torch":
        import torch

        model = torch.nn.Module()
        for name, value in values.items():
            *path, last = name.split(".")
            owner = model
            for part in path:
                if not hasattr(owner, part):
                    owner.add_module(part, torch.nn.Module())
                owner = getattr(owner, part)
            owner.register_parameter(last, torch.nn.Parameter(side.array(value), requires_grad=name not in frozen))
        return model
    from jittor import nn

    model = nn.Module()
    for name, value in values.items():
        *path, last = name.split(".")
        owner = model
        for part in path:
            if not hasattr(owner, part):
                setattr(owner, part, nn.Module())
            owner = getattr(owner, part)
        var = side.array(value)
        setattr(owner, last, var.stop_grad() if name in frozen else var)
    return model


def built(side: Torch, dtype: str) -> tuple[Any, Any, Any]:
    """The file's module, an optimizer and a schedule."""
    module = side.module("optimizer")
    args = default_args(**SETTINGS)
    optimizer = module.build_optimizer(model_of(side, start(dtype)), args)
    return module, optimizer, module.build_scheduler(optimizer, args)


def whole_state(side: Torch, module: Any, optimizer: Any) -> Arrays:
    """Parameters and moments by name."""
    result = {f"param/{name}": side.numpy(p).copy() for name, p in module.named_parameters(optimizer).items()}
    for name, entry in module.moments(optimizer).items():
        result |= {f"{key}/{name}": side.numpy(entry[key]).copy() for key in ("exp_avg", "exp_avg_sq")}
        result[f"step/{name}"] = np.array(float(entry["step"]))
    return result


def as_arrays(side: Torch, state: Any) -> Any:
    """A state dict with arrays for tensors."""
    if isinstance(state, Mapping):
        return {key: as_arrays(side, value) for key, value in state.items()}
    return (
        state if isinstance(state, (np.ndarray, int, float, list, tuple)) or state is None else side.numpy(state).copy()
    )


def impose(side: Torch, module: Any, optimizer: Any, given: Mapping[str, Array], prefix: str) -> None:
    """Put the state that the other package had after the step before into this optimizer."""
    parameters = module.named_parameters(optimizer)
    for name, p in parameters.items():
        _write(side, p, given[f"{prefix}/param/{name}"])
    state = optimizer.state_dict()
    entries = {
        index: {key: given[f"{prefix}/{key}/{name}"] for key in ("step", "exp_avg", "exp_avg_sq")}
        for index, name in enumerate(parameters)
    }
    optimizer.load_state_dict(state | {"state": entries})


def _write(side: Torch, target: Any, value: Array) -> None:
    if side.name == "torch":
        target.data.copy_(side.array(value))
    else:
        target.update(side.array(value))


def observe(side: Torch, given: Mapping[str, Array]) -> Arrays:
    result: dict[str, Any] = {}
    for dtype in DTYPES:
        result |= {f"{dtype}/{key}": value for key, value in steps(side, dtype, given).items()}
    result |= resumed(side, given) | clipping(side) | surface(side) | refused(side)
    return result


def steps(side: Torch, dtype: str, given: Mapping[str, Array]) -> Arrays:
    """Ten steps with a drop of the rates; those of ``given`` begin where PyTorch's did and clip as it did."""
    module, optimizer, schedule = built(side, dtype)
    result: dict[str, Any] = {"names": np.array([" ".join(names) for names in optimizer.names])}
    for step in range(STEPS):
        if step and f"{dtype}/{step - 1}/norm" in given:
            impose(side, module, optimizer, given, f"{dtype}/{step - 1}")
        module.set_gradients(optimizer, gradients_of(step, dtype))
        result[f"{step}/norm"] = side.numpy(module.clip_grad_norm(optimizer, 0.1)).reshape(()).copy()
        result |= {f"{step}/grad/{n}": side.numpy(g).copy() for n, g in module.gradients(optimizer).items()}
        if f"{dtype}/{step}/norm" in given:
            module.set_gradients(
                optimizer, {name: given[f"{dtype}/{step}/grad/{name}"] for name in gradients_of(step, dtype)}
            )
        optimizer.step()
        schedule.step()
        result |= {f"{step}/{key}": value for key, value in whole_state(side, module, optimizer).items()}
        result[f"{step}/lr"] = np.array([group["lr"] for group in optimizer.param_groups])
        result[f"{step}/last"] = np.array(schedule.get_last_lr())
    return result


def resumed(side: Torch, given: Mapping[str, Array]) -> Arrays:
    """Four steps in one go; two steps, the state as arrays into another optimizer, two more."""
    result: dict[str, Any] = {}
    module, optimizer, schedule = built(side, "float64")
    for step in range(4):
        if step == 2:
            saved = as_arrays(side, optimizer.state_dict()), schedule.state_dict()
            values = {n: side.numpy(p).copy() for n, p in module.named_parameters(optimizer).items()}
            kept = as_arrays(side, {key: np.array(v) for key, v in _flat(saved[0]["state"]).items()})
            result |= {f"saved/{key}": value for key, value in kept.items()}
            result["saved/groups"] = np.array(repr(saved[0]["param_groups"]))
            result["saved/schedule"] = np.array(repr(saved[1]))
        module.set_gradients(optimizer, gradients_of(step, "float64"))
        optimizer.step()
        schedule.step()
    result |= {f"whole/{k}": v for k, v in whole_state(side, module, optimizer).items()}
    again = module.build_optimizer(model_of(side, start("float64") | values), default_args(**SETTINGS | {"lr": 0.5}))
    schedule = module.build_scheduler(again, default_args(lr_drop=1))
    again.load_state_dict({key: kept for key, kept in saved[0].items()})
    schedule.load_state_dict(saved[1])
    for step in (2, 3):
        module.set_gradients(again, gradients_of(step, "float64"))
        again.step()
        schedule.step()
    return result | {f"resumed/{k}": v for k, v in whole_state(side, module, again).items()}


def _flat(state: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
    return {f"{index}/{key}": value for index, entry in state.items() for key, value in entry.items()}


def clipping(side: Torch) -> Arrays:
    """Norms of float32 gradients, one of them large, and of such as need no clipping or are not to be clipped."""
    result: dict[str, Any] = {}
    module = side.module("optimizer")
    rng = np.random.default_rng(3)
    big = {"a": rng.standard_normal((2000, 2000)).astype(np.float32), "b": np.full((3,), 2.0, np.float32)}
    for name, scale, max_norm in (("large", 1.0, 0.1), ("small", 1e-6, 0.1), ("off", 1.0, 0.0)):
        optimizer = module.build_optimizer(model_of(side, big, ()), default_args())
        module.set_gradients(optimizer, {key: value * np.float32(scale) for key, value in big.items()})
        result[f"clip/{name}/norm"] = side.numpy(module.clip_grad_norm(optimizer, max_norm)).reshape(()).copy()
        result |= {f"clip/{name}/{n}": side.numpy(g).copy() for n, g in module.gradients(optimizer).items()}
    return result


def surface(side: Torch) -> Arrays:
    """Gradients of a loss: twice without clearing, and after they were dropped; what is there before the first step."""
    module, optimizer, _ = built(side, "float64")
    result: dict[str, Any] = {
        "surface/before": np.array([len(module.gradients(optimizer)), len(module.moments(optimizer))]),
        "surface/empty": np.array(len(optimizer.state_dict()["state"])),
    }
    for turn in range(3):
        if turn == 2:
            module.drop_gradients(optimizer)
            result["surface/dropped"] = np.array(len(module.gradients(optimizer)))
        loss = sum((p * p).sum() for p in module.named_parameters(optimizer).values())
        module.backward(optimizer, loss)
        result |= {f"surface/{turn}/{n}": side.numpy(g).copy() for n, g in module.gradients(optimizer).items()}
    optimizer.step()
    result |= {f"surface/after/{k}": v for k, v in whole_state(side, module, optimizer).items()}
    model = model_of(side, start("float64"))
    optimizer = module.build_optimizer(model, default_args(**SETTINGS))
    model.eval()
    p = module.named_parameters(optimizer)["one"]
    result["surface/eval"] = message_of(lambda: module.backward(optimizer, (p * p).sum()), ValueError)
    return result


def refused(side: Torch) -> Arrays:
    """What each wrong input is answered with, and whether anything changed."""
    module, optimizer, schedule = built(side, "float64")
    module.set_gradients(optimizer, gradients_of(0, "float64"))
    optimizer.step()
    saved = as_arrays(side, optimizer.state_dict())
    before = whole_state(side, module, optimizer)
    groups, state = saved["param_groups"], saved["state"]
    wrong: dict[str, Any] = {
        "list": [1],
        "no-state": {"param_groups": groups},
        "no-groups": {"state": state},
        "one-group": saved | {"param_groups": groups[:1]},
        "fewer": saved | {"param_groups": [groups[0], groups[1] | {"params": []}]},
        "no-lr": saved | {"param_groups": [{k: v for k, v in groups[0].items() if k != "lr"}, groups[1]]},
        "nan-lr": saved | {"param_groups": [groups[0] | {"lr": float("nan")}, groups[1]]},
        "betas": saved | {"param_groups": [groups[0] | {"betas": (0.9,)}, groups[1]]},
        "amsgrad": saved | {"param_groups": [groups[0] | {"amsgrad": True}, groups[1]]},
        "shape": saved | {"state": state | {1: state[1] | {"exp_avg": np.zeros((2, 3))}}},
        "kinds": saved | {"state": state | {0: {"step": np.array(1.0), "momentum": np.zeros((64, 96))}}},
        "stranger": saved | {"state": state | {77: state[0]}},
        "step": saved | {"state": state | {0: state[0] | {"step": np.array([1.0, 2.0])}}},
    }
    result = {
        f"refused/{name}": message_of(lambda given=given: optimizer.load_state_dict(given), ValueError)
        for name, given in wrong.items()
    }
    after = whole_state(side, module, optimizer)
    result["refused/unchanged"] = np.array(all(np.array_equal(before[key], after[key]) for key in before))
    gradients = gradients_of(0, "float64")
    bad = {
        "unknown": gradients | {"other": np.zeros(3)},
        "missing": {n: g for n, g in gradients.items() if n != "one"},
        "shapes": gradients | {"one": np.zeros(2)},
    }
    for name, given in bad.items():
        result[f"refused/gradients/{name}"] = message_of(
            lambda given=given: module.set_gradients(optimizer, given), ValueError
        )
    for name, given in {"empty": {}, "groups": schedule.state_dict() | {"base_lrs": [0.1]}}.items():
        result[f"refused/schedule/{name}"] = message_of(lambda given=given: schedule.load_state_dict(given), ValueError)
    model = model_of(side, start("float32"))
    for name, changes in {"lr": {"lr": -1.0}, "decay": {"weight_decay": float("nan")}}.items():
        result[f"refused/options/{name}"] = message_of(
            lambda changes=changes: module.build_optimizer(model, default_args(**changes)), ValueError
        )
    result["refused/options/drop"] = message_of(
        lambda: module.build_scheduler(optimizer, default_args(lr_drop=0)), ValueError
    )
    everything = model_of(side, start("float32"), tuple(SHAPES))
    result["refused/nothing"] = message_of(lambda: module.build_optimizer(everything, default_args()), ValueError)
    return result
