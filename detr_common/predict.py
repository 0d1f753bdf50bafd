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
from pycocotools import mask as coder

from detr_common.categories import COCO, STUFF, read_names, read_things
from detr_common.drawing import Detection, PanopticMap, draw, draw_panoptic
from detr_common.errors import InputError
from detr_common.images import FloatArray, load_photograph, open_photograph
from detr_common.options import get_args_parser
from detr_common.run import make_folder
from detr_common.segments import from_png

RESULT = "detections.json"


@dataclass(frozen=True)
class Findings:
    """What was found in a photograph.

    Attributes:
        detections: those that are sure enough, the surest first.
        panoptic: its panoptic map; None from a detector that makes none.
    """

    detections: list[Detection]
    panoptic: PanopticMap | None = None


def get_parser(prog: str) -> argparse.ArgumentParser:
    """Return the parser of a program that finds objects."""
    parser = argparse.ArgumentParser(
        prog,
        parents=[get_args_parser()],
        description="Find objects in photographs. Writes a picture of each, with boxes, labels, scores and masks, "
        "one of its panoptic map if the detector makes any, and detections.json.",
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
    names = read_names(args.names) if args.names else COCO | STUFF
    stems = [path.stem for path in args.images]
    if len({*stems, *(f"{stem}.panoptic" for stem in stems)}) < 2 * len(stems):
        raise InputError("two photographs have one name, so that one picture would replace the other; do one at a time")
    for path in args.images:
        load_photograph(path, args.image_size)
    make_folder(args.output_dir)
    return names


def things(args: argparse.Namespace) -> dict[int, bool]:
    """Return which categories are things and which are stuff, as far as ``--names`` tells."""
    return read_things(args.names) if args.names else {}


def photograph(path: Path, size: int) -> tuple[FloatArray, npt.NDArray[np.int64]]:
    """Return a photograph for the detector, float32 [3, H, W], and its own height and width, int64 [1, 2]."""
    image = open_photograph(path)
    return load_photograph(path, size), np.array([[image.height, image.width]], np.int64)


def findings(threshold: float, result: Mapping[str, Any], panoptic: Mapping[str, Any] | None = None) -> Findings:
    """Return what was found with a score of at least ``threshold``.

    Args:
        threshold: from 0 to 1.
        result: arrays ``scores`` [Q], ``labels`` [Q] and ``boxes`` [Q, 4], maybe ``masks`` [Q, 1, H, W].
        panoptic: ``png_string`` and ``segments_info``, if there is a panoptic map.
    """
    masks = result.get("masks", [None] * len(result["scores"]))
    found = [
        Detection(
            int(label),
            float(score),
            (float(box[0]), float(box[1]), float(box[2]), float(box[3])),
            None if mask is None else np.asarray(mask[0], bool),
        )
        for score, label, box, mask in zip(result["scores"], result["labels"], result["boxes"], masks, strict=True)
        if score >= threshold
    ]
    there = None if panoptic is None else PanopticMap(from_png(panoptic["png_string"]), panoptic["segments_info"])
    return Findings(sorted(found, key=lambda one: -one.score), there)


def write(args: argparse.Namespace, names: Mapping[int, str], found: Mapping[Path, Findings]) -> None:
    """Write pictures of each photograph, and ``detections.json``; print what was found."""
    content = []
    for path, one in found.items():
        picture, photo = args.output_dir / f"{path.stem}.png", open_photograph(path)
        draw(photo, one.detections, names).save(picture)
        print(f"{path}: {len(one.detections)} objects, {picture}")
        for detection in one.detections:
            box = ", ".join(f"{side:.1f}" for side in detection.box)
            print(f"  {names.get(detection.label, f'category {detection.label}')} {detection.score:.3f} at ({box})")
        content += [{"image": path.name, **_entry(detection)} for detection in one.detections]
        if one.panoptic is not None:
            picture = args.output_dir / f"{path.stem}.panoptic.png"
            draw_panoptic(photo, one.panoptic, names).save(picture)
            print(f"  {len(one.panoptic.segments)} segments, {picture}")
    (args.output_dir / RESULT).write_text(json.dumps(content, indent=1), encoding="utf8")


def _entry(detection: Detection) -> dict[str, Any]:
    """Return a detection as ``detections.json`` has it, its mask as COCO's run-length code."""
    entry: dict[str, Any] = {
        "category_id": detection.label,
        "score": detection.score,
        "box": list(detection.box),
    }
    if detection.mask is not None:
        code = coder.encode(np.asfortranarray(detection.mask.astype(np.uint8)))
        entry["segmentation"] = {"size": [int(side) for side in code["size"]], "counts": code["counts"].decode("ascii")}
    return entry
