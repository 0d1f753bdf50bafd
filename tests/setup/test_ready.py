import dataclasses
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from detr_common import jittor_ready
from detr_common.errors import InputError
from detr_common.jittor_ready import decide, preserving_random_state, ready

REPORT = """
import json, os, sys, time
before = dict(os.environ)
from detr_common.jittor_ready import ready
first = ready()
start = time.perf_counter()
assert ready() is first
again = time.perf_counter() - start
changed = {name: value for name, value in os.environ.items() if before.get(name) != value}
frameworks = sorted({"torch", "jittor", "jittor_utils", "numpy"} & set(sys.modules))
print(json.dumps(dict(changed=changed, again=again, onednn=first.onednn.value, frameworks=frameworks,
                      cache=str(first.cache_path))))
"""


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    """Each test is a process that was not made ready yet, and leaves the variables as they were."""
    before = dict(os.environ)
    ready.cache_clear()
    yield
    ready.cache_clear()
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def without_jittor(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("jittor", "jittor_utils"):
        monkeypatch.delitem(sys.modules, name, raising=False)


def test_sets_what_was_decided_and_imports_no_framework(python) -> None:
    run = python(REPORT)
    assert run.returncode == 0, run.stderr
    said = json.loads(run.stdout)
    assert said["frameworks"] == []
    assert said["changed"]["log_silent"] == "1"
    assert said["changed"]["cache_name"] == "parity"
    assert said["changed"]["FIX_TORCH_ERROR"] == "0"
    assert ("use_mkl" in said["changed"]) == (said["onednn"] == "missing")
    assert said["again"] < 0.001
    assert not Path(said["cache"]).exists(), "only Jittor makes its cache"


def test_long_silence_is_announced(python, library: Path) -> None:
    run = python(REPORT)
    assert run.stderr.count("Jittor compiles its core") == 1
    core = Path(json.loads(run.stdout)["cache"]) / "jittor_core.so"
    core.parent.mkdir(parents=True)
    core.write_bytes(library.read_bytes())
    Path(f"{core}.key").write_text("key")
    assert python(REPORT).stderr == ""


def test_core_that_cannot_be_compiled_is_reported(python, tmp_path: Path) -> None:
    (tmp_path / "jittor.py").write_text("raise ImportError('no core')\n")
    path = f"{tmp_path}:{Path(jittor_ready.__file__).parents[1]}"
    run = python("from detr_common.jittor_ready import compile_core; raise SystemExit(compile_core())", PYTHONPATH=path)
    assert run.returncode == 1 and "no core" in run.stderr and "python -m parity doctor" in run.stderr


def test_own_variables_stay(python) -> None:
    own = {"log_silent": "0", "cache_name": "mine", "nvcc_path": "", "use_mkl": "1", "FIX_TORCH_ERROR": "1"}
    run = python(REPORT, **own)
    assert run.returncode == 0, run.stderr
    said = json.loads(run.stdout)
    assert said["changed"] == {}
    assert said["cache"].endswith("/mine")
    assert not (Path.home() / ".cache/jittor/mkl").exists()


def test_many_processes_at_once() -> None:
    started = [
        subprocess.Popen([sys.executable, "-c", REPORT], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(8)
    ]
    for process in started:
        output, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
        assert json.loads(output)["onednn"] in ("linked", "present")
    mkl = Path.home() / ".cache/jittor/mkl/dnnl_lnx_2.2.0_cpu_gomp"
    assert sorted(os.listdir(mkl)) == ["include", "lib"]


def test_deciding_changes_nothing(without_jittor: None) -> None:
    before = dict(os.environ)
    readiness = decide()
    assert dict(os.environ) == before and list(Path.home().iterdir()) == []
    assert readiness.environment["log_silent"] == "1" and not readiness.already_imported
    assert all(decision.value and decision.reason for decision in readiness.decisions.values())
    with pytest.raises(dataclasses.FrozenInstanceError):
        readiness.numpy = readiness.cache  # type: ignore[misc]


def test_cheap_enough_to_precede_every_import(without_jittor: None) -> None:
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        decide()
        best = min(best, time.perf_counter() - start)
    assert best < 0.2, "13 ms where it was written"


def test_missing_wheels_fall_back_to_slow_convolutions(without_jittor: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jittor_ready.jittor_onednn, "_prefixes", list)
    readiness = ready()
    assert readiness.onednn.value == "missing" and "slow" in readiness.onednn.reason
    assert os.environ["use_mkl"] == "0"


def test_failing_link_falls_back_too(without_jittor: None) -> None:
    root = Path.home() / ".cache/jittor"
    root.mkdir(parents=True)
    (root / "mkl").touch()
    readiness = ready()
    assert readiness.onednn.value == "missing" and readiness.environment["use_mkl"] == os.environ["use_mkl"] == "0"


def test_numpy_two_is_refused_before_anything_is_done(without_jittor: None, monkeypatch: pytest.MonkeyPatch) -> None:
    before = dict(os.environ)
    monkeypatch.setattr(jittor_ready.importlib.metadata, "version", lambda name: "2.1.3")
    assert "garbage" in decide().numpy.reason
    with pytest.raises(InputError, match=r"NumPy 2\.1\.3 is installed.*pip install 'numpy<2'"):
        ready()
    assert dict(os.environ) == before and list(Path.home().iterdir()) == []


def test_damaged_cache_is_refused_before_anything_is_done(without_jittor: None, library: Path) -> None:
    path = decide().cache_path
    assert path is not None
    path.mkdir(parents=True)
    core = path / "jit_utils_core.so"
    core.write_bytes(library.read_bytes()[:700])
    with pytest.raises(InputError, match="clean-cache"):
        ready()
    assert "log_silent" not in os.environ and not (Path.home() / ".cache/jittor/mkl").exists()
    core.write_bytes(library.read_bytes())
    assert ready().cache_path == path, "a failure must not be remembered"


def test_too_late_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    before = dict(os.environ)
    monkeypatch.setitem(sys.modules, "jittor", json)
    assert ready().already_imported
    assert dict(os.environ) == before and list(Path.home().iterdir()) == []


def test_headers_of_the_base_interpreter(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, without_jittor: None) -> None:
    """Jittor looks beside the environment's own python and in /usr; a self-built Python has its headers elsewhere."""
    own = tmp_path / f"base/bin/python3.{sys.version_info.minor}-config"
    own.parent.mkdir(parents=True)
    own.touch()
    monkeypatch.setattr(jittor_ready.os.path, "isfile", lambda path: str(path) == str(own))
    monkeypatch.setattr(jittor_ready.sys, "base_prefix", str(tmp_path / "base"))
    headers, variables = jittor_ready._decide_headers()
    assert headers.value == str(own) and variables == {"python_config_path": str(own)}
    own.unlink()
    monkeypatch.setattr(jittor_ready.os.path, "isfile", lambda path: False)
    assert jittor_ready._decide_headers()[0].value == "missing"


def test_random_state_is_given_back() -> None:
    random.seed(1)
    np.random.seed(1)
    expected = random.random(), np.random.rand()
    random.seed(1)
    np.random.seed(1)
    with preserving_random_state():
        random.seed(7)
        np.random.seed(7)
    assert (random.random(), np.random.rand()) == expected
    random.seed(1)
    with pytest.raises(KeyError), preserving_random_state():
        random.seed(7)
        raise KeyError
    assert random.random() == expected[0]


def test_import_of_jittor_as_a_user_has_it(python, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real thing, in the real cache: quiet, fast convolutions, no PyTorch, no new seeds."""
    code = """
import random, sys
import numpy as np
from detr_common.jittor_ready import preserving_random_state, ready
random.seed(5); np.random.seed(5)
readiness = ready()
with preserving_random_state():
    import jittor
drawn = (random.random(), float(np.random.rand()))
random.seed(5); np.random.seed(5)
assert drawn == (random.random(), float(np.random.rand())), "the import changed the seeds"
assert "torch" not in sys.modules
import jittor.compiler, jittor_utils
assert str(readiness.cache_path) == jittor_utils.cache_path, jittor_utils.cache_path
assert (jittor.mkl_ops is not None) == (readiness.onednn.value in ("present", "linked"))
print((jittor.ones((2, 2)) @ jittor.ones((2, 2))).numpy().tolist())
"""
    run = python(code, HOME=os.environ["REAL_HOME"])
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == "[[2.0, 2.0], [2.0, 2.0]]"
