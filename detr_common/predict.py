"""What finding objects in photographs takes beside a framework: options, pictures, and the file of what was found."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from detr_common.categories import COCO, read_names
from detr_common.errors import InputError
from detr_common.images import FloatArray, load_photograph, open_photograph
from detr_common.options import get_args_parser
from detr_common.run import make_folder

RESULT = "detections.json"
_TONES = ("#e6194b", "#3cb44b", "#4363d8", "#f58231", "#911eb4", "#008080", "#9a6324", "#808000")


@dataclass(frozen=True)
class Detection:
    """An object that was found.

    Attributes:
        label: category id.
        score: from 0 to 1.
        box: (x0, y0, x1, y1) in pixels of the photograph.
    """

    label: int
    score: float
    box: tuple[float, float, float, float]


def get_parser(prog: str) -> argparse.ArgumentParser:
    """Return the parser of a program that finds objects."""
    parser = argparse.ArgumentParser(
        prog,
        parents=[get_args_parser()],
        description="Find objects in photographs. Writes a picture of each, with boxes, labels and scores, and "
        "detections.json.",
    )
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE")
    parser.add_argument("--resume", required=True, type=Path, metavar="FILE", help="checkpoint, .pth or .pkl")
    parser.add_argument("--output_dir", default=Path("predictions"), type=Path, help="where pictures go")
    parser.add_argument("--threshold", default=0.7, type=float, help="least score that is shown")
    parser.add_argument("--image_size", default=800, type=int, help="shorter side for the detector")
    parser.add_argument(
        "--names", type=Path, metavar="FILE", help="annotations that name the categories, if not COCO's"
    )
    return parser


def parse(argv: Sequence[str] | None, prog: str, device: str = "cpu") -> argparse.Namespace:
    """Return the options; those of the model default to the ones that the checkpoint was trained with, if it says so.

    ``device`` is used where none is named.

    Raises:
        InputError: the checkpoint cannot be read.
    """
    parser = get_parser(prog)
    parser.set_defaults(device=device)
    args = parser.parse_args(argv)
    from weight_convert import read

    tree = read(args.resume, loader="numpy")
    saved = tree.get("args") if isinstance(tree, dict) else None
    if isinstance(saved, argparse.Namespace):
        own = {"device", "dtype", "resume", "output_dir"}
        known = {action.dest for action in parser._actions} - own
        parser.set_defaults(**{name: value for name, value in vars(saved).items() if name in known})
        args = parser.parse_args(argv)
    return args


def check(args: argparse.Namespace) -> dict[int, str]:
    """Check the options, make the folder of the pictures, and return the names of the categories.

    Raises:
        InputError: an option or a photograph cannot be used.
    """
    if not 0 <= args.threshold <= 1:
        raise InputError(f"--threshold {args.threshold}: give a number from 0 to 1")
    names = read_names(args.names) if args.names else COCO
    stems = [path.stem for path in args.images]
    if len(set(stems)) < len(stems):
        raise InputError("two photographs have one name, so that one picture would replace the other; do one at a time")
    for path in args.images:
        load_photograph(path, args.image_size)
    make_folder(args.output_dir)
    return names


def photograph(path: Path, size: int) -> tuple[FloatArray, npt.NDArray[np.int64]]:
    """Return a photograph for the detector, float32 [3, H, W], and its own height and width, int64 [1, 2]."""
    image = open_photograph(path)
    return load_photograph(path, size), np.array([[image.height, image.width]], np.int64)


def detections_above(threshold: float, result: Mapping[str, Any]) -> list[Detection]:
    """Return what was found with a score of at least ``threshold``, the surest first.

    Args:
        threshold: from 0 to 1.
        result: arrays ``scores`` [Q], ``labels`` [Q] and ``boxes`` [Q, 4].
    """
    found = [
        Detection(int(label), float(score), (float(box[0]), float(box[1]), float(box[2]), float(box[3])))
        for score, label, box in zip(result["scores"], result["labels"], result["boxes"], strict=True)
        if score >= threshold
    ]
    return sorted(found, key=lambda one: -one.score)


def draw(image: Image.Image, found: Sequence[Detection], names: Mapping[int, str]) -> Image.Image:
    """Return a copy of a photograph with what was found in it."""
    picture = image.copy()
    pencil = ImageDraw.Draw(picture)
    width = max(2, min(picture.size) // 200)
    font = ImageFont.load_default(size=max(10, min(picture.size) // 35))
    for one in reversed(found):  # the surest lies on top
        tone = _TONES[one.label % len(_TONES)]
        x0, y0, x1, y1 = one.box
        pencil.rectangle((min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)), outline=tone, width=width)
        text = f"{names.get(one.label, f'category {one.label}')} {one.score:.2f}"
        corner = (max(x0, 0.0), max(y0, 0.0))
        pencil.rectangle(pencil.textbbox(corner, text, font=font), fill=tone)
        pencil.text(corner, text, fill="white", font=font)
    return picture


def write(args: argparse.Namespace, names: Mapping[int, str], found: Mapping[Path, Sequence[Detection]]) -> None:
    """Write a picture of each photograph, and ``detections.json``; print what was found."""
    for path, detections in found.items():
        picture = args.output_dir / f"{path.stem}.png"
        draw(open_photograph(path), detections, names).save(picture)
        print(f"{path}: {len(detections)} objects, {picture}")
        for one in detections:
            box = ", ".join(f"{side:.1f}" for side in one.box)
            print(f"  {names.get(one.label, f'category {one.label}')} {one.score:.3f} at ({box})")
    content = [
        {"image": path.name, "category_id": one.label, "score": one.score, "box": list(one.box)}
        for path, detections in found.items()
        for one in detections
    ]
    (args.output_dir / RESULT).write_text(json.dumps(content, indent=1), encoding="utf8")
