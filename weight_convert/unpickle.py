"""A pickle reader that can only build data.

Python's own Unpickler calls whatever a file names. This one interprets the opcodes itself: a name in the file is looked
up in a table of builders, never imported, and nothing else can be called. It builds containers, numbers, strings,
``argparse.Namespace`` and NumPy arrays.
"""

from __future__ import annotations

import argparse
import struct
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from weight_convert.budget import Budget
from weight_convert.errors import CheckpointError, printable
from weight_convert.tree import check_key

Builder = Callable[..., Any]
MAX_INTEGER_BYTES = 1024
_MARK = object()
# What damaged bytes provoke in the interpreter below.
FAULTS = (
    struct.error, IndexError, KeyError, ValueError, TypeError, AttributeError, OverflowError, MemoryError,
    RecursionError,
)  # fmt: skip


class Source(Protocol):
    """Where the bytes come from."""

    def read(self, size: int) -> bytes:
        """Exactly ``size`` bytes, or CheckpointError."""

    def line(self) -> bytes:
        """Bytes up to a newline, which is taken but not returned."""

    def bulk(self, size: int) -> Any:
        """Exactly ``size`` bytes as a buffer that arrays may be made of without copying."""

    def tell(self) -> int:
        """How many bytes were taken."""


class Global:
    """A name in a pickle; never the thing itself."""

    __slots__ = ("build", "module", "name")

    def __init__(self, module: str, name: str, build: Builder) -> None:
        self.module, self.name, self.build = module, name, build

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


class Buildable(Protocol):
    """An object that a later opcode completes."""

    def setstate(self, state: Any) -> None:
        """Take the state that the pickle holds for it."""


def load(
    source: Source,
    table: Mapping[tuple[str, str], Builder],
    persistent: Callable[[Any], Any] | None = None,
) -> Any:
    """Interpret one pickle.

    Args:
        source: the bytes; left behind the STOP opcode.
        table: builders by module and name; one is called with the arguments in the file.
        persistent: turns a persistent id into an object; without it persistent ids are refused.

    Returns:
        Containers with scalars, placeholders that the builders made and Globals as leaves.

    Raises:
        CheckpointError: the pickle is damaged or asks for anything that ``table`` does not hold.
    """
    try:
        return _Machine(source, table, persistent).run()
    except CheckpointError:
        raise
    except FAULTS as fault:
        raise CheckpointError(f"damaged pickle ({type(fault).__name__}: {fault})") from fault


class _Machine:
    def __init__(
        self,
        source: Source,
        table: Mapping[tuple[str, str], Builder],
        persistent: Callable[[Any], Any] | None,
    ) -> None:
        self.source = source
        self.table = table
        self.persistent = persistent
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.budget = Budget(source.tell)

    def run(self) -> Any:
        while True:
            code = self.source.read(1)
            if code == b".":
                return self.pop()
            step = _STEPS.get(code)
            if step is None:
                raise CheckpointError(f"pickle opcode {code!r} is not one that checkpoints use")
            step(self)

    def pop(self) -> Any:
        value = self.stack.pop()
        if value is _MARK:
            raise CheckpointError("damaged pickle (a mark where a value belongs)")
        return value

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def to_mark(self) -> list[Any]:
        for index in range(len(self.stack) - 1, -1, -1):
            if self.stack[index] is _MARK:
                items = self.stack[index + 1 :]
                del self.stack[index:]
                return items
        raise CheckpointError("damaged pickle (no mark)")

    def top(self, kind: type) -> Any:
        value = self.stack[-1]
        if not isinstance(value, kind):
            raise CheckpointError(f"damaged pickle (a {kind.__name__} expected)")
        return value

    def number(self, form: str) -> Any:
        return struct.unpack(form, self.source.read(struct.calcsize(form)))[0]

    def remember(self, index: int) -> None:
        if self.stack[-1] is _MARK:
            raise CheckpointError("damaged pickle (a mark where a value belongs)")
        self.memo[index] = self.stack[-1]

    def named(self, module: str, name: str) -> None:
        build = self.table.get((module, name))
        if build is None:
            raise CheckpointError(
                f"asks for {printable(f'{module}.{name}', 100)}, which reading does not admit: only arrays, "
                "containers, numbers, strings and argparse.Namespace are. Save again without it"
            )
        self.push(Global(module, name, build))

    def stack_global(self) -> None:
        name, module = self.pop(), self.pop()
        if type(name) is not str or type(module) is not str:
            raise CheckpointError("damaged pickle (a name that is not a string)")
        self.named(module, name)

    def reduce(self) -> None:
        arguments, callee = self.pop(), self.pop()
        if not isinstance(callee, Global) or type(arguments) is not tuple:
            raise CheckpointError("damaged pickle (a call of something that cannot be called)")
        self.budget.call(arguments)
        self.push(callee.build(*arguments))

    def build(self) -> None:
        state, target = self.pop(), self.stack[-1]
        self.budget.call(state)
        if isinstance(target, argparse.Namespace):
            if not isinstance(state, dict) or not all(type(key) is str for key in state):
                raise CheckpointError("damaged pickle (the state of a Namespace)")
            vars(target).update(state)
        elif hasattr(type(target), "setstate"):
            target.setstate(state)
        elif isinstance(target, OrderedDict):
            # Never one of its methods' names: whoever calls the method would get the file's value.
            if not isinstance(state, dict) or not all(type(k) is str and not hasattr(target, k) for k in state):
                raise CheckpointError("damaged pickle (the attributes of an OrderedDict)")
            vars(target).update(state)
        else:
            raise CheckpointError(f"gives a state to a {type(target).__name__}, which reading does not admit")

    def long(self, size: int) -> None:
        if not 0 <= size <= MAX_INTEGER_BYTES:
            raise CheckpointError(f"an integer of {size} bytes")
        self.push(int.from_bytes(self.source.read(size), "little", signed=True))

    def text(self, size: int) -> None:
        self.push(self.source.read(size).decode("utf-8", "surrogatepass"))

    def old_text(self, size: int) -> None:
        self.push(self.source.read(size).decode("latin-1"))

    def items(self, pairs: list[Any]) -> None:
        target = self.top(dict)
        if len(pairs) % 2:
            raise CheckpointError("damaged pickle (a key without a value)")
        self.budget.keys(pairs[::2])
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            check_key(key, "a dictionary")
            target[key] = value

    def persistent_id(self) -> None:
        if self.persistent is None:
            raise CheckpointError("refers to data outside the file (a PyTorch pickle without its storages?)")
        self.push(self.persistent(self.pop()))

    def protocol(self) -> None:
        number = self.number("<B")
        if number > 5:
            raise CheckpointError(f"pickle protocol {number}, newer than 5")


def _make_steps() -> dict[bytes, Callable[[_Machine], None]]:
    m = _Machine
    return {
        b"\x80": m.protocol,
        b"\x95": lambda s: s.number("<Q"),
        b"(": lambda s: s.push(_MARK),
        b"0": lambda s: s.stack.pop() and None,
        b"1": lambda s: s.to_mark() and None,
        b"2": lambda s: s.push(s.top(object)),
        b"N": lambda s: s.push(None),
        b"\x88": lambda s: s.push(True),
        b"\x89": lambda s: s.push(False),
        b"J": lambda s: s.push(s.number("<i")),
        b"K": lambda s: s.push(s.number("<B")),
        b"M": lambda s: s.push(s.number("<H")),
        b"\x8a": lambda s: s.long(s.number("<B")),
        b"\x8b": lambda s: s.long(s.number("<i")),
        b"G": lambda s: s.push(s.number(">d")),
        b"T": lambda s: s.old_text(s.number("<i")),
        b"U": lambda s: s.old_text(s.number("<B")),
        b"X": lambda s: s.text(s.number("<I")),
        b"\x8c": lambda s: s.text(s.number("<B")),
        b"\x8d": lambda s: s.text(s.number("<Q")),
        b"B": lambda s: s.push(s.source.bulk(s.number("<I"))),
        b"C": lambda s: s.push(s.source.read(s.number("<B"))),
        b"\x8e": lambda s: s.push(s.source.bulk(s.number("<Q"))),
        b"\x96": lambda s: s.push(s.source.bulk(s.number("<Q"))),
        b"]": lambda s: s.push([]),
        b"a": lambda s: _append(s, [s.pop()]),
        b"e": lambda s: _append(s, s.to_mark()),
        b"l": lambda s: s.push(s.to_mark()),
        b")": lambda s: s.push(()),
        b"t": lambda s: s.push(tuple(s.to_mark())),
        b"\x85": lambda s: s.push((s.pop(),)),
        b"\x86": lambda s: s.push((s.pop(), s.pop())[::-1]),
        b"\x87": lambda s: s.push((s.pop(), s.pop(), s.pop())[::-1]),
        b"}": lambda s: s.push({}),
        b"s": lambda s: s.items([s.pop(), s.pop()][::-1]),
        b"u": lambda s: s.items(s.to_mark()),
        b"\x8f": lambda s: s.push(set()),
        b"\x90": lambda s: _update(s, s.to_mark()),
        b"\x91": _frozenset,
        b"h": lambda s: s.push(s.memo[s.number("<B")]),
        b"j": lambda s: s.push(s.memo[s.number("<I")]),
        b"q": lambda s: s.remember(s.number("<B")),
        b"r": lambda s: s.remember(s.number("<I")),
        b"\x94": lambda s: s.remember(len(s.memo)),
        b"c": lambda s: s.named(s.source.line().decode(), s.source.line().decode()),
        b"\x93": m.stack_global,
        b"R": m.reduce,
        b"\x81": m.reduce,
        b"b": m.build,
        b"Q": m.persistent_id,
    }


def members(values: Any) -> Any:
    """The values, if all of them may be members of a set.

    Raises:
        CheckpointError: one is not a string, a number or a flat tuple.
    """
    for value in values:
        check_key(value, "a set")
    return values


def _append(machine: _Machine, values: list[Any]) -> None:
    machine.top(list).extend(values)


def _update(machine: _Machine, values: list[Any]) -> None:
    machine.budget.keys(values)
    machine.top(set).update(members(values))


def _frozenset(machine: _Machine) -> None:
    values = machine.to_mark()
    machine.budget.keys(values)
    machine.push(frozenset(members(values)))


_STEPS = _make_steps()
