"""The names of COCO's categories by their ids, which are not contiguous."""

import json
from pathlib import Path

from detr_common.errors import InputError

_GROUPS = {
    1: "person bicycle car motorcycle airplane bus train truck boat traffic_light fire_hydrant",
    13: "stop_sign parking_meter bench bird cat dog horse sheep cow elephant bear zebra giraffe",
    27: "backpack umbrella",
    31: "handbag tie suitcase frisbee skis snowboard sports_ball kite baseball_bat baseball_glove skateboard surfboard "
    "tennis_racket bottle",
    46: "wine_glass cup fork knife spoon bowl banana apple sandwich orange broccoli carrot hot_dog pizza donut cake "
    "chair couch potted_plant bed",
    67: "dining_table",
    70: "toilet",
    72: "tv laptop mouse remote keyboard cell_phone microwave oven toaster sink refrigerator",
    84: "book clock vase scissors teddy_bear hair_drier toothbrush",
}
COCO = {first + i: name.replace("_", " ") for first, names in _GROUPS.items() for i, name in enumerate(names.split())}


def read_names(path: Path) -> dict[int, str]:
    """Return the names of the categories of an annotation file in COCO's format.

    Raises:
        InputError: it cannot be read, or has no categories.
    """
    try:
        content = json.loads(path.read_text(encoding="utf8"))
        return {int(one["id"]): str(one["name"]) for one in content["categories"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: no categories can be read from it ({error}); give a file of annotations") from None
