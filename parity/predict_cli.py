"""``python -m parity predict``: what both detectors find in photographs, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from PIL import Image, ImageDraw, ImageFont

from detr_common import predict
from detr_common.images import open_photograph
from detr_common.options import default_args
from detr_common.predict import Detection
from parity import usage
from parity.arguments import JittorWeights
from parity.client import Worker
from parity.output import PROGRAM, Output
from parity.rungs import PORT, REFERENCE

_TITLES = {REFERENCE: "PyTorch", PORT: "Jittor"}


def predict_command(
    context: typer.Context,
    image: Annotated[list[Path], typer.Option(readable=False, help="A photograph; repeat for more.")],
    weights: Annotated[Path, typer.Option(readable=False, help="Checkpoint of both models.")],
    jittor_weights: JittorWeights = None,
    output_dir: Annotated[
        Path, typer.Option("--output_dir", readable=False, metavar="DIR", help="Where pictures go.")
    ] = Path("predictions"),
    threshold: Annotated[float, typer.Option(min=0, max=1, help="Least score that is shown.")] = 0.7,
    size: Annotated[int, typer.Option(min=32, help="Pixels of the photographs' shorter side.")] = 800,
    names: Annotated[
        Path | None, typer.Option(readable=False, help="Annotations that name the categories, if not COCO's.")
    ] = None,
) -> None:
    """Draw what both detectors find, side by side. Takes the options of the model as well.

    Exit code 1 tells that they are not one detector: a score of any query, shown or not, or an object above the
    threshold differs. Two models that were trained apart always differ.
    """
    usage.check_file("--weights", weights)
    usage.check_file("--jittor-weights", jittor_weights)
    words = [*map(str, image), "--resume", str(weights), "--output_dir", str(output_dir), "--image_size", str(size)]
    words += ["--threshold", str(threshold), *(["--names", str(names)] if names else [])]
    args = predict.parse([*words, *context.args], f"{PROGRAM} predict")
    usage.check_device(args.device)
    titles = predict.check(args)
    checkpoints = {REFERENCE: weights, PORT: jittor_weights or weights}
    found = {side: _find(side, args, checkpoints[side]) for side in checkpoints}
    console, alike = Output(), True
    for number, path in enumerate(image):
        sides = {side: results[number] for side, results in found.items()}
        picture = output_dir / f"{path.stem}.png"
        side_by_side(open_photograph(path), {side: _above(r, threshold) for side, r in sides.items()}, titles).save(
            picture
        )
        same, line = compared(sides[REFERENCE], sides[PORT], threshold)
        alike = alike and same
        console.print(
            f"{'✓' if same else '✗'} {path}: {line}; {picture}", markup=False, highlight=False, soft_wrap=True
        )
    raise typer.Exit(0 if alike else 1)


def _find(side: str, args: Any, checkpoint: Path) -> list[dict[str, Any]]:
    """Return scores, labels and boxes, in pixels of the photograph, of every query."""
    results = []
    with Worker(side) as worker:
        worker.build(default_args(**{name: getattr(args, name) for name in vars(default_args())}), checkpoint)
        worker.wait_built()
        for path in args.images:
            array, own = predict.photograph(path, args.image_size)
            result = worker.run([array])
            scale = own[0, ::-1] / np.array(array.shape[:0:-1])
            boxes = result["boxes.0"] * np.concatenate([scale, scale])
            results.append({"scores": result["scores.0"], "labels": result["labels.0"], "boxes": boxes})
    return results


def _above(result: Mapping[str, Any], threshold: float) -> list[Detection]:
    return predict.detections_above(threshold, result)


def compared(reference: Mapping[str, Any], port: Mapping[str, Any], threshold: float) -> tuple[bool, str]:
    """Return whether two detectors find the same, query by query, and how far their numbers are apart.

    A score that is so near the threshold that rounding decides about it is no difference.
    """
    near = 1e-4
    mine, theirs = np.asarray(port["scores"]), np.asarray(reference["scores"])
    both = np.minimum(mine, theirs) >= threshold - near
    either = np.maximum(mine, theirs) >= threshold + near
    labels = np.asarray(reference["labels"]) == np.asarray(port["labels"])
    score = float(np.abs(mine - theirs).max())
    same = bool((~either | (both & labels)).all()) and score <= near
    box = float(np.abs(np.asarray(reference["boxes"]) - np.asarray(port["boxes"])).max())
    count = int((theirs >= threshold).sum())
    return same, f"{count} objects; scores of all queries within {score:.2g}, boxes within {box:.2g} pixels"


def side_by_side(photo: Image.Image, found: Mapping[str, Sequence[Detection]], names: Mapping[int, str]) -> Image.Image:
    """Return a picture of both detectors' boxes, labels and scores, each below its framework's name."""
    band = max(16, photo.height // 20)
    picture = Image.new("RGB", (2 * photo.width + 4, photo.height + band), "white")
    pencil, font = ImageDraw.Draw(picture), ImageFont.load_default(size=band * 3 // 4)
    for number, (side, detections) in enumerate(found.items()):
        left = number * (photo.width + 4)
        picture.paste(predict.draw(photo, detections, names), (left, band))
        pencil.text((left + 4, 1), f"{_TITLES[side]}: {len(detections)}", fill="black", font=font)
    return picture
