import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGES = ("detr_common", "detr_jt", "detr_pt", "fixtures", "parity", "weight_convert")


@pytest.fixture
def skeleton(tmp_path: Path) -> Path:
    """The packages without their contents, under the project's own contracts."""
    shutil.copy(REPOSITORY / "pyproject.toml", tmp_path)
    for package in (*PACKAGES, "parity/frameworks", "parity/mutants"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").touch()
    return tmp_path


def lint(folder: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run(['--no-cache'])"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder), "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_what_is_allowed(skeleton: Path) -> None:
    (skeleton / "weight_convert/pth.py").write_text("def read():\n    import torch\n    return torch\n")
    (skeleton / "detr_jt/checkpoint.py").write_text("import jittor\nfrom weight_convert import pth\n")
    (skeleton / "detr_pt/model.py").write_text("import torch, torchvision\nfrom detr_common import options\n")
    (skeleton / "detr_common/options.py").write_text("import numpy\n")
    (skeleton / "parity/frameworks/jt.py").write_text("import jittor\nimport detr_jt.checkpoint\nimport detr_jt\n")
    (skeleton / "parity/frameworks/pt.py").write_text("import torch\nimport detr_pt.model\n")
    (skeleton / "parity/mutants/attention.py").write_text("import jittor\nimport detr_jt.checkpoint\n")
    (skeleton / "parity/cli.py").write_text("from parity import frameworks, mutants\nimport weight_convert.pth\n")
    result = lint(skeleton)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("detr_pt/model.py", "import jittor"),
        ("detr_pt/model.py", "import detr_jt"),
        ("detr_jt/model.py", "import torch"),
        ("detr_jt/model.py", "def late():\n    import torchvision"),
        ("detr_jt/model.py", "import detr_pt"),
        ("detr_common/model.py", "import torch"),
        ("detr_common/model.py", "import jittor"),
        ("fixtures/model.py", "import torchvision"),
        ("fixtures/model.py", "import detr_pt"),
        ("weight_convert/model.py", "import jittor"),
        ("parity/model.py", "import torch"),
        ("parity/model.py", "import jittor"),
        ("parity/model.py", "import detr_jt"),
        ("parity/mutants/model.py", "import torch"),
        ("parity/deep/model.py", "import detr_pt"),
    ],
)
def test_what_is_forbidden(skeleton: Path, file: str, line: str) -> None:
    (skeleton / file).parent.mkdir(exist_ok=True)
    (skeleton / file).parent.joinpath("__init__.py").touch()
    (skeleton / file).write_text(f"{line}\n")
    result = lint(skeleton)
    assert result.returncode == 1 and "BROKEN" in result.stdout, result.stdout + result.stderr
