"""Ctrl-C ends a program, its readers and nothing else, and tells how to go on; a program that is killed leaves none."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command_lines import ROOT

from detr_common.coco import build_dataset
from detr_common.loader import Loader
from detr_common.options import training_args
from fixtures.coco import Drawn, write_coco

PACKAGES = [pytest.param("detr_pt", "pth", marks=pytest.mark.slow), pytest.param("detr_jt", "pkl")]
# What a reader knows of itself; slow, so that each of two has one to answer.
ASKED = (
    "(__import__('time').sleep(0.5), __import__('os').getpid(), "
    "getattr(__import__('sys').modules['__main__'], '__file__', ''), "
    "2 in __import__('signal').pthread_sigmask(0, []))"
)
READERS = """
import json, sys, time
from detr_common.coco import build_dataset
from detr_common.loader import Loader
from detr_common.options import training_args
if __name__ == "__main__":
    with Loader(build_dataset("train", training_args(coco_path=sys.argv[1])), 2, 2) as loader:
        print(json.dumps(list(loader._pool._processes)), flush=True)
        time.sleep(60)
"""


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shapes") / "coco"
    write_coco(folder, Drawn(train=9, val=3))
    return folder


@pytest.mark.parametrize(("package", "suffix"), PACKAGES)
def test_ctrl_c_ends_a_program_with_one_line(shapes: Path, tmp_path: Path, package: str, suffix: str) -> None:
    out = tmp_path / "out"
    words = f"-m {package} --coco_path {shapes} --output_dir {out} --num_workers 1 --image_size 96 --batch_size 2"
    words += " --backbone resnet18 --enc_layers 1 --dec_layers 1 --hidden_dim 32 --nheads 4"
    words += " --epochs 500 --lr_drop 500 --eval_every 0"
    with subprocess.Popen(
        [sys.executable, *words.split()],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:
        assert process.stderr is not None
        until = time.monotonic() + 120
        while not (out / f"checkpoint.{suffix}").exists() and time.monotonic() < until and process.poll() is None:
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)
        said = process.stderr.read()
        assert process.wait(30) == 130, said
    last = said.splitlines()[-1]
    assert last == f"interrupted; go on with --resume {out}/checkpoint.{suffix}" and "Traceback" not in said, said
    until = time.monotonic() + 20
    with pytest.raises(ProcessLookupError):
        while time.monotonic() < until:
            os.killpg(process.pid, 0)
            time.sleep(0.05)


def test_readers_leave_ctrl_c_to_others_and_import_no_framework(shapes: Path) -> None:
    dataset = build_dataset("train", training_args(coco_path=str(shapes)))
    with Loader(dataset, 2, 2) as loader:
        assert loader._pool is not None
        told = [one.result() for one in [loader._pool.submit(eval, ASKED) for _ in range(2)]]
        assert {pid for _, pid, *_ in told} == {child.pid for child in multiprocessing.active_children()}
        assert [rest for _, _, *rest in told] == [["", True]] * 2
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_readers_end_with_a_process_that_is_killed(shapes: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", READERS, str(shapes)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        readers = json.loads(process.stdout.readline())
        assert len(readers) == 2 and all(Path(f"/proc/{reader}").exists() for reader in readers)
        process.kill()
    until = time.monotonic() + 20
    while any(Path(f"/proc/{reader}").exists() for reader in readers):
        assert time.monotonic() < until, "they wait for what nobody will send"
        time.sleep(0.05)
