"""Modules that are compared as they are, in this process: copies of them stand in for workers."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np

from parity.client import Worker
from parity.failures import traceback_of
from parity.frameworks import load_adapter
from parity.trace import Entry
from parity.wire import Array


class LocalWorker(Worker):
    """Does in this process, at once, what a worker is asked for.

    Args:
        framework: "torch" or "jittor".
    """

    def __init__(self, framework: str) -> None:
        self.framework = self.label = framework
        self.results: dict[str, Array] = {}
        self.seconds = 0.0
        self.failure = ""
        self._entries: list[Entry] = []
        self._source: Any = None
        with _undisturbed():
            self._adapter = load_adapter(framework, "port")
        self.environment = self._adapter.environment()
        self.modules: list[str] = []
        self.resting: list[str] = []
        self.unused: list[str] = []
        self.in_training: dict[str, dict[str, Any]] = {}

    def build(self, args: Any, weights: Path | None, mutant: str = "", twin: int = 0) -> None:
        """Build a copy of the module, unless that is the one that stands."""
        self.label = f"{self.framework} {args.dtype}{f'-twin{twin}' if twin > 1 else '-twin' if twin else ''}"
        source = (id(args.builder), args.dtype, weights, twin)
        if source == self._source:
            return
        self._source = source
        args.builder = _copied(args.builder)
        with _undisturbed():
            self._adapter.build(args, weights, twin)
        self.modules, self.resting = self._adapter.modules(), self._adapter.resting()
        self.unused, self.in_training = self._adapter.unused(), self._adapter.in_training()

    def wait_built(self) -> None:
        """Return at once: ``build`` has built it."""

    def ready(self) -> None:
        """Return at once: the framework is imported."""

    def ask(self, do: str, arrays: Mapping[str, Array], **details: Any) -> None:
        """Do a pass; read what it emitted with ``entries``."""
        # Imported here, since the worker brings the detectors' data with it.
        from parity.worker import perform

        if do == "prepare":
            self._source = None
        self._entries, self.results, self.failure = [], {}, ""
        start = time.perf_counter()
        try:
            with _undisturbed():
                self.results = {
                    name: np.array(array)
                    for name, array in perform(
                        self._adapter,
                        {"do": do, **details},
                        dict(arrays),
                        lambda entry: self._entries.append(_kept(entry)),
                    ).items()
                }
        except Exception as error:
            self.failure = traceback_of(error)
        self.seconds = time.perf_counter() - start

    def entries(self) -> Iterator[Entry]:
        """Yield what the last pass emitted."""
        while self._entries:
            yield self._entries.pop(0)

    @property
    def usable(self) -> bool:
        """Always: each request is answered at once."""
        return True

    def close(self) -> None:
        """Forget the module."""
        self._entries = []


def _undisturbed() -> AbstractContextManager[None]:
    # Imported where it is needed, since it brings PyTorch, which a worker of Jittor must not have.
    from parity.frameworks.undisturbed import undisturbed

    return undisturbed()


def _kept(entry: Entry) -> Entry:
    """Return an entry whose values later writes do not reach."""
    return Entry(entry.name, entry.owner, entry.source, np.array(entry.array), entry.caller, entry.inputs, "")


def _copied(module: Any) -> Any:
    """Return a copy of a module; of Jittor's, frozen parameters stay frozen."""
    twin = copy.deepcopy(module)
    if type(module).__module__.split(".")[0] != "torch" and hasattr(module, "execute"):
        for own, other in zip(module.parameters(), twin.parameters(), strict=True):
            if own.is_stop_grad():
                other.stop_grad()
    return twin
