"""What a comparison was fed: names, sizes and hashes of checkpoints and photographs."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt


def describe_file(path: Path) -> dict[str, Any]:
    """Return name, size in bytes and sha256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(2**20):
            digest.update(chunk)
    return {"name": path.name, "bytes": path.stat().st_size, "sha256": digest.hexdigest()}


def describe_images(paths: Sequence[Path], images: Sequence[npt.NDArray[np.float32]]) -> list[dict[str, Any]]:
    """Return what each image of a batch is.

    Args:
        paths: the photographs.
        images: [3, H, W] each, in the same order; one more than paths where a cut of the first was added.

    Returns:
        Shape of each, and name, size and sha256 of its file, or for the cut the name of the photograph.
    """
    files = [describe_file(path) for path in paths]
    cuts = [{"cut_of": path.name} for path in paths[: len(images) - len(files)]]
    return [{**origin, "shape": list(image.shape)} for origin, image in zip([*files, *cuts], images, strict=True)]


def describe_inputs(
    weights: Path,
    port_weights: Path | None,
    seed: int | None,
    paths: Sequence[Path],
    images: Sequence[npt.NDArray[np.float32]],
) -> dict[str, Any]:
    """Return all inputs of a comparison, for its settings.

    Args:
        weights: the checkpoint of the reference.
        port_weights: the checkpoint of the port, if it is another.
        seed: seed of the checkpoint where it was drawn for this run, else None.
        paths: the photographs.
        images: the batch made of them.
    """
    reference = describe_file(weights)
    if seed is not None:
        reference = {**reference, "seed": seed}
    port = describe_file(port_weights) if port_weights else reference
    return {"weights": reference, "port_weights": port, "images": describe_images(paths, images)}
