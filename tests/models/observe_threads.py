"""What the kernels of detr_jt that share their work among threads compute."""

from collections.abc import Mapping

from observe_kernels import PRODUCTS, WEIGHTS, attended, clipped, dropped, product, update
from sides import Array, Arrays, Torch


def observe(side: Torch, _inputs: Mapping[str, Array]) -> Arrays:
    result: Arrays = {}
    for index in range(len(PRODUCTS)):
        result |= {f"product/{index}/{name}": value for name, value in product(side, index, "float32").items()}
    for case in WEIGHTS:
        result |= {f"{case}/{name}": value for name, value in attended(side, case, "float32").items()}
    return result | update("float32") | dropped(side, "float32") | clipped()
