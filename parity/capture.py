"""What is captured, whichever framework runs: outputs of modules, and inputs that no module has put out.

A tensor that a caller computes between two modules (a sum with position encodings, a softmax) is nobody's output. It
is captured where it enters the next module and charged to the caller, so that a fault in code between modules is
named where it sits.
"""

from __future__ import annotations

import sys
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import CodeType, FrameType
from typing import Any

ROOT = "(root)"


@dataclass(frozen=True)
class Captured:
    """A tensor on its way into a trace; the fields are those of ``parity.trace.Entry``."""

    name: str
    owner: str
    source: str
    tensor: Any
    caller: str
    inputs: str


Emit = Callable[[Captured], None]

# How many entries back a tensor that is passed on is looked for; containers return what their last module returned.
RECENT = 6


class Recent:
    """The tensors captured last, so that one that is only passed on need not be sent and measured again."""

    def __init__(self) -> None:
        self._entries: deque[tuple[object, int, str]] = deque(maxlen=RECENT)

    def find(self, tensor: object, version: int, name: str) -> str:
        """Return the name of the recent entry that is this tensor, unchanged since, or nothing; note this one.

        Args:
            tensor: the tensor, in its framework's type.
            version: a number that changes when the tensor is written to.
            name: the name of the new entry.
        """
        found = next((n for t, v, n in self._entries if t is tensor and v == version), "")
        self._entries.append((tensor, version, name))
        return found


class RecentArrays:
    """The arrays of the entries that ``Recent`` looks through, by name."""

    def __init__(self) -> None:
        self._arrays: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        return self._arrays[name]

    def add(self, name: str, array: Any) -> None:
        """Note the array of a new entry; the oldest is forgotten."""
        self._arrays[name] = array
        if len(self._arrays) > RECENT:
            del self._arrays[next(iter(self._arrays))]


class _Call:
    """A module that is running: its label, what it was fed, and the tensors already accounted for inside it."""

    def __init__(self, name: str, label: str, caller: str) -> None:
        self.name = name
        self.label = label
        self.caller = caller
        self.inputs = ""
        # The tensors themselves are kept, not just their ids, since an id is reused once its tensor is gone.
        self.known: dict[int, tuple[Any, str]] = {}


class Recorder:
    """Names the tensors of a forward pass and hands them on.

    Args:
        names: module name by ``id`` of the module.
        weights: name by ``id`` of each parameter and buffer.
        codes: the code object of each module's forward function, by name, and the file it is shown as.
        is_tensor: tells a tensor of the framework.
        emit: receives every tensor once.
    """

    def __init__(
        self,
        names: Mapping[int, str],
        weights: Mapping[int, str],
        codes: Mapping[str, tuple[CodeType, str]],
        is_tensor: Callable[[object], bool],
        emit: Emit,
    ) -> None:
        self._names = names
        self._weights = weights
        self._codes = codes
        self._is_tensor = is_tensor
        self._emit = emit
        self._calls: Counter[str] = Counter()
        self._stack: list[_Call] = []

    def enter(self, module: object, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Note that a module starts; inputs that its caller computed are emitted."""
        name = self._names.get(id(module))
        if name is None:
            return
        count = self._calls[name]
        self._calls[name] += 1
        caller = self._stack[-1] if self._stack else None
        call = _Call(name, f"{name}#{count}" if count else name, caller.name if caller else "")
        inputs = []
        for path, tensor in self._tensors({**{str(i): a for i, a in enumerate(args)}, **kwargs}):
            call.known[id(tensor)] = tensor, f"argument {path}"
            if caller is not None:
                if id(tensor) not in caller.known:
                    self._emit_computed(caller, f"{call.label}({path})", tensor)
                inputs.append(f"{path} = {caller.known[id(tensor)][1]}")
        call.inputs = ", ".join(inputs)
        self._stack.append(call)

    def _emit_computed(self, caller: _Call, label: str, tensor: Any) -> None:
        owner, source = caller.name, self._line_in(caller.name)
        weight = self._weights.get(id(tensor))
        if weight is not None:
            # A module that only holds a weight (object queries) never runs; the weight speaks for it.
            label, owner = weight, weight.rpartition(".")[0]
        caller.known[id(tensor)] = tensor, label
        self._emit(Captured(f"forward/{label}", owner, source, tensor, caller.caller, caller.inputs))

    def leave(self, module: object, output: object) -> None:
        """Note that a module has returned; its outputs are emitted."""
        if id(module) not in self._names:
            return
        call = self._stack.pop()
        source = self._definition(call.name)
        for path, tensor in self._tensors(output):
            label = f"{call.label}[{path}]" if path else call.label
            self._emit(Captured(f"forward/{label}", call.name, source, tensor, call.caller, call.inputs))
            if self._stack:
                self._stack[-1].known[id(tensor)] = tensor, label

    def _tensors(self, value: object, path: str = "") -> Iterator[tuple[str, Any]]:
        if self._is_tensor(value):
            yield path, value
            return
        if isinstance(value, Mapping):
            parts: Mapping[Any, object] = value
        elif isinstance(value, (list, tuple)):
            parts = dict(enumerate(value))
        elif hasattr(value, "tensors") and hasattr(value, "mask"):
            parts = {"tensors": value.tensors, "mask": value.mask}
        else:
            return
        for key, part in parts.items():
            yield from self._tensors(part, f"{path}.{key}" if path else str(key))

    def _definition(self, name: str) -> str:
        code, file = self._codes[name]
        return f"{file}:{code.co_firstlineno}"

    def _line_in(self, name: str) -> str:
        """Return the line that is running in a module's own code, which may be in a method its forward calls."""
        code, file = self._codes[name]
        frame: FrameType | None = sys._getframe(1)
        while frame is not None and frame.f_code is not code:
            frame = frame.f_back
        return f"{file}:{frame.f_lineno}" if frame is not None else self._definition(name)
