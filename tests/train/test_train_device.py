"""The training and prediction programs take a GPU where their framework can use one, unless told otherwise."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# What a package can use is asked of its framework; everything after the options is left out.
CODE = """
import importlib
from contextlib import nullcontext
package = {package!r}
processes = importlib.import_module(package + ".processes")
assert processes.available_device() == "cpu" or {gpu}
train, predict = (importlib.import_module(package + "." + name) for name in ("__main__", "predict"))
train.together = lambda device: nullcontext()
train.run = predict.run = lambda args: print("took", args.device)
from detr_common import predict as common
import weight_convert
weight_convert.read = lambda *_, **__: {{}}
for there in ("cpu", "cuda"):
    train.available_device = predict.available_device = lambda: there
    for words in ([], ["--device", "cpu"]):
        assert train.main(words) == predict.main(["a.jpg", "--resume", "a.pth", *words]) == 0
"""
FLOAT64 = """
import jittor
from detr_common.errors import InputError
from detr_common.options import default_args
jittor.get_device_count = lambda: 1
try:
    importlib.import_module(package).build_model(default_args(device="cuda", dtype="float64"))
except InputError as error:
    print("refused", error)
assert not jittor.flags.use_cuda
"""


@pytest.mark.parametrize("package", ["detr_pt", "detr_jt"])
def test_a_gpu_is_taken_where_there_is_one(package: str) -> None:
    gpu = Path("/dev/nvidia0").exists()
    process = subprocess.run(
        [sys.executable, "-c", CODE.format(package=package, gpu=gpu) + (FLOAT64 if package == "detr_jt" else "")],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr[-4000:]
    taken = [line.split()[1] for line in process.stdout.splitlines() if line.startswith("took")]
    refused = "refused --dtype float64: Jittor convolves none on a GPU; give --device cpu"
    assert (refused in process.stdout) == (package == "detr_jt")
    assert taken == ["cpu"] * 4 + ["cuda"] * 2 + ["cpu"] * 2
