import os
import shutil
from pathlib import Path

import pytest

from detr_common import jittor_cuda
from detr_common.jittor_cuda import fault_of, plan, visible_gpus

NAMES = ("cublas", "cudnn", "curand", "cufft", "cusparse")
PARTS = ("cudnn_ops_infer", "cudnn_ops_train", "cudnn_cnn_infer", "cudnn_cnn_train")


def make_toolkit(folder: Path, library: Path) -> Path:
    for name in ("bin", "lib64", "include"):
        (folder / name).mkdir(parents=True)
    (folder / "bin/nvcc").write_text("#!/bin/sh\necho release 11.8, V11.8.89\n")
    (folder / "bin/nvcc").chmod(0o755)
    for name in ("cudart", *NAMES, *PARTS):
        shutil.copy(library, folder / f"lib64/lib{name}.so")
    for name in NAMES:
        (folder / f"include/{name}.h").touch()
    return folder / "bin/nvcc"


@pytest.fixture
def nvcc(tmp_path: Path, library: Path) -> Path:
    return make_toolkit(tmp_path / "toolkit", library)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """A machine whose compilers, driver and devices the test chooses."""
    monkeypatch.setattr(jittor_cuda, "_USUAL_PLACES", ())

    def choose(*nvccs: Path, gpus: int = 1, driver: bool = True) -> Path:
        path = tmp_path / "path"
        path.mkdir()
        if driver:
            (path / "nvidia-smi").write_text("#!/bin/sh\n")
            (path / "nvidia-smi").chmod(0o755)
        monkeypatch.setenv("PATH", ":".join([*(str(nvcc.parent) for nvcc in nvccs[:1]), str(path)]))
        monkeypatch.setattr(jittor_cuda, "_USUAL_PLACES", tuple(map(str, nvccs[1:])))
        monkeypatch.setattr(jittor_cuda, "visible_gpus", lambda: [f"/dev/nvidia{index}" for index in range(gpus)])
        return Path.home() / ".cache/jittor"

    return choose


@pytest.mark.parametrize(("version", "used"), [(12090, True), (13000, False)])
def test_toolkit_that_jittor_does_not_compile_with_is_named(machine, nvcc: Path, version: int, used: bool) -> None:
    (nvcc.parent.parent / "include/cuda_runtime_api.h").write_text(f"#define CUDART_VERSION  {version}\n")
    decision = plan(machine(nvcc))
    assert decision.used is used
    assert used or "CUDA 13: Jittor's own CUDA sources compile with CUDA 11 and 12" in decision.reason


def test_whole_toolkit_and_a_gpu_are_used_as_jittor_finds_them(machine, nvcc: Path) -> None:
    decision = plan(machine(nvcc))
    assert decision.used and decision.nvcc is None and str(nvcc) in decision.reason


@pytest.mark.parametrize(
    ("spoil", "word"),
    [
        (lambda toolkit: (toolkit / "lib64/libcudart.so").unlink(), "libcudart.so cannot be loaded"),
        (lambda toolkit: os.truncate(toolkit / "lib64/libcudart.so", 700), "cut short"),
        (lambda toolkit: (toolkit / "include/cudnn.h").unlink(), "cudnn.h"),
        (lambda toolkit: (toolkit / "lib64/libcudnn_ops_infer.so").unlink(), "libcudnn_ops_infer.so"),
        (lambda toolkit: (toolkit / "lib64/libcusparse.so").unlink(), "libcusparse.so"),
    ],
)
def test_incomplete_toolkit_is_disabled_with_the_reason(machine, nvcc: Path, spoil, word: str) -> None:
    spoil(nvcc.parents[1])
    decision = plan(machine(nvcc))
    assert not decision.used and decision.nvcc == "" and word in decision.reason


def test_second_compiler_is_taken_where_the_first_is_incomplete(machine, nvcc: Path, tmp_path: Path, library) -> None:
    (nvcc.parents[1] / "lib64/libcudart.so").unlink()
    second = make_toolkit(tmp_path / "second", library)
    decision = plan(machine(nvcc, second))
    assert decision.used and decision.nvcc == str(second)


def test_link_to_the_compiler_is_followed(nvcc: Path, tmp_path: Path) -> None:
    link = tmp_path / "bin/nvcc"
    link.parent.mkdir()
    link.symlink_to(nvcc)
    assert fault_of(str(link)) is None


def test_wrapper_script_elsewhere_has_no_runtime(tmp_path: Path) -> None:
    wrapper = tmp_path / "bin/nvcc"
    wrapper.parent.mkdir()
    wrapper.write_text('#!/bin/sh\nexec /opt/toolkit/bin/nvcc "$@"\n')
    assert str(tmp_path / "lib64/libcudart.so") in (fault_of(str(wrapper)) or "")


def test_no_gpu_no_cuda(machine, nvcc: Path) -> None:
    decision = plan(machine(nvcc, gpus=0))
    assert not decision.used and decision.nvcc == "" and "no GPU" in decision.reason


def test_driver_without_compiler_downloads_nothing(machine) -> None:
    """Jittor would fetch a whole toolkit during the import."""
    decision = plan(machine(gpus=1))
    assert decision.nvcc == "" and "install_cuda" in decision.reason


def test_toolkit_that_jittor_fetched_is_used(machine) -> None:
    root = machine(gpus=1)
    fetched = root / "jtcuda/cuda12.2_cudnn8_linux/bin/nvcc"
    fetched.parent.mkdir(parents=True)
    fetched.touch()
    decision = plan(root)
    assert decision.used and decision.nvcc is None


def test_plain_machine_needs_nothing_set(machine) -> None:
    assert plan(machine(gpus=0, driver=False)).nvcc is None


@pytest.mark.parametrize(("own", "used"), [("", False), ("/my/nvcc", True)])
def test_own_variable_decides(machine, nvcc: Path, monkeypatch: pytest.MonkeyPatch, own: str, used: bool) -> None:
    root = machine(nvcc)
    monkeypatch.setenv("nvcc_path", own)
    decision = plan(root)
    assert decision.nvcc is None and decision.used is used and "set by you" in decision.reason


@pytest.mark.parametrize(("value", "count"), [("", 0), ("-1", 0), ("0", 1), (None, 1)])
def test_hidden_devices_are_not_visible(monkeypatch: pytest.MonkeyPatch, value: str | None, count: int) -> None:
    monkeypatch.setattr(jittor_cuda.glob, "glob", lambda pattern: ["/dev/nvidia0"] if "/dev/nvidia" in pattern else [])
    if value is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    assert len(visible_gpus()) == count
