"""The two packages behind one face, so that a check is written once and run in both.

PyTorch runs in the process of the tests; Jittor in one of its own, which is this file run as a script:
``python sides.py observe_TOPIC inputs.npz outputs.npz``.
"""

import importlib
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from detr_common.options import default_args

Array = npt.NDArray[Any]
Arrays = dict[str, Array]

SMALL = {"enc_layers": 2, "dec_layers": 2, "hidden_dim": 64, "nheads": 4, "dim_feedforward": 128, "num_queries": 20}


def small_args(**changes: object) -> Any:
    """The options of a small detector."""
    return default_args(**({"backbone": "resnet18", "dropout": 0.0} | SMALL | changes))


class Torch:
    """detr_pt."""

    name = "torch"

    def module(self, file: str) -> ModuleType:
        return importlib.import_module(f"detr_pt.{file}")

    def array(self, value: Any) -> Any:
        import torch

        return torch.from_numpy(np.array(value))

    def numpy(self, tensor: Any) -> Array:
        return tensor.detach().numpy()

    def seed(self, seed: int) -> None:
        import torch

        torch.manual_seed(seed)

    def takes_gradient(self, tensor: Any) -> bool:
        return tensor.requires_grad

    def gradients(self, loss: Any, tensors: list[Any]) -> list[Array]:
        import torch

        grads = torch.autograd.grad(loss, tensors, allow_unused=True)
        return [np.zeros(t.shape) if g is None else g.numpy() for g, t in zip(grads, tensors, strict=True)]

    def leaf(self, value: Any) -> Any:
        """A tensor that takes a gradient."""
        return self.array(value).requires_grad_()

    def state(self, model: Any) -> dict[str, Any]:
        """The parameters and buffers themselves, by name, in the order of the state dict."""
        return model.state_dict(keep_vars=True)

    def set_state(self, model: Any, values: Arrays) -> None:
        model.load_state_dict({name: self.array(value) for name, value in values.items()})

    def set_training(self, model: Any, training: bool) -> None:
        model.train(training)

    def undrawn(self) -> AbstractContextManager[None]:
        """A block that builds models of which nobody reads the weights."""
        from parity.frameworks.torch_settings import without_drawing

        return without_drawing()

    def adamw_step(self, model: Any, loss: Any) -> None:
        import torch

        trained = [p for p in model.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(trained, lr=1e-2, weight_decay=0.1)
        loss.backward()
        optimizer.step()


class Jittor(Torch):
    """detr_jt."""

    name = "jittor"

    def __init__(self) -> None:
        importlib.import_module("detr_jt")  # readies Jittor

    def module(self, file: str) -> ModuleType:
        return importlib.import_module(f"detr_jt.{file}")

    def array(self, value: Any) -> Any:
        import jittor as jt

        value = np.array(value)
        return jt.array(value, dtype=str(value.dtype))

    def numpy(self, tensor: Any) -> Array:
        return tensor.numpy()

    def seed(self, seed: int) -> None:
        import jittor as jt

        jt.set_global_seed(seed)

    def takes_gradient(self, tensor: Any) -> bool:
        return not tensor.is_stop_grad()

    def gradients(self, loss: Any, tensors: list[Any]) -> list[Array]:
        import jittor as jt

        return [grad.numpy() for grad in jt.grad(loss, tensors)]

    def leaf(self, value: Any) -> Any:
        return self.array(value)

    def state(self, model: Any) -> dict[str, Any]:
        return model.state_dict()

    def set_state(self, model: Any, values: Arrays) -> None:
        state = self.state(model)
        assert list(state) == list(values)
        for name, target in state.items():
            target.update(self.array(values[name].astype(str(target.dtype))))

    def set_training(self, model: Any, training: bool) -> None:
        # Jittor's eval() also stops every gradient.
        for module in model.modules():
            module.is_train = training

    def undrawn(self) -> AbstractContextManager[None]:
        return nullcontext()  # Jittor draws none that nobody reads

    def adamw_step(self, model: Any, loss: Any) -> None:
        import jittor as jt

        jt.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.1).step(loss)


def observe_both(topic: str, modules: Path, scratch: Path, **inputs: object) -> dict[str, Arrays]:
    """Run ``observe_TOPIC.observe``, a module in the folder ``modules``, in both; its arrays by framework."""
    given = {name: np.asarray(value) for name, value in inputs.items()}
    in_jittor = observe_jittor(topic, modules, scratch, given)
    in_torch = importlib.import_module(topic).observe(Torch(), given)
    assert set(in_torch) == set(in_jittor)
    return {"torch": in_torch, "jittor": in_jittor}


def observe_jittor(topic: str, modules: Path, scratch: Path, given: Arrays) -> Arrays:
    """As ``observe_both``, in Jittor alone."""
    np.savez(scratch / "inputs.npz", **given)
    command = [sys.executable, __file__, topic, scratch / "inputs.npz", scratch / "outputs.npz"]
    environment = os.environ | {"PYTHONPATH": f"{Path(__file__).resolve().parents[2]}{os.pathsep}{modules}"}
    process = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert process.returncode == 0, process.stdout[-2000:] + process.stderr[-6000:]
    with np.load(scratch / "outputs.npz") as outputs:
        return dict(outputs)


def message_of(action: Callable[[], object], *kinds: type[Exception]) -> Array:
    """What ``action`` raises as "kind: message", or an empty string; anything but ``kinds`` goes through."""
    try:
        action()
    except kinds as error:
        return np.array(f"{type(error).__name__}: {error}")
    return np.array("")


def main(topic: str, inputs: str, outputs: str) -> None:
    """Observe one topic in Jittor."""
    sys.path.insert(0, str(Path(__file__).parent))
    with np.load(inputs) as given:
        result = importlib.import_module(topic).observe(Jittor(), dict(given))
    np.savez(outputs, **result)


if __name__ == "__main__":
    main(*sys.argv[1:])
