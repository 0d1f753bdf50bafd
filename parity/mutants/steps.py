"""Plants the faults of the steps rung: in the functions of detr_jt that train, until the next model is built."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jittor as jt

from detr_jt import optimizer as optim
from detr_jt.layers import Dropout, constant
from parity.mutants.planting import Module, fault, override, substitute

Update = Callable[..., None]


def _update(change: Callable[[Update, Any, Any, dict[str, Any], dict[str, Any]], None]) -> None:
    """Replace the update of one parameter."""
    substitute(optim, "update", change)


@fault("decay-coupled")
def _decay_coupled(model: Module) -> None:
    def update(original: Update, p: Any, gradient: Any, state: Any, group: Any) -> None:
        decayed = gradient + p * constant(group["weight_decay"], p)
        original(p, decayed, state, {**group, "weight_decay": 0.0})

    _update(update)


@fault("decay-not-by-rate")
def _decay_not_by_rate(model: Module) -> None:
    _update(lambda original, p, g, s, group: original(p, g, s, {**group, "weight_decay": 1e-4 / group["lr"]}))


@fault("decay-not-of-vectors")
def _decay_not_of_vectors(model: Module) -> None:
    def update(original: Update, p: Any, gradient: Any, state: Any, group: Any) -> None:
        original(p, gradient, state, {**group, "weight_decay": 0.0} if p.ndim == 1 else group)

    _update(update)


@fault("adam-eps-inside-root")
def _eps_inside(model: Module) -> None:
    def update(original: Update, p: Any, gradient: Any, state: Any, group: Any) -> None:
        before = p.clone()
        original(p, gradient, state, group)
        lr, (beta1, beta2), step = group["lr"], group["betas"], state["step"]
        mean = state["exp_avg"] * constant(lr / (1 - beta1**step), p)
        root = (state["exp_avg_sq"] * constant(1 / (1 - beta2**step), p) + constant(group["eps"], p)).sqrt()
        p.update(before * constant(1 - lr * group["weight_decay"], p) - mean / root)

    _update(update)


@fault("adam-eps")
def _eps(model: Module, size: float) -> None:
    _update(lambda original, p, g, state, group: original(p, g, state, {**group, "eps": group["eps"] + size}))


@fault("adam-second-beta")
def _second_beta(model: Module, size: float) -> None:
    def update(original: Update, p: Any, gradient: Any, state: Any, group: Any) -> None:
        beta1, beta2 = group["betas"]
        original(p, gradient, state, {**group, "betas": (beta1, beta2 - size)})

    _update(update)


def _as_step(state: dict[str, Any], step: float, update: Callable[[dict[str, Any]], None]) -> None:
    """Correct the bias as of another step."""
    update({**state, "step": step})
    state["step"] += 1


@fault("adam-bias-not-corrected")
def _bias_not_corrected(model: Module) -> None:
    _update(lambda original, p, g, s, group: _as_step(s, 1e9, lambda other: original(p, g, other, group)))


@fault("adam-bias-one-late")
def _bias_late(model: Module) -> None:
    _update(lambda original, p, g, s, group: _as_step(s, s["step"] + 1, lambda other: original(p, g, other, group)))


@fault("moments-not-zero")
def _moments_not_zero(model: Module) -> None:
    def update(original: Update, p: Any, gradient: Any, state: Any, group: Any) -> None:
        if state["step"] == 0:
            state["exp_avg"].update(gradient)
        original(p, gradient, state, group)

    _update(update)


@fault("backbone-not-updated")
def _backbone_not_updated(model: Module) -> None:
    def update(original: Update, p: Any, gradient: Any, state: Any, group: Any) -> None:
        if group["lr"] != 1e-5:
            original(p, gradient, state, group)

    _update(update)


def _clip(change: Callable[[Callable[..., Any], Any, float], Any]) -> None:
    """Replace the clipping."""
    substitute(optim, "clip_grad_norm", change)


@fault("clip-skipped")
def _clip_skipped(model: Module) -> None:
    _clip(lambda original, optimizer, max_norm: original(optimizer, 0))


@fault("clip-each-parameter")
def _clip_each(model: Module) -> None:
    def clip(original: Callable[..., Any], optimizer: Any, max_norm: float) -> Any:
        norm = original(optimizer, 0)
        for value in optim.gradients(optimizer).values():
            own = (value * value).sum().sqrt()
            value.update(value * jt.minimum(constant(max_norm, own) / (own + constant(1e-6, own)), jt.ones_like(own)))
        return norm

    _clip(clip)


@fault("clip-enlarges")
def _clip_enlarges(model: Module) -> None:
    def clip(original: Callable[..., Any], optimizer: Any, max_norm: float) -> Any:
        norm = original(optimizer, 0)
        for value in optim.gradients(optimizer).values():
            value.update(value * (constant(max_norm, value) / (norm.cast(value.dtype) + constant(1e-6, value))))
        return norm

    _clip(clip)


@fault("clip-norm-two-percent-off")
def _clip_norm_off(model: Module, size: float) -> None:
    def clip(original: Callable[..., Any], optimizer: Any, max_norm: float) -> Any:
        return float(original(optimizer, max_norm / (1 - size))) * (1 - size)

    _clip(clip)


@fault("clip-each-group")
def _clip_each_group(model: Module) -> None:
    def clip(original: Callable[..., Any], optimizer: Any, max_norm: float) -> Any:
        norm = original(optimizer, 0)
        for group in optimizer.param_groups:
            own = jt.concat([(value * value).sum() for value in group["grads"]]).sum().sqrt()
            factor = jt.minimum(constant(max_norm, own) / (own + constant(1e-6, own)), jt.ones_like(own))
            for value in group["grads"]:
                value.update(value * factor)
        return norm

    _clip(clip)


def _rates(change: Callable[[Any], None]) -> None:
    """Change an optimizer once it is built."""

    def build(original: Callable[..., Any], *args: Any) -> Any:
        optimizer = original(*args)
        change(optimizer)
        return optimizer

    substitute(optim, "build_optimizer", build)


@fault("rates-exchanged")
def _rates_exchanged(model: Module) -> None:
    def change(optimizer: Any) -> None:
        first, second = optimizer.param_groups
        first["lr"], second["lr"] = second["lr"], first["lr"]

    _rates(change)


@fault("backbone-at-full-rate")
def _backbone_full(model: Module) -> None:
    def change(optimizer: Any) -> None:
        optimizer.param_groups[1]["lr"] = optimizer.param_groups[0]["lr"]

    _rates(change)


def _schedule(change: Callable[[Any], None]) -> None:
    """Change a schedule once it is built."""

    def build(original: Callable[..., Any], *args: Any) -> Any:
        schedule = original(*args)
        change(schedule)
        return schedule

    substitute(optim, "build_scheduler", build)


@fault("drop-one-late")
def _drop_late(model: Module) -> None:
    _schedule(lambda schedule: setattr(schedule, "step_size", schedule.step_size + 1))


@fault("drop-only-once")
def _drop_once(model: Module) -> None:
    def step(original: Callable[..., Any], schedule: Any) -> None:
        kept = [group["lr"] for group in schedule.optimizer.param_groups]
        original(schedule)
        if schedule.last_epoch > schedule.step_size:
            for group, rate in zip(schedule.optimizer.param_groups, kept, strict=True):
                group["lr"] = rate

    substitute(optim.StepLR, "step", step)


@fault("drop-of-first-group")
def _drop_of_first(model: Module) -> None:
    def step(original: Callable[..., Any], schedule: Any) -> None:
        kept = schedule.optimizer.param_groups[1]["lr"]
        original(schedule)
        schedule.optimizer.param_groups[1]["lr"] = kept

    substitute(optim.StepLR, "step", step)


@fault("drop-to-half")
def _drop_to_half(model: Module) -> None:
    _schedule(lambda schedule: setattr(schedule, "gamma", 0.5))


@fault("gradients-not-cleared")
def _not_cleared(model: Module) -> None:
    def backward(original: Callable[..., Any], optimizer: Any, loss: Any) -> None:
        before = {name: value.clone() for name, value in optim.gradients(optimizer).items()}
        original(optimizer, loss)
        for name, value in optim.gradients(optimizer).items():
            if name in before:
                value.update(value + before[name])

    substitute(optim, "backward", backward)


@fault("dropout-not-scaled")
def _dropout_not_scaled(model: Module) -> None:
    def execute(original: Callable[..., Any], dropout: Module, x: Any) -> Any:
        y = original(dropout, x)
        return y if y is x else y * constant(1 - dropout.p, x)

    substitute(Dropout, "execute", execute)


@fault("dropout-off")
def _dropout_off(model: Module) -> None:
    substitute(Dropout, "execute", lambda original, dropout, x: x)


@fault("batchnorm-statistics-updated")
def _statistics_updated(model: Module) -> None:
    norm = dict(model.named_modules())["backbone.0.body.layer4.1.bn2"]

    def execute(self: Module, original: Callable[..., Any], x: Any) -> Any:
        y = original(x)
        mean = x.detach().mean(dims=(0, 2, 3))
        kept = self.running_mean * constant(0.9, x) + mean * constant(0.1, x)
        self.running_mean.update(kept.stop_grad())
        return y

    override(norm, execute)
