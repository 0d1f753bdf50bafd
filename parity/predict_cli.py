"""``python -m parity predict``: what both detectors find in photographs, side by side."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import typer
from PIL import Image, ImageDraw, ImageFont

from detr_common import predict
from detr_common.drawing import draw, draw_panoptic
from detr_common.images import open_photograph
from detr_common.options import default_args
from detr_common.segments import to_png
from parity import usage
from parity.arguments import JittorWeights
from parity.client import Worker
from parity.frameworks.panoptic import SEGMENT
from parity.output import PROGRAM, Output
from parity.rungs import PORT, REFERENCE

# The part of the pixels that may be so near a tie that rounding decides about them.
NEAR_TIES = 1e-3
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
    """Draw what both detectors find, side by side: boxes, masks, panoptic maps. Takes the options of the model as well.

    Exit code 1 tells that they are not one detector: a score of any query, shown or not, or an object above the
    threshold differs, or more than a thousandth of the pixels of masks or maps. Two models that were trained apart
    always differ.
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
    twin = _find(REFERENCE, args, weights, twin=1) if "ids" in found[REFERENCE][0] else [None] * len(image)
    console, alike = Output(), True
    for number, path in enumerate(image):
        sides = {side: results[number] for side, results in found.items()}
        photo, pictures = open_photograph(path), [output_dir / f"{path.stem}.png"]
        shown = {side: _findings(result, threshold) for side, result in sides.items()}
        side_by_side(photo, shown, titles).save(pictures[0])
        if all(one.panoptic for one in shown.values()):
            pictures.append(output_dir / f"{path.stem}.panoptic.png")
            side_by_side(photo, shown, titles, panoptic=True).save(pictures[1])
        same, line = compared(sides[REFERENCE], sides[PORT], threshold, twin[number])
        alike = alike and same
        console.print(
            f"{'✓' if same else '✗'} {path}: {line}; {', '.join(map(str, pictures))}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
    raise typer.Exit(0 if alike else 1)


def _find(side: str, args: Any, checkpoint: Path, twin: int = 0) -> list[dict[str, Any]]:
    """Return what every query found, in pixels of the photograph, and panoptic maps; ``twin``: see ``Worker.build``."""
    results = []
    with Worker(side) as worker:
        worker.build(
            default_args(**{name: getattr(args, name) for name in vars(default_args())}), checkpoint, twin=twin
        )
        worker.wait_built()
        for path in args.images:
            array, own = predict.photograph(path, args.image_size)
            found = worker.run([array], own.tolist(), predict.things(args))
            results.append({name.removesuffix(".0"): value for name, value in found.items() if name.endswith(".0")})
    return results


def _findings(result: Mapping[str, Any], threshold: float) -> predict.Findings:
    panoptic = None
    if "ids" in result:
        panoptic = {"png_string": to_png(result["ids"]), "segments_info": segments_info(result["segments"])}
    return predict.findings(threshold, result, panoptic)


def segments_info(segments: npt.NDArray[Any]) -> list[dict[str, int]]:
    """Return segments [n, 4], see ``parity.frameworks.panoptic.panoptic_arrays``, as entries."""
    return [dict(zip(SEGMENT, map(int, one), strict=True)) for one in segments]


def compared(
    reference: Mapping[str, Any], port: Mapping[str, Any], threshold: float, twin: Mapping[str, Any] | None = None
) -> tuple[bool, str]:
    """Return whether two detectors find the same, query by query, and how far their numbers are apart.

    A score that is so near the threshold that rounding decides about it is no difference. Panoptic maps may be unlike
    in twice as many pixels as those of the reference and its twin: where two queries have nearly the same mask,
    rounding decides whose a pixel is.
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
    line = f"{count} objects; scores of all queries within {score:.2g}, boxes within {box:.2g} pixels"
    if "masks" in reference:
        unlike = _unlike(reference["masks"][either], port["masks"][either])
        same = same and unlike <= NEAR_TIES
        line += f", masks unlike in {unlike:.2g} of the pixels"
    if twin is not None:
        unlike, own = (_unlike(_categories(reference), _categories(side)) for side in (port, twin))
        kinds = [side["segments"][:, :3].tolist() for side in (reference, port, twin)]
        same = same and unlike <= max(2 * own, NEAR_TIES) and kinds[1] in (kinds[0], kinds[2])
        line += (
            f", panoptic maps of {len(kinds[0])} and {len(kinds[1])} segments unlike in {unlike:.2g} of the pixels "
            f"(PyTorch and its twin {own:.2g})"
        )
    return same, line


def _categories(side: Mapping[str, Any]) -> npt.NDArray[np.int64]:
    """Return the category id of each pixel; -1 for those of nobody."""
    categories: npt.NDArray[np.int64] = np.full(side["ids"].shape, -1)
    for number, _, category, _ in side["segments"]:
        categories[side["ids"] == number] = category
    return categories


def _unlike(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> float:
    """Return the part of the pixels in which two maps differ; all, where their sizes do."""
    if one.shape != other.shape:
        return 1.0
    return float((one != other).mean()) if one.size else 0.0


def side_by_side(
    photo: Image.Image, found: Mapping[str, predict.Findings], names: Mapping[int, str], panoptic: bool = False
) -> Image.Image:
    """Return a picture of what both found, each below its framework's name: objects, or panoptic maps."""
    band = max(16, photo.height // 20)
    picture = Image.new("RGB", (2 * photo.width + 4, photo.height + band), "white")
    pencil, font = ImageDraw.Draw(picture), ImageFont.load_default(size=band * 3 // 4)
    for number, (side, one) in enumerate(found.items()):
        left = number * (photo.width + 4)
        if panoptic and one.panoptic is not None:
            drawn, count = draw_panoptic(photo, one.panoptic, names), len(one.panoptic.segments)
        else:
            drawn, count = draw(photo, one.detections, names), len(one.detections)
        picture.paste(drawn, (left, band))
        pencil.text((left + 4, 1), f"{_TITLES[side]}: {count}", fill="black", font=font)
    return picture
