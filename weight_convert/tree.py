"""Trees of containers with leaves: the one shape that every checkpoint format is read into and written from."""

from __future__ import annotations

import argparse
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from weight_convert.errors import CheckpointError

Array = npt.NDArray[Any]

MAX_DEPTH = 200
# Entries, each counted as often as it is reached: a file of a kilobyte may refer to one list a billion times.
MAX_ENTRIES = 20_000_000
MAX_KEY_PARTS = 16
_MAX_PLACE = 400
SCALARS = (str, bytes, bool, int, float, complex, type(None))


class NumpyArray(np.ndarray):  # type: ignore[type-arg]
    """An array that is NumPy's in a ``.pth`` too, and no tensor: the keys of ``numpy.random.get_state()``.

    Any other array is a tensor there. `keep_numpy` makes one.
    """


def keep_numpy(array: Array) -> NumpyArray:
    """View an array as one that shall stay NumPy's."""
    return array.view(NumpyArray)


def numpy_values(tree: object) -> int:
    """Count the values that are NumPy's in a ``.pth`` too: marked arrays, and numbers such as ``numpy.float64``."""
    count = 0

    def leaf(value: Any, place: str) -> None:
        nonlocal count
        count += isinstance(value, (NumpyArray, np.generic))

    rebuild(tree, leaf)
    return count


def rebuild(tree: object, leaf: Callable[[Any, str], object]) -> Any:
    """Copy a tree, every leaf through a function; containers that are shared stay shared.

    Args:
        tree: dict, OrderedDict and its attributes (PyTorch's ``_metadata``), Counter, list, tuple, set, frozenset and
            ``argparse.Namespace``, nested. Other subclasses of these become what they are subclasses of.
        leaf: called with everything else, NumPy's numbers among it, and with its place in the tree, such as
            ``model/conv1.weight``.

    Raises:
        CheckpointError: the tree is deeper than MAX_DEPTH, larger than MAX_ENTRIES, or contains itself; or ``leaf``
            refuses a leaf.
    """
    return _Rebuilder(leaf).node(tree, "", 0)[0]


class _Rebuilder:
    def __init__(self, leaf: Callable[[Any, str], object]) -> None:
        self._leaf = leaf
        self._done: dict[int, tuple[Any, int]] = {}
        self._open: set[int] = set()
        self._keep: list[object] = []  # so that an id is not given out twice

    def node(self, node: Any, place: str, depth: int) -> tuple[Any, int]:
        if isinstance(node, SCALARS) and not isinstance(node, np.generic):
            return node, 1
        if id(node) in self._done:
            return self._done[id(node)]
        if id(node) in self._open:
            raise CheckpointError(f"{place or 'the top'} contains itself, which no checkpoint does")
        if depth > MAX_DEPTH:
            raise CheckpointError(f"nested more than {MAX_DEPTH} deep, which no checkpoint is")
        self._open.add(id(node))
        result = self._container(node, place, depth + 1)
        self._open.discard(id(node))
        if result[1] > MAX_ENTRIES:
            raise CheckpointError(f"unfolds to more than {MAX_ENTRIES} entries, which no checkpoint has")
        self._keep.append(node)
        self._done[id(node)] = result
        return result

    def _container(self, node: Any, place: str, depth: int) -> tuple[Any, int]:
        if isinstance(node, OrderedDict):
            values, size = self._mapping(node, place, depth)
            attributes, more = self._mapping(vars(node), join(place, "attributes"), depth)
            ordered = OrderedDict(values)
            vars(ordered).update(attributes)
            return ordered, size + more
        if isinstance(node, dict):
            values, size = self._mapping(node, place, depth)
            return (Counter(values) if isinstance(node, Counter) else values), size
        if isinstance(node, argparse.Namespace):
            values, size = self._mapping(vars(node), place, depth)
            space = argparse.Namespace()
            vars(space).update(values)
            return space, size
        for kind in (list, tuple, frozenset, set):
            if isinstance(node, kind):
                parts = [self.node(child, join(place, index), depth) for index, child in enumerate(node)]
                return kind(value for value, _ in parts), 1 + sum(size for _, size in parts)
        return self._leaf(node, place), 1

    def _mapping(self, node: Mapping[Any, Any], place: str, depth: int) -> tuple[dict[Any, Any], int]:
        values = {}
        total = 1
        for key, child in node.items():
            check_key(key, place)
            values[key], size = self.node(child, join(place, key), depth)
            total += size
        return values, total


def check_key(key: object, place: str) -> None:
    """Refuse a dictionary key that is not a string, bytes, a number, None or a short tuple of those.

    Tuples of tuples are refused: hashing one that refers to another twice, sixty times over, would never end. So would
    hashing a long one that is the key of many dictionaries.
    """
    parts = key if type(key) is tuple else (key,)
    if len(parts) > MAX_KEY_PARTS:
        raise CheckpointError(
            f"{place or 'the top'} has a tuple of {len(parts)} values as a key; use strings or numbers"
        )
    if not all(isinstance(part, SCALARS) and not isinstance(part, np.generic) for part in parts):
        raise CheckpointError(f"{place or 'the top'} has a key of type {type(key).__name__}; use strings or numbers")


def join(place: str, key: object) -> str:
    """The place of a child, such as ``optimizer/state/0``.

    Of a very long one the end: keys may be of any length, and every value in a tree has a place.
    """
    text = key[:_MAX_PLACE] if isinstance(key, (str, bytes)) else key
    if isinstance(key, tuple):
        text = tuple(part[:_MAX_PLACE] if isinstance(part, (str, bytes)) else part for part in key)
    joined = f"{place}/{text!s}" if place else str(text)
    return joined if len(joined) <= _MAX_PLACE else f"...{joined[3 - _MAX_PLACE :]}"


def arrays(tree: object, place: str = "") -> Iterator[tuple[str, Array]]:
    """Every array of a tree with its place, in order."""
    if isinstance(tree, np.ndarray):
        yield place, tree
    elif isinstance(tree, dict):
        for key, child in tree.items():
            yield from arrays(child, join(place, key))
    elif isinstance(tree, argparse.Namespace):
        yield from arrays(vars(tree), place)
    elif isinstance(tree, (list, tuple)):
        for index, child in enumerate(tree):
            yield from arrays(child, join(place, index))
