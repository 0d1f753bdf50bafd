"""Downloads that resume, are verified, and appear under their name only when they are whole."""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from weight_convert.errors import CheckpointError
from weight_convert.zoo import Entry, cache_folder

Progress = Callable[[int, int | None], None]
_CHUNK = 1 << 18
_TIMEOUT = 30.0  # seconds without a byte
_ATTEMPTS = 3
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")


def fetch(entry: Entry, progress: Progress = lambda done, total: None) -> Path:
    """The entry's file in the cache, downloaded if it is not there yet.

    An interrupted download is continued: at once, up to three times, and by the next call. A file whose SHA-256 does
    not begin as published is removed.

    Args:
        entry: what to fetch.
        progress: called with the bytes there are and their number in all, None while that is unknown.

    Raises:
        CheckpointError: the server cannot be reached or does not have it, or what arrived is not what was published.
    """
    folder = cache_folder()
    path = folder / entry.file
    if path.exists():
        _verify(path, entry)
        return path
    part = folder / f"{entry.file}.part"
    try:
        _download(entry.url, part, progress)
        _verify(part, entry)
        os.replace(part, path)
    except OSError as error:
        raise CheckpointError(f"{part}: {(error.strerror or str(error)).lower()}") from error
    return path


def _verify(path: Path, entry: Entry) -> None:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    found = digest.hexdigest()
    if not found.startswith(entry.sha256_prefix):
        path.unlink()
        raise CheckpointError(
            f"{path}: its SHA-256 begins with {found[:8]}, published is {entry.sha256_prefix}; "
            "the file was removed, fetch it again"
        )


def _download(url: str, part: Path, progress: Progress) -> None:
    fault: Exception | None = None
    for _ in range(_ATTEMPTS):
        try:
            if _continue(url, part, progress):
                return
            fault = None
        except urllib.error.HTTPError as error:
            reason = f"the server answers {error.code} {error.reason}"
            error.close()
            raise CheckpointError(f"{url}: {reason}; nothing was fetched") from error
        except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
            fault = error
    kept = part.stat().st_size if part.exists() else 0
    why = "the connection ends early" if fault is None else str(getattr(fault, "reason", None) or fault)
    raise CheckpointError(
        f"{url}: cannot be fetched ({why}); {kept} bytes are kept, the same command continues"
    ) from fault


def _continue(url: str, part: Path, progress: Progress) -> bool:
    """Fetch what is missing; whether all has come."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == 416 and have:  # there is nothing behind what we have: it is whole, or not this file
            size = error.headers.get("Content-Range", "").rpartition("/")[2]
            error.close()
            if size == str(have):
                return True
            part.unlink()
            return False
        raise
    with response, part.open("ab") as file:
        start, total = _extent(response)
        if start not in (0, have):
            raise http.client.HTTPException(f"byte {start} comes where byte {have} was asked for")
        if start != have:  # the server ignores ranges: from the beginning
            file.truncate(0)
        done = _copy(response, file, start, total, progress)
        file.flush()
        os.fsync(file.fileno())
    return total is None or done == total


def _extent(response: Any) -> tuple[int, int | None]:
    """The offset of the first byte in the answer and the size of the whole file."""
    if response.status == 206:
        match = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if match is None:
            raise http.client.HTTPException("a partial answer that does not say which part")
        return int(match[1]), None if match[2] == "*" else int(match[2])
    length = response.headers.get("Content-Length")
    return 0, None if length is None else int(length)


def _copy(response: Any, file: BinaryIO, done: int, total: int | None, progress: Progress) -> int:
    progress(done, total)
    while chunk := response.read1(_CHUNK):
        file.write(chunk)
        done += len(chunk)
        progress(done, total)
    return done
