"""``python -m detr_jt.predict``: find objects in photographs."""

import argparse
import sys
from collections.abc import Sequence

import jittor as jt

from detr_common import predict as common
from detr_common.errors import InputError, report
from detr_jt.checkpoint import load_weights
from detr_jt.detr import build_model
from detr_jt.engine import set_training, to_samples
from detr_jt.processes import available_device


def run(args: argparse.Namespace) -> None:
    """Find objects and draw them.

    Raises:
        InputError: an option, the checkpoint or a photograph cannot be used.
    """
    names = common.check(args)
    model, _, postprocessors = build_model(args)
    load_weights(model, args.resume)
    set_training(model, False)
    found = {}
    with jt.no_grad():
        for path in args.images:
            image, size = common.photograph(path, args.image_size)
            outputs = model(to_samples(model, [image]))
            result = postprocessors["bbox"](outputs, jt.array(size))[0]
            arrays = {name: value.numpy() for name, value in result.items()}
            found[path] = common.detections_above(args.threshold, arrays)
    common.write(args, names, found)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns:
        The exit code: 0, or 2 where something given cannot be used.
    """
    try:
        run(common.parse(argv, "python -m detr_jt.predict", available_device()))
    except InputError as error:
        return report(error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
