"""The kernels of detr_jt beside what it computes where it cannot use them; PyTorch computes the same."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from sides import Array, Arrays, Torch

# Leading axes, rows, columns and depth: fewer than a tile, more than a panel, more than one sum; whether transposed.
PRODUCTS = (
    ((2, 3), 5, 7, 4, True),
    ((2, 3), 5, 7, 4, False),
    ((1, 2), 17, 65, 300, True),
    ((1, 2), 17, 65, 300, False),
    ((), 64, 33, 129, False),
    ((), 1, 1, 1, True),
    ((2,), 8, 32, 128, False),
)
DTYPES = ("float32", "float64")
# Scores from which attention weights are made: how large, queries and keys, and whether keys are padding.
WEIGHTS = {"even": (1, 7, 33, True), "sharp": (30, 50, 300, True), "free": (5, 300, 17, False)}
GROUP = {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 1e-2}


def observe(side: Torch, _inputs: Mapping[str, Array]) -> Arrays:
    from detr_jt import kernels

    result: Arrays = {}
    plainly = kernels.ours
    for way in ("kernels", "operations"):
        if way == "operations":
            kernels.ours = lambda *_: False
        for dtype in DTYPES:
            for index in range(len(PRODUCTS)):
                result |= {f"{way}/{dtype}/product/{index}/{k}": v for k, v in product(side, index, dtype).items()}
            for case in WEIGHTS:
                result |= {f"{way}/{dtype}/{case}/{k}": v for k, v in attended(side, case, dtype).items()}
            result |= {f"{way}/{dtype}/{k}": v for k, v in (update(dtype) | dropped(side, dtype)).items()}
        result |= {f"{way}/{k}": v for k, v in clipped().items()}
        if way == "kernels":
            result |= {f"{dtype}/relu": side.numpy(kernels.relu(side.array(relu_input(dtype)))) for dtype in DTYPES}
    kernels.ours = plainly
    return result | drawn() | {"held": np.array([held(trained) for trained in (False, False, True)])}


def held(trained: bool) -> int:
    """How many maps of their size there are in memory after a block of a ResNet, its input and output among them."""
    import jittor as jt

    from detr_jt.resnet import Bottleneck

    block = Bottleneck(16, 4, 1, 1, None)
    for weight in block.parameters() if not trained else ():
        weight.stop_grad()
    images = jt.array(np.ones((2, 16, 24, 24), np.float32)).stop_grad()
    y = block(images * 2)
    jt.sync_all(True)
    nodes = [node for node in jt.dump_all_graphs().nodes_info if node.startswith("Var") and ",24,24,]" in node]
    places = {node.split("[")[0].rstrip(")").rsplit(",", 1)[1] for node in nodes}
    del y
    return len(places - {"0"})


def product(side: Torch, index: int, dtype: str) -> Arrays:
    from detr_jt.kernels import product

    *leading, rows, columns, depth = (*PRODUCTS[index][0], *PRODUCTS[index][1:4])
    transposed = PRODUCTS[index][4]
    rng = np.random.default_rng([7, index])
    a = rng.standard_normal((*leading, rows, depth)).astype(dtype)
    b = rng.standard_normal((*leading, *((columns, depth) if transposed else (depth, columns)))).astype(dtype)
    pull = rng.standard_normal((*leading, rows, columns)).astype(dtype)
    x, y = side.leaf(a), side.leaf(b)
    z = product(x, y, transposed)
    dx, dy = side.gradients((z * side.array(pull)).sum(), [x, y])
    return {"a": a, "b": b, "pull": pull, "z": side.numpy(z), "da": dx, "db": dy}


def attended(side: Torch, case: str, dtype: str) -> Arrays:
    """Attention weights, their gradient, and those of rows that are not finite or have no key."""
    import jittor as jt

    from detr_jt.softmax import attention_weights

    scores, padding, pull = scores_of(case, dtype)
    x = side.leaf(scores)
    hide = None if padding is None else jt.array(padding)
    y = attention_weights(x, hide)
    gradient = side.gradients((y * side.array(pull)).sum(), [x])[0]
    # Infinite last, so that each row of queries has another fault.
    faulty = scores[:, :, :3].copy()
    faulty[0, 0, 0, 0], faulty[0, 0, 1, 0], faulty[0, 0, 2, :] = np.nan, np.inf, -np.inf
    broken = attention_weights(side.array(faulty), hide)
    none = attention_weights(side.array(scores), jt.array(np.ones((2, scores.shape[-1]), dtype=bool)))
    return {"y": side.numpy(y), "dx": gradient, "broken": side.numpy(broken), "none": side.numpy(none)}


def scores_of(case: str, dtype: str) -> tuple[Array, Array | None, Array]:
    """Scores, what of the keys is padding, and a gradient of the weights."""
    scale, queries, keys, padded = WEIGHTS[case]
    rng = np.random.default_rng([11, keys])
    scores = (scale * rng.standard_normal((2, 3, queries, keys))).astype(dtype)
    padding = np.zeros((2, keys), dtype=bool)
    padding[1, keys // 2 :] = True
    return scores, padding if padded else None, rng.standard_normal(scores.shape).astype(dtype)


def update(dtype: str) -> Arrays:
    """Three steps of AdamW on a parameter whose gradients span many orders of magnitude, each near its own."""
    import jittor as jt

    from detr_jt.optimizer import update

    first, gradients = update_inputs(dtype)
    p = jt.array(first, dtype=dtype).stop_grad()
    state: dict[str, Any] = {"step": 0.0, "exp_avg": jt.zeros_like(p), "exp_avg_sq": jt.zeros_like(p)}
    for gradient in gradients:
        update(p, jt.array(gradient, dtype=dtype), state, GROUP)
    return {"p": p.numpy(), "exp_avg": state["exp_avg"].numpy(), "exp_avg_sq": state["exp_avg_sq"].numpy()}


def update_inputs(dtype: str) -> tuple[Array, list[Array]]:
    """The parameter before the first step, and the gradients of three; not whole lines of the cache."""
    rng = np.random.default_rng(8)
    scale = 10.0 ** rng.integers(-12, 4, (70, 1003)) * rng.choice([-1, 1], (70, 1003))
    gradients = [(rng.uniform(0.5, 2, scale.shape) * scale).astype(dtype) for _ in range(3)]
    return rng.uniform(0.5, 2, scale.shape).astype(dtype), gradients


def dropped(side: Torch, dtype: str) -> Arrays:
    """Dropout after a ReLU, with a mask that is given."""
    import jittor as jt

    from detr_jt.layers import Dropout, ReLU

    rng = np.random.default_rng(9)
    layer = Dropout(0.25)
    keep = rng.random((40, 50)) > 0.25
    layer.keep = lambda _: jt.array(keep)
    values = rng.standard_normal((40, 50)).astype(dtype)
    values[0] = 0  # where the gradient of a ReLU is 0
    x = side.leaf(values)
    y = layer(ReLU()(x))
    gradient = side.gradients(((y + 1) ** 2).sum(), [x])[0]
    return {"dropped": side.numpy(y), "keep": keep, "gradient": gradient}


def relu_input(dtype: str) -> Array:
    """Values of both signs, of which every third is NaN and some are infinite; more than fill vectors evenly."""
    x = np.random.default_rng(12).standard_normal(75).astype(dtype)
    x[::3], x[1], x[2], x[4] = np.nan, np.inf, -np.inf, 0
    return x


def clipped() -> Arrays:
    """Gradients clipped by their common norm."""
    import jittor as jt

    from detr_jt.optimizer import AdamW, clip_grad_norm

    rng = np.random.default_rng(10)
    shapes = [(300, 401), (7,), (64, 3, 7, 7), (1,)]
    optimizer = AdamW([{"params": [(f"p{i}", jt.zeros(s)) for i, s in enumerate(shapes)], "lr": 1e-3}], 0.0)
    optimizer.param_groups[0]["grads"] = [jt.array(rng.standard_normal(s).astype(np.float32)) for s in shapes]
    norm = clip_grad_norm(optimizer, 0.1)
    grads = optimizer.param_groups[0]["grads"]
    return {"norm": norm.numpy()} | {f"clipped/{i}": grad.numpy() for i, grad in enumerate(grads)}


def drawn() -> Arrays:
    """Masks of two draws, and of the first again from the same seed."""
    import jittor as jt

    from detr_jt.kernels import draw

    result = {}
    for name, seed in (("first", 1), ("second", None), ("again", 1)):
        if seed is not None:
            jt.set_global_seed(seed)
        result[f"draw/{name}"] = draw((500, 400), 0.1).numpy()
    result["draw/all"], result["draw/none"] = draw((50,), 0.0).numpy(), draw((50,), 1.0).numpy()
    return result
