import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

VARIABLES = (
    "JITTOR_HOME",
    "nvcc_path",
    "use_mkl",
    "log_silent",
    "cache_name",
    "python_config_path",
    "FIX_TORCH_ERROR",
    "cc_path",
    "debug",
    "CUDA_VISIBLE_DEVICES",
    "CONDA_PREFIX",
)
REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No variable of the developer's own, and a home that may be written."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("REAL_HOME", os.environ["HOME"])
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shared library as g++ makes it."""
    folder = tmp_path_factory.mktemp("library")
    source = folder / "small.cc"
    source.write_text('extern "C" int answer(int x) { static int calls[4096]; return ++calls[x & 7] + 42; }\n')
    subprocess.run(["g++", "-shared", "-fPIC", "-g", str(source), "-o", str(folder / "small.so")], check=True)
    subprocess.run(["g++", "-c", "-fPIC", "-g", str(source), "-o", str(folder / "small.o")], check=True)
    return folder / "small.so"


@pytest.fixture(scope="session")
def python() -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Run Python code in a process of its own, with the project importable."""

    def run(code: str, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, *(("-c", code) if code else ()), *arguments],
            env=os.environ | {"PYTHONPATH": str(REPOSITORY)} | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=900,
        )

    return run
