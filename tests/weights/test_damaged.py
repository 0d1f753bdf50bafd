"""Damaged files: cut, or with a bit changed. Each is named, or the damage is harmless; nothing is lost."""

import os
import pickle
import struct
import zipfile

import numpy as np
import pytest
import torch
from saved import whole_files, zip_with
from trees import same

from weight_convert import CheckpointError, read, write
from weight_convert.convert import convert


def test_cut_anywhere(tmp_path):
    for name in whole_files(tmp_path):
        data = (tmp_path / name).read_bytes()
        for size in range(0, len(data), max(1, len(data) // 150)):
            (tmp_path / "cut.pth").write_bytes(data[:size])
            with pytest.raises(CheckpointError, match=r"cut\.pth: "):
                read(tmp_path / "cut.pth", "numpy")


def test_damage_anywhere_is_either_harmless_or_named(tmp_path):
    for name in whole_files(tmp_path):
        tree = read(tmp_path / name, "numpy")
        data = bytearray((tmp_path / name).read_bytes())
        rng = np.random.default_rng(1)
        for _ in range(400):
            damaged = data.copy()
            damaged[rng.integers(len(data))] = rng.integers(256)
            (tmp_path / "b.pth").write_bytes(damaged)
            try:
                found = read(tmp_path / "b.pth", "numpy")
            except CheckpointError as error:
                assert str(error).startswith(str(tmp_path / "b.pth"))
            else:
                assert name not in ("a.pth", "a.pkl") or same(found, tree), "a format with checksums"


@pytest.mark.parametrize("loader", ["numpy", "torch"])
@pytest.mark.parametrize("member", ["data.pkl", "data/0", "data/1", "byteorder"])
def test_a_changed_bit_in_a_pth_is_noticed(tmp_path, loader, member):
    write({"w": np.zeros(10_000), "v": np.zeros(3), "x": "text"}, tmp_path / "a.pth")
    data = bytearray((tmp_path / "a.pth").read_bytes())
    with zipfile.ZipFile(tmp_path / "a.pth") as archive:
        (info,) = (info for info in archive.infolist() if info.filename.partition("/")[2] == member)
    start = archive_data_start(data, info)
    data[start + info.file_size // 2] ^= 1
    (tmp_path / "a.pth").write_bytes(data)
    with pytest.raises(CheckpointError, match=rf"a\.pth: is damaged: the checksum of its member \S+/{member} does not"):
        read(tmp_path / "a.pth", loader)


def test_a_damaged_source_leaves_the_destination_as_it_was(tmp_path):
    """Its checksums are compared while the destination is written, which may be done first."""
    write({"w": np.zeros(1_000_000)}, tmp_path / "a.pth")
    data = bytearray((tmp_path / "a.pth").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "a.pth").write_bytes(data)
    (tmp_path / "b.pkl").write_bytes(b"precious")
    with pytest.raises(CheckpointError, match=r"^\S+a\.pth: is damaged: the checksum of its member \S+/data/0 "):
        convert(tmp_path / "a.pth", tmp_path / "b.pkl", force=True)
    assert (tmp_path / "b.pkl").read_bytes() == b"precious"
    assert sorted(os.listdir(tmp_path)) == ["a.pth", "b.pkl"]


def archive_data_start(data, info):
    name_size, extra_size = struct.unpack_from("<HH", data, info.header_offset + 26)
    return info.header_offset + 30 + name_size + extra_size


def test_a_pth_written_without_checksums_is_read(tmp_path):
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({"w": torch.ones(3)}, tmp_path / "a.pth")
    finally:
        torch.serialization.set_crc32_options(True)
    with zipfile.ZipFile(tmp_path / "a.pth") as archive:
        assert {info.CRC for info in archive.infolist()} == {0}
    for loader in ("numpy", "torch"):
        assert read(tmp_path / "a.pth", loader)["w"].tolist() == [1, 1, 1]


def test_members_that_share_their_bytes_are_refused(tmp_path):
    """Each would be summed: a small file of many such members could keep a reader busy for hours."""
    data = zip_with(pickle.dumps({}), **{"0": b"\0" * 1000})
    start = data.index(b"PK\x01\x02")
    end = data.index(b"PK\x05\x06")
    directory = data[start:end]
    again = directory[directory.rindex(b"PK\x01\x02") :]
    assert again.endswith(b"archive/data/0")
    extra = b"".join(again[:-1] + bytes([ord("1") + index]) for index in range(9))
    tail = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 12, 12, len(directory + extra), start, 0)
    (tmp_path / "a.pth").write_bytes(data[:start] + directory + extra + tail)
    with pytest.raises(CheckpointError, match="members overlap"):
        read(tmp_path / "a.pth", "numpy")


def test_a_changed_bit_in_our_pkl_is_noticed(tmp_path):
    write({"w": np.zeros(100)}, tmp_path / "a.pkl")
    data = bytearray((tmp_path / "a.pkl").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "a.pkl").write_bytes(data)
    with pytest.raises(CheckpointError, match="checksum"):
        read(tmp_path / "a.pkl")
