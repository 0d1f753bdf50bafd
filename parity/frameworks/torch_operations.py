"""Notes the operations of a model in PyTorch; ``parity.frameworks.jittor_operations`` is the mirror image."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from parity.recording.operations import Operations


@contextmanager
def noting(named: list[tuple[str, nn.Module]], operations: Operations) -> Iterator[None]:
    """Note every operation on tensors of floats while the block runs."""

    def enter(module: nn.Module, *_: Any) -> None:
        operations.enter(module)

    def leave(*_: Any) -> None:
        operations.leave()

    handles = []
    for _, module in named:
        handles += [module.register_forward_pre_hook(enter), module.register_forward_hook(leave)]
    try:
        with _Noting(operations):
            yield
    finally:
        for handle in handles:
            handle.remove()


class _Noting(TorchFunctionMode):  # type: ignore[misc]
    def __init__(self, operations: Operations) -> None:
        super().__init__()
        self._operations = operations

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for one in result if isinstance(result, (list, tuple)) else [result]:
            if isinstance(one, Tensor) and one.is_floating_point():
                self._operations.note(getattr(func, "__name__", "operation"), one.detach())
        return result
