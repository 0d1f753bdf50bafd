"""The names of COCO's categories by their ids, which are not contiguous."""

import json
from pathlib import Path
from typing import Any

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

_STUFF_GROUPS = {
    92: "banner blanket",
    95: "bridge",
    100: "cardboard",
    107: "counter",
    109: "curtain",
    112: "door-stuff",
    118: "floor-wood flower",
    122: "fruit",
    125: "gravel",
    128: "house",
    130: "light",
    133: "mirror-stuff",
    138: "net",
    141: "pillow",
    144: "platform playingfield",
    147: "railroad river road",
    151: "roof",
    154: "sand sea shelf",
    159: "snow",
    161: "stairs",
    166: "tent",
    168: "towel",
    171: "wall-brick",
    175: "wall-stone wall-tile wall-wood water-other",
    180: "window-blind window-other",
    184: "tree-merged fence-merged ceiling-merged sky-other-merged cabinet-merged table-merged floor-other-merged "
    "pavement-merged mountain-merged grass-merged dirt-merged paper-merged food-other-merged building-other-merged "
    "rock-merged wall-other-merged rug-merged",
}
# What panoptic annotations tell of beside objects.
STUFF = {first + i: name for first, names in _STUFF_GROUPS.items() for i, name in enumerate(names.split())}


def read_names(path: Path) -> dict[int, str]:
    """Return the names of the categories of an annotation file in COCO's format.

    Raises:
        InputError: it cannot be read, or has no categories.
    """
    return {key: str(one["name"]) for key, one in _categories(path).items()}


def read_things(path: Path) -> dict[int, bool]:
    """Return whether objects of a category are told apart, for those of which the file tells; see ``read_names``."""
    return {key: bool(one["isthing"]) for key, one in _categories(path).items() if "isthing" in one}


def _categories(path: Path) -> dict[int, dict[str, Any]]:
    try:
        content = json.loads(path.read_text(encoding="utf8"))
        return {int(one["id"]): {**one, "name": one["name"]} for one in content["categories"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: no categories can be read from it ({error}); give a file of annotations") from None
