"""Arrays in a file: what is appended is read again, past the cache and through it, by this process and by another."""

import errno
import io
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detr_common.errors import InputError
from parity import store, worker
from parity.store import Place, Store, like, place_of, stored
from parity.trace import Entry
from parity.wire import receive

Array = np.ndarray[Any, Any]


@contextmanager
def opened(path: Path, cached: bool) -> Iterator[Store]:
    """The store of a new file, by its descriptor where it is to be cached."""
    with path.open("w+b", buffering=0) as file, Store(file.fileno() if cached else named(path)) as one:
        yield one


def named(path: Path) -> Place:
    about = path.stat()
    return Place(str(path), about.st_dev, about.st_ino)


def arrays() -> list[Array]:
    rng = np.random.default_rng(0)
    return [
        rng.standard_normal((3, 5)),
        np.zeros((0, 4), np.float32),
        np.array(2.5),
        rng.integers(0, 9, 7).astype(np.uint8),
        rng.standard_normal((1000, 1100)).astype(np.float32).T,  # more than half of what is held back, and turned
        rng.standard_normal(store._BUFFER // 8 + 3),  # more than all of it
        np.array([True, False, True]),
    ]


@pytest.mark.parametrize("cached", [False, True])
def test_arrays_are_read_as_they_were_appended(cached: bool, tmp_path: Path) -> None:
    given = arrays()
    with opened(tmp_path / "store", cached) as one:
        offsets = [one.append(array) for array in given]
        one.finish()
        for array, offset in list(zip(given, offsets, strict=True))[::-1]:
            found = one.read(offset, array.dtype, array.shape)
            np.testing.assert_array_equal(found, array, strict=True)
            assert found.flags.aligned


def test_what_one_store_writes_another_reads(tmp_path: Path) -> None:
    given = arrays()
    with (tmp_path / "store").open("w+b", buffering=0) as file, Store(named(tmp_path / "store")) as writer:
        offsets = [writer.append(array) for array in given]
        writer.finish()
        places = [named(tmp_path / "store"), *([place_of(file)] if sys.platform == "linux" else [])]
        for place in places:
            with Store(place) as reader:
                for array, offset in zip(given, offsets, strict=True):
                    np.testing.assert_array_equal(reader.read(offset, array.dtype, array.shape), array, strict=True)


@given(st.lists(st.integers(0, 3000), min_size=1, max_size=30))  # up to 22 buffers
def test_arrays_do_not_overlap_whatever_their_sizes(sizes: list[int]) -> None:
    given = [np.full(size, number, np.uint8) for number, size in enumerate(sizes)]
    buffer, store._BUFFER = store._BUFFER, 4096
    try:
        with tempfile.TemporaryDirectory() as folder, opened(Path(folder) / "store", cached=True) as one:
            offsets = [one.append(array) for array in given]
            one.finish()
            for array, offset in zip(given, offsets, strict=True):
                np.testing.assert_array_equal(one.read(offset, array.dtype, array.shape), array, strict=True)
    finally:
        store._BUFFER = buffer


def refusing(call: Callable[..., Any], number: int, when: Callable[..., bool]) -> Callable[..., Any]:
    """The call of the system, which refuses where ``when`` says so."""

    def instead(*args: Any, **kwargs: Any) -> Any:
        if when(*args):
            raise OSError(number, os.strerror(number))
        return call(*args, **kwargs)

    return instead


@pytest.mark.skipif(not hasattr(os, "O_DIRECT"), reason="the system has no way past its cache")
@pytest.mark.parametrize("where", ["open", "pwrite", "preadv"])
def test_a_file_system_that_cannot_do_without_its_cache(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    refused = []

    def direct(first: Any, *args: Any) -> bool:
        flags = args[0] if where == "open" else fcntl.fcntl(first, fcntl.F_GETFL)
        refused.append(bool(flags & os.O_DIRECT))
        return refused[-1]

    monkeypatch.setattr(os, where, refusing(getattr(os, where), errno.EINVAL, direct))
    given = arrays()
    with opened(tmp_path / "store", cached=False) as one:
        offsets = [one.append(array) for array in given]
        one.finish()
        for array, offset in zip(given, offsets, strict=True):
            np.testing.assert_array_equal(one.read(offset, array.dtype, array.shape), array, strict=True)
    assert refused[0] and not refused[-1]


def test_a_full_disk_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "pwrite", refusing(os.pwrite, errno.ENOSPC, lambda *_: True))
    with (
        opened(tmp_path / "store", cached=False) as one,
        pytest.raises(InputError, match=r"no room for more .*; set TMPDIR to a folder with more room"),
    ):
        one.append(np.ones(4))
        one.finish()


def test_buffers_are_not_filled_again_before_they_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.pwrite

    def slowly(*args: Any) -> int:
        time.sleep(0.002)
        return write(*args)

    monkeypatch.setattr(store, "_BUFFER", 4096)
    monkeypatch.setattr(os, "pwrite", slowly)
    given = [np.full(1000, number % 251, np.uint8) for number in range(300)]
    with opened(tmp_path / "store", cached=True) as one:
        offsets = [one.append(array) for array in given]
        one.finish()
        for array, offset in zip(given, offsets, strict=True):
            np.testing.assert_array_equal(one.read(offset, array.dtype, array.shape), array, strict=True)


@pytest.mark.parametrize("fails", [0, 1, 7])
def test_after_a_block_that_was_lost_nothing_is_taken_for_whole(
    fails: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = count()
    monkeypatch.setattr(store, "_BUFFER", 4096)
    monkeypatch.setattr(os, "pwrite", refusing(os.pwrite, errno.ENOSPC, lambda *_: next(calls) == fails))
    told = 0
    with opened(tmp_path / "store", cached=True) as one:
        for number in range(40):
            try:
                one.append(np.full(1000, number, np.uint8))
            except InputError:  # as a model that guards what it calls
                told += 1
        with pytest.raises(InputError, match="no room for more"):
            one.finish()
    assert bool(told) == (fails < 5), "of the last blocks only the end tells"


def test_what_was_not_written_is_not_made_up(tmp_path: Path) -> None:
    with opened(tmp_path / "store", cached=False) as one:
        one.append(np.ones(4))
        one.finish()
        with pytest.raises(OSError, match="ends before byte 80000"):
            one.read(0, np.float64, (10000,))


def test_a_file_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Store(Place(str(tmp_path / "none"), 0, 0))
    assert not list(tmp_path.iterdir())


def test_what_stands_for_an_array_looks_like_it() -> None:
    one = stored({"at": 64, "dtype": "float32", "shape": [1000, 10**6]})
    assert (one.offset, one.dtype, one.shape) == (64, np.float32, (1000, 10**6))
    assert like("bool", ()).shape == ()


def test_another_file_of_that_name_is_not_written_to(tmp_path: Path) -> None:
    (tmp_path / "other").write_bytes(b"kept")
    with (tmp_path / "store").open("w+b", buffering=0) as file, pytest.raises(OSError, match="is another file"):
        Store(place_of(file)._replace(name=str(tmp_path / "other")))
    assert (tmp_path / "other").read_bytes() == b"kept"


def test_a_system_without_vectored_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "preadv")
    with opened(tmp_path / "store", cached=True) as one:
        offset = one.append(arrays()[5])
        one.finish()
        np.testing.assert_array_equal(one.read(offset, np.float64, arrays()[5].shape), arrays()[5])


class Raising:
    """Stands in for an adapter whose model raises when some tensors are there."""

    def arithmetic(self) -> Any:
        return nullcontext()

    def forward(self, _arrays: Any, emit: Callable[[Entry], None], _request: Any) -> dict[str, Array]:
        for number, array in enumerate(arrays()):
            emit(Entry(str(number), "m", "", array))
        raise RuntimeError("the model raised")


@pytest.mark.skipif(sys.platform != "linux", reason="files without a name have one for other processes on Linux only")
def test_what_came_before_a_model_raised_can_be_read(tmp_path: Path) -> None:
    answers = io.BytesIO()
    with (tmp_path / "store").open("w+b", buffering=0) as file:
        request = {"do": "forward", "capture": True, "spool": list(place_of(file))}
        with pytest.raises(RuntimeError, match="the model raised"):
            worker._answer(Raising(), request, {}, answers)
        answers.seek(0)
        with Store(place_of(file)) as reader:
            for array in arrays():
                header, sent = receive(answers)
                assert ("stored" in header) == (array.size > 0)
                if (where := header.get("stored")) is not None:
                    sent = reader.read(where["at"], where["dtype"], where["shape"])
                np.testing.assert_array_equal(sent, array, strict=True)


@pytest.mark.skipif(sys.platform != "linux", reason="files without a name have one for other processes on Linux only")
def test_that_a_model_raised_is_told_where_the_disk_is_full_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "pwrite", refusing(os.pwrite, errno.ENOSPC, lambda *_: True))
    with (tmp_path / "store").open("w+b", buffering=0) as file:
        request = {"do": "forward", "capture": True, "spool": list(place_of(file))}
        with pytest.raises(InputError, match=r"no room .*; the model had raised RuntimeError\('the model raised'\)"):
            worker._answer(Raising(), request, {}, io.BytesIO())
