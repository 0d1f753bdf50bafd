"""One adapter for each framework behind one small protocol; the only place where a framework is imported."""

from __future__ import annotations

from importlib import import_module

from parity.frameworks.base import Adapter

FRAMEWORKS = ("torch", "jittor")
ADAPTERS = ("detr", "port")


def load_adapter(framework: str, kind: str = "detr") -> Adapter:
    """Import a framework and return its adapter. One process loads one.

    Args:
        framework: "torch" or "jittor".
        kind: "detr", or "port" for models that are built by functions of the user's.

    Raises:
        ValueError: no such framework, or no such kind.
    """
    adapters = {
        ("torch", "detr"): ("torch_adapter", "TorchAdapter"),
        ("torch", "port"): ("torch_port", "TorchPort"),
        ("jittor", "detr"): ("jittor_adapter", "JittorAdapter"),
        ("jittor", "port"): ("jittor_port", "JittorPort"),
    }
    if (framework, kind) not in adapters:
        raise ValueError(f"no adapter {kind!r} of {framework!r}; choose of {', '.join(map(' '.join, adapters))}")
    module, name = adapters[framework, kind]
    adapter: Adapter = getattr(import_module(f"{__name__}.{module}"), name)()
    return adapter
