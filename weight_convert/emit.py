"""A pickle writer for trees: plain NumPy arrays, streamed straight from their memory, readable by pickle.load."""

from __future__ import annotations

import argparse
import hashlib
import struct
from collections import Counter, OrderedDict, deque
from concurrent.futures import Future, ThreadPoolExecutor
from pickle import encode_long
from typing import Any, BinaryIO

import numpy as np

from weight_convert import bfloat
from weight_convert.admitted import BFLOAT16
from weight_convert.note import Note
from weight_convert.tree import Array

# Numbers at such offsets can be used where they lie when the file is mapped.
_ALIGNMENT = 64
_PADDED_FROM = 4096
# From so many bytes on, a second thread that sums while the first writes is worth its call.
_BESIDE_FROM = 1 << 16
_MAX_LAG = 16
JITTOR_END = b"HCAJSLHD"  # jittor.save: pickle, its SHA-1, these eight bytes


class _Hashed:
    """Writes to a file and sums in a second thread, which may lag behind: waiting for it at each array costs more."""

    def __init__(self, file: BinaryIO, pool: ThreadPoolExecutor) -> None:
        self._file = file
        self._pool = pool  # of one thread, so that the order is kept
        self._at = 0
        self._few = bytearray()  # written, and not yet handed over
        self._lag: deque[Future[None]] = deque()
        self._sha1 = hashlib.sha1(usedforsecurity=False)

    def write(self, data: Any) -> None:
        self._at += len(data)
        if len(data) < _BESIDE_FROM:
            self._few += memoryview(data)
        else:
            self._hand_over()
            self._lag.append(self._pool.submit(self._sha1.update, data))
        self._file.write(data)
        while len(self._lag) > _MAX_LAG:  # what waits may be a copy, and memory is bounded
            self._lag.popleft().result()

    def digest(self) -> bytes:
        """The SHA-1 of all that was written."""
        self._hand_over()
        while self._lag:
            self._lag.popleft().result()
        return self._sha1.digest()

    def _hand_over(self) -> None:
        if self._few:
            self._lag.append(self._pool.submit(self._sha1.update, bytes(self._few)))
            self._few.clear()

    def pad(self, ahead: int) -> None:
        """Write opcodes without effect so that the byte after the next ``ahead`` ones has an aligned offset."""
        count = -(self._at + ahead) % _ALIGNMENT
        if count == 1:  # the shortest have two (None, POP) and three bytes (a number, POP)
            count += _ALIGNMENT
        self.write(b"K\x000" * (count % 2) + b"N0" * ((count - 3 * (count % 2)) // 2))


def save(tree: object, file: BinaryIO) -> None:
    """Write a tree as ``jittor.save`` does: pickle of protocol 4, SHA-1, mark. The tree comes from `tree.rebuild`.

    A `note` on its arrays stands between the pickle and its SHA-1, if there is anything to note.
    """
    with ThreadPoolExecutor(1) as pool:
        out = _Hashed(file, pool)
        _save(tree, out)
        file.write(out.digest())
    file.write(JITTOR_END)


def _save(tree: object, out: _Hashed) -> None:
    emitter = _Emitter(out)
    out.write(b"\x80\x04")
    emitter.node(tree)
    out.write(b".")
    noted = emitter.note.data()
    if noted:
        out.write(b"\x80\x04")
        _Emitter(out).node(noted)
        out.write(b".")


class _Emitter:
    def __init__(self, out: _Hashed) -> None:
        self._write = out.write
        self._pad = out.pad
        self._names: dict[str, int] = {}
        self._shared: dict[int, int] = {}
        self._count = 0
        self._arrays = 0
        self.note = Note()

    def _memoize(self) -> int:
        self._write(b"\x94")
        self._count += 1
        return self._count - 1

    def _get(self, index: int) -> None:
        self._write(b"h" + bytes([index]) if index < 256 else b"j" + struct.pack("<I", index))

    def _name(self, name: str) -> None:
        if name in self._names:
            return self._get(self._names[name])
        module, _, attribute = name.rpartition(".")
        self._write(f"c{module}\n{attribute}\n".encode())
        self._names[name] = self._memoize()
        return None

    def node(self, node: Any) -> None:
        if isinstance(node, np.generic):
            return self._number(node)
        if isinstance(node, (str, bytes, bool, int, float, complex, type(None))):
            return self._scalar(node)
        if id(node) in self._shared:
            return self._get(self._shared[id(node)])
        if isinstance(node, np.ndarray):
            self._array(node)
        else:
            self._container(node)
        self._shared[id(node)] = self._memoize()
        return None

    def _number(self, number: Any) -> None:
        self._name("numpy.core.multiarray.scalar")
        self._dtype(number.dtype)
        self._scalar(number.tobytes())
        self._write(b"\x86R")

    def _scalar(self, node: Any) -> None:
        if node is None:
            self._write(b"N")
        elif isinstance(node, bool):
            self._write(b"\x88" if node else b"\x89")
        elif isinstance(node, int):
            data = encode_long(int(node))
            self._write(
                (b"\x8a" + bytes([len(data)]) if len(data) < 256 else b"\x8b" + struct.pack("<i", len(data))) + data
            )
        elif isinstance(node, float):
            self._write(b"G" + struct.pack(">d", node))
        elif isinstance(node, complex):
            self._name("builtins.complex")
            self._write(b"G" + struct.pack(">d", node.real) + b"G" + struct.pack(">d", node.imag) + b"\x86R")
        elif isinstance(node, str):
            data = node.encode("utf-8", "surrogatepass")
            self._write(b"X" + struct.pack("<I", len(data)) + data)
        else:
            self._write(
                (b"C" + bytes([len(node)]) if len(node) < 256 else b"\x8e" + struct.pack("<Q", len(node))) + node
            )

    def _container(self, node: Any) -> None:
        if isinstance(node, (OrderedDict, Counter)):
            self._name(f"collections.{'Counter' if isinstance(node, Counter) else 'OrderedDict'}")
            self._write(b")R")
            self._items_of(node)
            if isinstance(node, OrderedDict) and vars(node):
                self._mapping(vars(node))
                self._write(b"b")
        elif isinstance(node, dict):
            self._mapping(node)
        elif isinstance(node, argparse.Namespace):
            self._name("argparse.Namespace")
            self._write(b")\x81")
            self._mapping(vars(node))
            self._write(b"b")
        elif isinstance(node, list):
            self._write(b"](")
            self._items(node)
            self._write(b"e")
        elif isinstance(node, set):
            self._write(b"\x8f(")
            self._items(node)
            self._write(b"\x90")
        else:
            self._write(b"(")
            self._items(node)
            self._write(b"\x91" if isinstance(node, frozenset) else b"t")

    def _items(self, node: Any) -> None:
        for child in node:
            self.node(child)

    def _mapping(self, node: dict[Any, Any]) -> None:
        self._write(b"}")
        self._items_of(node)

    def _items_of(self, node: dict[Any, Any]) -> None:
        self._write(b"(")
        for key, value in node.items():
            self.node(key)
            self.node(value)
        self._write(b"u")

    def _array(self, array: Array) -> None:
        """What NumPy's own pickling writes, without its copy of the numbers."""
        self.note.take(array, self._arrays)
        self._arrays += 1
        if array.dtype == BFLOAT16:
            array = bfloat.widen(array)
        self._name("numpy.core.multiarray._reconstruct")
        self._name("numpy.ndarray")
        self._write(b"K\x00\x85C\x01b\x87R(K\x01(")
        for size in array.shape:
            self._scalar(size)
        self._write(b"t")
        self._dtype(array.dtype)
        data = np.asarray(array, dtype=array.dtype.newbyteorder("="), order="C")
        if data.nbytes >= _PADDED_FROM:
            self._pad(10)  # False, BINBYTES8 and its length
        self._write(b"\x89\x8e" + struct.pack("<Q", data.nbytes))
        if data.nbytes:
            self._write(data.reshape(-1).view(np.uint8))
        self._write(b"tb")

    def _dtype(self, dtype: np.dtype[Any]) -> None:
        self._name("numpy.dtype")
        self._scalar(dtype.str[1:])
        self._write(b"\x89\x88\x87R(K\x03")
        self._scalar("|" if dtype.itemsize == 1 else "<")
        self._write(b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb")
