from pathlib import Path

import pytest

from detr_common.jittor_cache import elf_damage


@pytest.mark.parametrize("suffix", [".so", ".o"])
def test_whole_file_is_whole(library: Path, suffix: str) -> None:
    assert elf_damage(library.with_suffix(suffix)) is None


@pytest.mark.parametrize("suffix", [".so", ".o"])
def test_every_shorter_file_is_damaged(library: Path, tmp_path: Path, suffix: str) -> None:
    whole = library.with_suffix(suffix).read_bytes()
    sizes = [0, 1, 3, 4, 63, 64, 65, *range(100, len(whole), 97), len(whole) - 1]
    for size in sizes:
        cut = tmp_path / "cut"
        cut.write_bytes(whole[:size])
        assert elf_damage(cut), f"{size} of {len(whole)} bytes passed for whole"


def test_half_written_by_the_linker_has_no_header(library: Path, tmp_path: Path) -> None:
    whole = library.read_bytes()
    half = tmp_path / "half.so"
    half.write_bytes(bytes(64) + whole[64 : len(whole) // 2])
    assert "no ELF header" in (elf_damage(half) or "")


def test_zeros_where_the_disk_lost_the_end(library: Path, tmp_path: Path) -> None:
    whole = library.read_bytes()
    lost = tmp_path / "lost.so"
    lost.write_bytes(whole[: len(whole) // 2] + bytes(len(whole) - len(whole) // 2))
    assert "zeros" in (elf_damage(lost) or "")


def test_table_of_sections_before_the_end(library: Path, tmp_path: Path) -> None:
    """Tools such as patchelf add bytes after the table; those are judged by what segments and sections need."""
    longer = tmp_path / "longer.so"
    longer.write_bytes(library.read_bytes() + b"more")
    assert elf_damage(longer) is None
    moved = bytearray(library.read_bytes())
    size, count = int.from_bytes(moved[58:60], "little"), int.from_bytes(moved[60:62], "little")
    at = int.from_bytes(moved[40:48], "little")
    end = at + size * count
    cut = moved[:64] + moved[at:end] + moved[64 + end - at : at // 2]
    cut[40:48] = (64).to_bytes(8, "little")
    damaged = tmp_path / "damaged.so"
    damaged.write_bytes(cut)
    assert "cut short" in (elf_damage(damaged) or "")


def test_unreadable_file_is_the_callers_business(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        elf_damage(tmp_path / "nothing.so")
