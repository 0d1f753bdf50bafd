"""The zip archive that a ``.pth`` is: where its members lie, and whether they are what was written."""

from __future__ import annotations

import mmap
import os
import struct
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import BinaryIO

from weight_convert.errors import CheckpointError
from weight_convert.unpickle import FAULTS

_LOCAL_HEADER = struct.Struct("<4s22xHH")
_THREADS = 2
_CHUNK = 1 << 18


@dataclass(frozen=True)
class Member:
    """A member's bytes in the file, and their CRC-32 as the archive states it."""

    start: int
    size: int
    crc: int

    def of(self, data: mmap.mmap) -> bytes:
        """Return a copy of the bytes."""
        return data[self.start : self.start + self.size]


def members(file: BinaryIO, data: mmap.mmap) -> dict[str, Member]:
    """Find every member; all are stored uncompressed, inside the file and apart from each other.

    Args:
        file: the file.
        data: the whole file, mapped.

    Raises:
        CheckpointError: the archive is damaged, or not of the kind that PyTorch writes.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            infos = [info for info in archive.infolist() if not info.is_dir()]
    except (zipfile.BadZipFile, NotImplementedError, *FAULTS) as fault:
        raise CheckpointError(f"is a damaged or cut-off zip archive ({fault}); fetch or save it again") from fault
    found: dict[str, Member] = {}
    for info in infos:
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1 or info.file_size != info.compress_size:
            raise CheckpointError("is a compressed or encrypted zip archive, so not a PyTorch checkpoint; unpack it")
        if info.filename in found:
            raise CheckpointError("is a zip archive with two members of one name, so not a PyTorch checkpoint")
        found[info.filename] = Member(_start(info, data), info.file_size, info.CRC)
    if sum(member.size for member in found.values()) > len(data):
        raise CheckpointError("is a zip archive whose members overlap, so not a PyTorch checkpoint")
    return found


def _start(info: zipfile.ZipInfo, data: mmap.mmap) -> int:
    header = data[info.header_offset : info.header_offset + _LOCAL_HEADER.size]
    if len(header) != _LOCAL_HEADER.size or header[:4] != b"PK\x03\x04":
        raise CheckpointError("is a damaged zip archive (a member's header); fetch or save it again")
    _, name_size, extra_size = _LOCAL_HEADER.unpack(header)
    start: int = info.header_offset + _LOCAL_HEADER.size + name_size + extra_size
    if start + info.file_size > len(data):
        raise CheckpointError("is a damaged zip archive (a member beyond the end); fetch or save it again")
    return start


class Check:
    """Compares every member with its checksum, in threads of its own that begin at once.

    An archive without any checksum is taken as it is: PyTorch writes zeros where
    ``torch.serialization.set_crc32_options(False)`` was called.
    """

    def __init__(self, found: Mapping[str, Member], file: BinaryIO) -> None:
        summed = [*found.items()] if any(member.crc for member in found.values()) else []
        pool = ThreadPoolExecutor(_THREADS)
        # Each thread has a descriptor of its own, since the caller may close the file before they end.
        self._jobs = [
            pool.submit(_differing, summed[start::_THREADS], os.dup(file.fileno())) for start in range(_THREADS)
        ]
        pool.shutdown(wait=False)

    def finish(self) -> None:
        """Wait until all is compared.

        Raises:
            CheckpointError: a member is not what was written; its name is given.
        """
        bad = [name for job in self._jobs for name in job.result()]
        if bad:
            more = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
            raise CheckpointError(
                f"is damaged: the checksum of its member {ascii(bad[0])[1:-1]}{more} does not match; "
                "fetch or save it again"
            )


def _differing(members: Sequence[tuple[str, Member]], descriptor: int) -> list[str]:
    """The names of those whose bytes have another sum; read and not mapped, which would count as memory."""
    buffer = memoryview(bytearray(_CHUNK))
    differing = []
    try:
        for name, member in members:
            crc, at, end = 0, member.start, member.start + member.size
            while at < end:
                got = os.preadv(descriptor, [buffer[: end - at]], at)
                if not got:
                    break
                crc, at = zlib.crc32(buffer[:got], crc), at + got
            if crc != member.crc or at != end:
                differing.append(name)
    finally:
        os.close(descriptor)
    return differing
