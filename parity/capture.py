"""What is captured, whichever framework runs: outputs of modules, and inputs that no module has put out.

A tensor that a caller computes between two modules (a sum with position encodings, a softmax) is nobody's output. It
is captured where it enters the next module and charged to the caller, so that a fault in code between modules is
named where it sits.
"""

from __future__ import annotations

import sys
from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import CodeType, FrameType
from typing import Any, Protocol

ROOT = "(root)"


@dataclass(frozen=True)
class Captured:
    """A tensor on its way into a trace; ``key`` tells its values apart, the others are as in ``parity.trace.Entry``."""

    name: str
    owner: str
    source: str
    tensor: Any
    caller: str
    inputs: str
    key: Hashable


Emit = Callable[[Captured], None]


class Tensors(Protocol):
    """What a framework's tensors are to the recorder."""

    def is_one(self, value: object) -> bool:
        """Whether a value is a tensor."""

    def key(self, tensor: Any) -> Hashable:
        """Return what changes when the tensor is another one, or is written to in place."""

    def hold(self, tensor: Any) -> Any:
        """Return the tensor such that later writes in place do not reach it, or itself if it is read at once."""

    def alias(self, tensor: Any) -> Any:
        """Return another tensor of the same values, through which the gradient flows on; itself if it has none."""


# How many entries back a tensor that is passed on is looked for; containers return what their last module returned.
RECENT = 6
# How many bytes of arrays in all are kept for it where arrays are large.
RECENT_BYTES = 2**28


class Recent:
    """The tensors captured last, so that one that is only passed on need not be sent and measured again."""

    def __init__(self) -> None:
        self._entries: deque[Captured] = deque(maxlen=RECENT)

    def find(self, captured: Captured) -> str:
        """Return the name of the recent entry that is this tensor, unchanged since, or nothing; note this one."""
        found = next((entry.name for entry in self._entries if entry.key == captured.key), "")
        self._entries.append(captured)
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


class Window:
    """The part of a pass that is held in memory at a time, where nothing can be read before the pass is over.

    Args:
        budget: bytes to hold; one tensor may always be held, however large.
    """

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._first = self._count = 0
        self._bytes = 0
        self._full = False

    def holds(self, size: int) -> bool:
        """Whether the next tensor of the pass, of ``size`` bytes, lies in the window."""
        self._count += 1
        if self._full or self._count <= self._first:
            return False
        self._full = self._bytes > 0 and self._bytes + size > self._budget
        if self._full:
            self._next = self._count - 1
        else:
            self._bytes += size
        return not self._full

    def advance(self) -> bool:
        """Move on to what was not held, for another pass; return whether there is any."""
        more = self._full
        if more:
            self._first, self._count, self._bytes, self._full = self._next, 0, 0, False
        return more


def portions(events: Iterable[Captured], sizes: Mapping[Hashable, int], budget: int) -> Iterator[list[Captured]]:
    """Yield captured tensors in portions of no more than a budget, or of a single tensor.

    Args:
        events: what was captured.
        sizes: bytes by key; one that comes again in a portion counts once.
        budget: bytes of a portion.
    """
    part: list[Captured] = []
    keys: set[Hashable] = set()
    held = 0
    for event in events:
        size = 0 if event.key in keys else sizes[event.key]
        if part and held + size > budget:
            yield part
            part, keys, held, size = [], set(), 0, sizes[event.key]
        part.append(event)
        keys.add(event.key)
        held += size
    if part:
        yield part


class _Call:
    """A module that is running: its label, what it was fed, and the tensors already accounted for inside it."""

    def __init__(self, name: str, label: str, caller: str) -> None:
        self.name = name
        self.label = label
        self.caller = caller
        self.inputs = ""
        # The tensors themselves are kept, not just their keys, since a key is reused once its tensor is gone.
        self.known: dict[Hashable, tuple[Any, str]] = {}


class Recorder:
    """Names the tensors of a forward pass and hands them on.

    Args:
        modules: modules by name; one that has several names goes by the first.
        weights: parameters by name.
        code_of: returns the code object of a module's forward function, and the file it is shown as.
        tensors: tells the recorder what a tensor is.
        emit: receives every tensor.
        split: hand each module aliases of its inputs and emit them, ``input/MODULE(ARGUMENT)``: the gradient of an
            alias is what flows back through this module alone.
    """

    def __init__(
        self,
        modules: Iterable[tuple[str, object]],
        weights: Iterable[tuple[str, object]],
        code_of: Callable[[Any], tuple[CodeType, str]],
        tensors: Tensors,
        emit: Emit,
        split: bool = False,
    ) -> None:
        self._names: dict[int, str] = {}
        self._codes = {}
        for name, module in modules:
            self._names.setdefault(id(module), name)
            self._codes[name] = code_of(module)
        self._weights = {tensors.key(weight): name for name, weight in weights}
        self._tensor = tensors
        self._emit = emit
        self._split = split
        self._calls: Counter[str] = Counter()
        self._stack: list[_Call] = []

    def enter(self, module: object, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        """Note that a module starts; inputs that its caller computed are emitted.

        Returns:
            The arguments and keyword arguments to call it with.
        """
        name = self._names.get(id(module))
        if name is None:
            return args, kwargs
        count = self._calls[name]
        self._calls[name] += 1
        caller = self._stack[-1] if self._stack else None
        call = _Call(name, f"{name}#{count}" if count else name, caller.name if caller else "")
        inputs = []
        if caller is not None:
            for path, tensor in self._tensors({**{str(i): a for i, a in enumerate(args)}, **kwargs}):
                key = self._tensor.key(tensor)
                if key not in caller.known:
                    self._emit_computed(caller, f"{call.label}({path})", tensor)
                inputs.append(f"{path} = {caller.known[key][1]}")
        call.inputs = ", ".join(inputs)
        if self._split:
            args = tuple(self._alias(call, str(i), arg) for i, arg in enumerate(args))
            kwargs = {path: self._alias(call, path, arg) for path, arg in kwargs.items()}
        for path, tensor in self._tensors({**{str(i): a for i, a in enumerate(args)}, **kwargs}):
            call.known[self._tensor.key(tensor)] = self._tensor.hold(tensor), f"argument {path}"
        self._stack.append(call)
        return args, kwargs

    def _alias(self, call: _Call, path: str, value: Any) -> Any:
        if isinstance(value, (list, tuple)) and value and all(map(self._tensor.is_one, value)):
            return type(value)(self._alias(call, f"{path}.{i}", one) for i, one in enumerate(value))
        if not self._tensor.is_one(value):
            return value
        alias = self._tensor.alias(value)
        key, held = self._tensor.key(alias), self._tensor.hold(alias)
        name, source = f"input/{call.label}({path})", self._source(call.name)
        self._emit(Captured(name, call.name, source, held, call.caller, call.inputs, key))
        return alias

    def _emit_computed(self, caller: _Call, label: str, tensor: Any) -> None:
        owner, source = caller.name, self._line_in(caller.name)
        key, held = self._tensor.key(tensor), self._tensor.hold(tensor)
        weight = self._weights.get(key)
        if weight is not None:
            # A module that only holds a weight (object queries) never runs; the weight speaks for it.
            label, owner = weight, weight.rpartition(".")[0]
        caller.known[key] = held, label
        self._emit(Captured(f"forward/{label}", owner, source, held, caller.caller, caller.inputs, key))

    def leave(self, module: object, output: object) -> None:
        """Note that a module has returned; its outputs are emitted."""
        if id(module) not in self._names:
            return
        call = self._stack.pop()
        source = self._source(call.name)
        for path, tensor in self._tensors(output):
            label = f"{call.label}[{path}]" if path else call.label
            key, held = self._tensor.key(tensor), self._tensor.hold(tensor)
            self._emit(Captured(f"forward/{label}", call.name, source, held, call.caller, call.inputs, key))
            if self._stack:
                self._stack[-1].known[key] = held, label

    def _tensors(self, value: object, path: str = "") -> Iterator[tuple[str, Any]]:
        if self._tensor.is_one(value):
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

    def _source(self, name: str) -> str:
        """Return where a module's code begins and, of a framework's own, the line of the model that calls it."""
        definition = self._definition(name)
        if _is_frameworks(definition):
            for call in reversed(self._stack):
                if not _is_frameworks(self._definition(call.name)):
                    return f"{definition}, called in {self._line_in(call.name)}"
        return definition

    def _line_in(self, name: str) -> str:
        """Return the line that is running in a module's own code, which may be in a method its forward calls."""
        code, file = self._codes[name]
        frame: FrameType | None = sys._getframe(1)
        while frame is not None and frame.f_code is not code:
            frame = frame.f_back
        return f"{file}:{frame.f_lineno}" if frame is not None else self._definition(name)


def _is_frameworks(source: str) -> bool:
    return source.startswith(("torch/", "jittor/"))
