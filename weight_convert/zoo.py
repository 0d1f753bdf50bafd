"""Published checkpoints by name: where they are, and how to tell that one arrived whole."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from weight_convert.errors import CheckpointError

CACHE_VARIABLE = "DETR_PARITY_CACHE"
_DETR = "https://dl.fbaipublicfiles.com/detr/"
_BACKBONES = "https://download.pytorch.org/models/"


@dataclass(frozen=True)
class Entry:
    """A published checkpoint."""

    name: str
    url: str
    what: str

    @property
    def file(self) -> str:
        """The name of the file."""
        return self.url.rsplit("/", 1)[1]

    @property
    def sha256_prefix(self) -> str:
        """The eight hexadecimal digits that the publisher put into the file's name."""
        return self.file.rsplit("-", 1)[1].split(".")[0]


ZOO: dict[str, Entry] = {
    entry.name: entry
    for entry in (
        Entry("detr-r50", f"{_DETR}detr-r50-e632da11.pth", "DETR, ResNet-50"),
        Entry("detr-r50-dc5", f"{_DETR}detr-r50-dc5-f0fb7ef5.pth", "DETR, ResNet-50, dilated"),
        Entry("detr-r101", f"{_DETR}detr-r101-2c7b67e5.pth", "DETR, ResNet-101"),
        Entry("detr-r101-dc5", f"{_DETR}detr-r101-dc5-a2e86def.pth", "DETR, ResNet-101, dilated"),
        Entry("detr-r50-panoptic", f"{_DETR}detr-r50-panoptic-00ce5173.pth", "DETR panoptic, ResNet-50"),
        Entry(
            "detr-r50-dc5-panoptic", f"{_DETR}detr-r50-dc5-panoptic-da08f1b1.pth", "DETR panoptic, ResNet-50, dilated"
        ),
        Entry("detr-r101-panoptic", f"{_DETR}detr-r101-panoptic-40021d53.pth", "DETR panoptic, ResNet-101"),
        Entry("resnet18", f"{_BACKBONES}resnet18-f37072fd.pth", "ImageNet ResNet-18"),
        Entry("resnet34", f"{_BACKBONES}resnet34-b627a593.pth", "ImageNet ResNet-34"),
        Entry("resnet50", f"{_BACKBONES}resnet50-0676ba61.pth", "ImageNet ResNet-50"),
        Entry("resnet101", f"{_BACKBONES}resnet101-63fe2227.pth", "ImageNet ResNet-101"),
    )
}


def find(text: str) -> Entry | None:
    """The entry that ``text`` names, by its name or its file's name; None if it names none."""
    return ZOO.get(text) or next((entry for entry in ZOO.values() if entry.file == text), None)


def cache_folder() -> Path:
    """Where downloads are kept: ``$DETR_PARITY_CACHE``, else ``~/.cache/detr-parity``; made if it is missing.

    Raises:
        CheckpointError: it cannot be made.
    """
    chosen = os.environ.get(CACHE_VARIABLE)
    folder = Path(chosen).expanduser() if chosen else Path.home() / ".cache" / "detr-parity"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CheckpointError(
            f"{folder}: cannot be made ({error.strerror}); set {CACHE_VARIABLE} to a folder"
        ) from error
    return folder


def describe() -> str:
    """A line for each entry, with its address."""
    width = max(map(len, ZOO))
    return "\n".join(f"{entry.name:<{width}}  {entry.what:<34}  {entry.url}" for entry in ZOO.values())
