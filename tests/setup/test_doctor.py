import dataclasses
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from detr_common.jittor_ready import Decision, decide
from parity import doctor as doctor_package
from parity.doctor import checks, doctor_command, imports, report
from parity.doctor.checks import Check

application = typer.Typer()
application.command("doctor")(doctor_command)
application.command("other")(lambda: None)


def run(*arguments: str, text: str | None = None):
    return CliRunner().invoke(application, ["doctor", *arguments], input=text)


@pytest.fixture
def fine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both frameworks import well; no process is started."""
    for name in ("check_torch", "check_jittor"):
        monkeypatch.setattr(report, name, lambda timeout: (Check("framework", "ok", "1.0"), []))


@pytest.fixture
def readiness():
    return decide()


def test_json_holds_decisions_and_checks(fine: None) -> None:
    result = run("--json")
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    assert said["ok"] is True and said["diagnoses"] == []
    assert set(said["ready"]) == {"nvcc", "onednn", "torch", "logs", "headers", "cache", "numpy"}
    names = {check["name"] for check in said["checks"]}
    assert names >= {"Python", "Python headers", "g++", "make", "OpenMP", "NumPy", "oneDNN", "CUDA", "Disk space"}
    assert said["cache_path"].startswith(os.environ["HOME"])


def test_table_without_colours(fine: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    result = run()
    assert result.exit_code == 0 and "\x1b" not in result.stdout
    assert "Decisions for Jittor" in result.stdout and "0 broken" in result.stdout


def test_broken_check_gives_exit_code_one_and_its_command(fine: None, monkeypatch: pytest.MonkeyPatch) -> None:
    command = "sudo apt-get install a-package-with-a-rather-long-name another-package-with-a-rather-long-name and-more"
    monkeypatch.setattr(checks, "check_make", lambda: Check("make", "broken", "no [make]", command))
    result = run()
    assert result.exit_code == 1
    assert command in result.stdout, "a command must not be wrapped"
    assert "no [make]" in result.stdout, "brackets are text"
    assert run("--json").exit_code == 1


def test_warning_is_no_failure(fine: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "check_make", lambda: Check("make", "warning", "old", "mend"))
    assert run().exit_code == 0


def test_failed_import_is_diagnosed(fine: None, monkeypatch: pytest.MonkeyPatch) -> None:
    log = "ImportError: /opt/libstdc++.so.6: version `GLIBCXX_3.4.30' not found (required by /x.so)"
    monkeypatch.setattr(imports, "run_python", lambda *_: imports.Outcome(None, "exit code 1", log))
    monkeypatch.setattr(report, "check_jittor", imports.check_jittor)
    result = run("--json")
    assert result.exit_code == 1
    said = json.loads(result.stdout)
    assert [diagnosis["name"] for diagnosis in said["diagnoses"]] == ["GLIBCXX not found"]
    assert said["checks"][-1]["mend"].startswith("conda install")
    assert "libstdcxx-ng" in run().stdout


def test_log_is_read_from_file_and_standard_input(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"\xff\xfe not utf-8\nRuntimeError: g++ not found\n")
    result = run("--log", str(log))
    assert result.exit_code == 1 and "g++ missing" in result.stdout and "sudo dnf install gcc-c++" in result.stdout
    assert run("--log", "-", text="OSError: [Errno 28] No space left on device").exit_code == 1
    said = json.loads(run("--log", str(log), "--json").stdout)
    assert said["diagnoses"][0]["evidence"] == "RuntimeError: g++ not found"
    log.write_text("all is well\n")
    result = run("--log", str(log))
    assert result.exit_code == 0 and "no known failure in 1 lines" in result.stdout


@pytest.mark.parametrize(
    "arguments",
    [["--log", "/no/such/file"], ["--log", "/"], ["--clean-cache", "--clean-all"], ["--bogus"], ["--timeout", "0"]],
)
def test_wrong_usage(arguments: list[str]) -> None:
    assert run(*arguments).exit_code == 2


def test_clean_commands(library: Path, readiness) -> None:
    path = readiness.cache_path
    (path / "jit").mkdir(parents=True)
    kernel = path / "jit/kernel_op.so"
    kernel.write_bytes(library.read_bytes()[:700])
    Path(f"{kernel}.key").write_text("key")
    result = run("--clean-cache")
    assert result.exit_code == 0 and f"removed {kernel}\n" in result.stdout
    assert not kernel.exists() and (path / "jit").exists()
    assert "nothing to remove" in run("--clean-cache").stdout
    result = run("--clean-all")
    assert result.exit_code == 0 and f"removed {path}\n" in result.stdout and not path.exists()


def test_unreadable_settings_are_one_line(fine: None) -> None:
    file = Path.home() / ".cache/jittor/config.json"
    file.parent.mkdir(parents=True)
    file.write_text("{")
    result = run()
    assert result.exit_code == 2 and "config.json" in result.stderr and "Traceback" not in result.output


@pytest.mark.parametrize(
    ("code", "ending"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "died of SIGSEGV"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGBUS)", "died of SIGBUS"),
        ("raise SystemExit(3)", "exit code 3"),
        ("print('hello')", "said nothing"),
    ],
)
def test_crash_of_a_framework_is_reported(code: str, ending: str) -> None:
    outcome = imports.run_python(code, 60)
    assert outcome.facts is None and outcome.ending == ending


def test_hanging_import_is_ended_with_all_it_started() -> None:
    code = "import subprocess, sys; print('started', flush=True); subprocess.run(['sleep', '600'])"
    start = time.monotonic()
    outcome = imports.run_python(code, 1)
    assert time.monotonic() - start < 30, "a child that holds the pipe open was left behind"
    assert "within 1 s" in outcome.ending and "started" in outcome.log


def test_hidden_reason_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def fake(code: str, timeout: float, environment: dict[str, str] | None = None) -> imports.Outcome:
        asked.append(environment)
        log = "version `GLIBCXX_3.4.30' not found" if environment else "    assert jit_utils.cc\nAssertionError"
        return imports.Outcome(None, "exit code 1", log)

    monkeypatch.setattr(imports, "run_python", fake)
    check, found = imports.check_jittor(60)
    assert asked == [None, {"log_silent": "0", "log_v": "1"}]
    assert check.status == "broken" and [diagnosis.name for diagnosis in found] == ["GLIBCXX not found"]


def test_headers(readiness, tmp_path: Path) -> None:
    config = tmp_path / "python3-config"

    def check(script: str) -> Check:
        config.write_text(f"#!/bin/sh\n{script}\n")
        config.chmod(0o755)
        return checks.check_headers(dataclasses.replace(readiness, headers=Decision(str(config), "")))

    assert check(f"echo -I{tmp_path}").status == "broken"
    assert check("exit 1").status == "broken"
    (tmp_path / "Python.h").touch()
    assert check(f"echo -I/nowhere -I{tmp_path}") == Check("Python headers", "ok", f"{tmp_path}/Python.h")
    gone = checks.check_headers(dataclasses.replace(readiness, headers=Decision("missing", "none")))
    assert gone.status == "broken" and gone.mend


def test_missing_tools(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert checks.check_compiler().status == "broken"
    assert checks.check_make().status == "warning"
    assert "dnf" in checks.check_compiler().mend and "apt-get" in checks.check_compiler().mend
    monkeypatch.setenv("CONDA_PREFIX", "/opt/conda")
    assert checks.check_compiler().mend == "conda install -c conda-forge gxx"


def test_numpy_and_python_versions(readiness) -> None:
    assert checks.check_numpy(readiness).status == "ok"
    assert checks.check_numpy(dataclasses.replace(readiness, numpy=Decision("2.0.1", ""))).status == "broken"
    assert checks.check_numpy(dataclasses.replace(readiness, numpy=Decision("missing", ""))).status == "broken"
    assert checks.check_python((3, 12)).status == "ok"
    assert checks.check_python((3, 13)).status == "warning"


def test_openmp(monkeypatch: pytest.MonkeyPatch) -> None:
    assert checks.check_openmp().status == "ok"
    monkeypatch.setattr(checks.ctypes.util, "find_library", lambda name: None)
    assert checks.check_openmp().status == "broken"


@pytest.mark.parametrize(("free", "status"), [(1 << 20, "broken"), (1 << 30, "warning"), (1 << 40, "ok")])
def test_disk_space(readiness, monkeypatch: pytest.MonkeyPatch, free: int, status: str) -> None:
    monkeypatch.setattr(checks.shutil, "disk_usage", lambda path: type("Usage", (), {"free": free}))
    assert checks.check_disk(readiness).status == status


def test_gpu_that_jittor_cannot_use_is_a_warning(readiness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks.jittor_cuda, "candidates", lambda: ["/fake/bin/nvcc"])
    monkeypatch.setattr(checks.jittor_cuda, "visible_gpus", lambda: ["/dev/nvidia0"])
    disabled = dataclasses.replace(readiness, nvcc=Decision("disabled", "why"))
    check = checks.check_cuda(disabled)
    assert check.status == "warning" and "/fake/lib64/libcudart.so" in check.found
    assert checks.check_cuda(dataclasses.replace(readiness, nvcc=Decision("used", "why"))).status == "ok"
    monkeypatch.setattr(checks.jittor_cuda, "visible_gpus", list)
    assert checks.check_cuda(disabled).status == "ok"


def test_missing_onednn_is_a_warning(readiness) -> None:
    missing = dataclasses.replace(readiness, onednn=Decision("missing", "no wheels"))
    assert checks.check_onednn(missing).status == "warning"


def test_cache_check(readiness, library: Path) -> None:
    assert "empty" in checks.check_cache(readiness).found
    core = readiness.cache_path / "jittor_core.so"
    core.parent.mkdir(parents=True)
    core.write_bytes(library.read_bytes()[:700])
    Path(f"{core}.key").write_text("key")
    check = checks.check_cache(readiness)
    assert check.status == "broken" and str(core) in check.found and "--clean-cache" in check.mend
    assert checks.check_cache(dataclasses.replace(readiness, cache_path=None)).status == "warning"


def test_real_examination_from_the_command_line(python) -> None:
    """Both frameworks, really imported, each in a process of its own."""
    run = subprocess.run(
        [sys.executable, "-m", "parity.doctor", "--json"],
        env=os.environ | {"HOME": os.environ["REAL_HOME"]},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )
    said = json.loads(run.stdout)
    assert run.returncode == 0, [check for check in said["checks"] if check["status"] == "broken"]
    found = {check["name"]: check["found"] for check in said["checks"]}
    assert found["PyTorch"].startswith("torch 2.") and found["Jittor"].startswith("jittor 1.3.")
    assert doctor_package.diagnose(run.stderr) == []
