"""Products by weights in float32 are shared out among threads, and are the same as with one."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

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
JITTOR = """
import sys
import numpy as np
from detr_common.jittor_ready import ready
ready()
import jittor as jt
from detr_common import jittor_convolution, jittor_headers
jittor_headers.use(jt)
assert jittor_convolution.use(jt), "not used"
cases = np.load(sys.argv[1])
outputs = {}
for name in [name[2:] for name in cases if name.startswith("x ")]:
    x, w = jt.array(cases["x " + name]), jt.array(cases["w " + name])
    outputs[name] = jt.nn.matmul_transpose(x, w).numpy()
np.savez(sys.argv[2], **outputs)
"""


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    generator = np.random.default_rng(0)
    arrays = {}
    for rows, columns, sums in SHAPES:
        name = f"{rows} {columns} {sums}"
        arrays[f"x {name}"] = generator.standard_normal((rows, sums), dtype=np.float32)
        arrays[f"w {name}"] = generator.standard_normal((columns, sums), dtype=np.float32)
    path = tmp_path_factory.mktemp("products") / "cases.npz"
    np.savez(path, **arrays)
    return path


def products(cases: Path, threads: int) -> dict[str, np.ndarray]:
    out = cases.parent / f"{threads}.npz"
    run = subprocess.run(
        [sys.executable, "-c", JITTOR, cases, out],
        env=os.environ | {"HOME": os.environ["REAL_HOME"], "OMP_NUM_THREADS": str(threads)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    return dict(np.load(out))


def test_products_are_right_and_the_same_with_two_threads(cases: Path) -> None:
    alone, shared = products(cases, 1), products(cases, 2)
    given = np.load(cases)
    assert len(shared) == len(SHAPES)
    for name, product in shared.items():
        truth = given[f"x {name}"].astype(np.float64) @ given[f"w {name}"].astype(np.float64).T
        assert product.dtype == np.float32 and product.shape == truth.shape
        # Some 3e-7 with sums of 2048.
        assert np.sqrt(np.square(product - truth).mean() / np.square(truth).mean()) < 5e-7, name
        np.testing.assert_array_equal(product, alone[name], err_msg=name)
