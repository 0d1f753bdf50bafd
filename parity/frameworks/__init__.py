"""One adapter for each framework behind one small protocol; the only place where a framework is imported."""

from __future__ import annotations

from parity.frameworks.base import Adapter

FRAMEWORKS = ("torch", "jittor")


def load_adapter(framework: str) -> Adapter:
    """Import a framework and return its adapter. One process loads one.

    Raises:
        ValueError: no such framework.
    """
    if framework == "torch":
        from parity.frameworks.torch_adapter import TorchAdapter

        return TorchAdapter()
    if framework == "jittor":
        from parity.frameworks.jittor_adapter import JittorAdapter

        return JittorAdapter()
    raise ValueError(f"no such framework: {framework!r}; choose one of {', '.join(FRAMEWORKS)}")
