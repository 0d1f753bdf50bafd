"""``python -m detr_pt.predict``: find objects in photographs."""

import argparse
import sys
from collections.abc import Sequence

import numpy as np
import torch

from detr_common import predict as common
from detr_common.errors import InputError, report
from detr_common.memory import keep_imported
from detr_pt.checkpoint import load_weights
from detr_pt.detr import build_model
from detr_pt.engine import set_training, to_samples
from detr_pt.postprocess import postprocess
from detr_pt.processes import available_device


def run(args: argparse.Namespace) -> None:
    """Find objects and draw them.

    Raises:
        InputError: an option, the checkpoint or a photograph cannot be used.
    """
    names = common.check(args)
    model, _, postprocessors = build_model(args)
    load_weights(model, args.resume)
    set_training(model, False)
    if "panoptic" in postprocessors:
        postprocessors["panoptic"].is_thing_map.update(common.things(args))
    found = {}
    with torch.no_grad():
        for path in args.images:
            image, size = common.photograph(path, args.image_size)
            outputs = model(to_samples(model, [image]))
            sizes = (torch.from_numpy(one).to(args.device) for one in (size, np.array([image.shape[1:]], np.int64)))
            results, maps = postprocess(postprocessors, outputs, *sizes)
            arrays = {name: value.cpu().numpy() for name, value in results[0].items()}
            found[path] = common.findings(args.threshold, arrays, maps[0])
    common.write(args, names, found)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns:
        The exit code: 0, or 2 where something given cannot be used.
    """
    try:
        run(common.parse(argv, "python -m detr_pt.predict", available_device()))
    except InputError as error:
        return report(error)
    return 0


if __name__ == "__main__":
    keep_imported()
    sys.exit(main())
