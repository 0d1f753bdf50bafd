"""Products by weights in float32 are shared out among threads, and are the same as with one."""

from pathlib import Path

import numpy as np
import pytest
from array_scripts import CASES, JITTOR, outputs_of

# Rows, columns and sums: of linear layers of DETR, and some that cannot be shared out evenly or at all.
SHAPES = [
    (128, 256, 256),
    (200, 2048, 256),
    (200, 256, 2048),
    (1050, 256, 2048),
    (200, 92, 256),
    (600, 4, 256),
    (65, 130, 300),
    (7, 128, 33),
    (3, 1000, 17),
    (1, 129, 1),
]
PRODUCTS = """
outputs = {}
for name in [name[2:] for name in cases if name.startswith("x ")]:
    x, w = jt.array(cases["x " + name]), jt.array(cases["w " + name])
    outputs[name] = jt.nn.matmul_transpose(x, w).numpy()
"""


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    generator = np.random.default_rng(0)
    arrays = {}
    for rows, columns, sums in SHAPES:
        name = f"{rows} {columns} {sums}"
        arrays[f"x {name}"] = generator.standard_normal((rows, sums), dtype=np.float32)
        arrays[f"w {name}"] = generator.standard_normal((columns, sums), dtype=np.float32)
    path = tmp_path_factory.mktemp("products")
    np.savez(path / CASES, **arrays)
    return path


def test_products_are_right_and_the_same_with_two_threads(cases: Path) -> None:
    alone, shared = (outputs_of(JITTOR + PRODUCTS, cases, threads) for threads in (1, 2))
    given = np.load(cases / CASES)
    assert len(shared) == len(SHAPES)
    for name, product in shared.items():
        truth = given[f"x {name}"].astype(np.float64) @ given[f"w {name}"].astype(np.float64).T
        assert product.dtype == np.float32 and product.shape == truth.shape
        # Some 3e-7 with sums of 2048.
        assert np.sqrt(np.square(product - truth).mean() / np.square(truth).mean()) < 5e-7, name
        np.testing.assert_array_equal(product, alone[name], err_msg=name)
