"""A photograph from a file to the normalised array that a detector takes."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from detr_common.errors import InputError

FloatArray = npt.NDArray[np.float32]

# How large a photograph becomes: pixels of its shorter side, or height and width that it has to fit into.
Size = int | tuple[int, int]

# Channel statistics of ImageNet, which the published backbones were trained with.
MEAN = np.array([0.485, 0.456, 0.406], dtype=np.float32)
STD = np.array([0.229, 0.224, 0.225], dtype=np.float32)

# The backbone halves the map five times and its pooling needs more than one pixel after the second.
MIN_SIDE = 32
# More than the longest side of any photograph that DETR is run on, and a batch of them still fits into memory.
MOST_SIDE = 8192


def open_photograph(path: str | Path, upright: bool = True) -> Image.Image:
    """Read an image file as RGB; greyscale, palette, alpha and CMYK photographs are converted.

    Args:
        path: a JPEG or PNG file.
        upright: whether to turn it as the camera says that it was held.

    Raises:
        InputError: the file is missing, is a directory, or is not an image that Pillow can decode.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path}: is a directory; name a JPEG or PNG file")
    try:
        with Image.open(path) as image:
            return (ImageOps.exif_transpose(image) if upright else image).convert("RGB")
    except FileNotFoundError:
        raise InputError(f"{path}: no such image; check the path") from None
    except UnidentifiedImageError:
        raise InputError(f"{path}: not an image that can be read; give a JPEG or PNG file") from None
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(
            f"{path}: the image is damaged or unreadable ({error}); save it again as JPEG or PNG"
        ) from None


def target_size(width: int, height: int, size: int, max_size: int | None = None) -> tuple[int, int]:
    """Return the (height, width) to which DETR resizes a photograph of ``width`` by ``height`` pixels.

    The shorter side becomes ``size`` unless the longer one would then exceed ``max_size``.
    """
    if max_size is not None:
        shorter, longer = float(min(width, height)), float(max(width, height))
        if longer / shorter * size > max_size:
            size = round(max_size * shorter / longer)
    if (width <= height and width == size) or (height <= width and height == size):
        return height, width
    if width < height:
        return int(size * height / width), size
    return size, int(size * width / height)


def fitting_size(width: int, height: int, frame: tuple[int, int]) -> tuple[int, int]:
    """Return the largest (height, width) of the proportions of ``width`` by ``height`` that fit into ``frame``."""
    scale = min(frame[0] / height, frame[1] / width)
    # One side is the frame's own, which rounding down could miss.
    return min(round(height * scale), frame[0]), min(round(width * scale), frame[1])


def to_array(image: Image.Image) -> FloatArray:
    """Return a normalised float32 array of shape [3, H, W] from an RGB image."""
    array = np.empty((3, image.height, image.width), np.float32)
    # Channel by channel and in place, which is six times as fast as all at once.
    for plane, channel, mean, deviation in zip(array, image.split(), MEAN, STD, strict=True):
        np.divide(np.asarray(channel), np.float32(255), out=plane, dtype=np.float32)
        plane -= mean
        plane /= deviation
    return array


def load_photograph(path: str | Path, size: Size = 800, max_size: int | None = 1333) -> FloatArray:
    """Read, resize and normalise one photograph.

    Args:
        path: a JPEG or PNG file, of any colour mode.
        size: pixels of the shorter side, or height and width of the frame that the photograph fits into.
        max_size: most pixels of the longer side; nothing where there is a frame.

    Returns:
        float32 array of shape [3, H, W].

    Raises:
        InputError: the file is not a readable image, or it comes out smaller than the backbone can take.
    """
    image = open_photograph(path)
    if isinstance(size, int):
        height, width = target_size(image.width, image.height, size, max_size)
    else:
        height, width = fitting_size(image.width, image.height, size)
    if min(height, width) < MIN_SIDE:
        raise InputError(
            f"{path}: {image.width}x{image.height} becomes {width}x{height} pixels, but the backbone needs at least "
            f"{MIN_SIDE} on each side; give a less elongated photograph or a larger size"
        )
    return to_array(image.resize((width, height), Image.Resampling.BILINEAR))


def nearest(size_in: int, size_out: int) -> npt.NDArray[np.int32]:
    """Return the index of the nearest neighbour of each of ``size_out`` cells, int32 [size_out].

    The step is float32 as PyTorch takes it, which decides where a place is next to a whole number.
    """
    step = np.float32(size_in) / np.float32(size_out)
    places: npt.NDArray[np.int32] = (np.arange(size_out, dtype=np.float32) * step).astype(np.int32)
    return places.clip(max=size_in - 1)
