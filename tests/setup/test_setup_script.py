"""`.ci/setup` and the Makefile, tried with an interpreter and a compiler that only pretend."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]

# Answers what the script asks; making an environment copies this script into it.
PYTHON = """#!/bin/sh
echo "$(basename "$0") $*" | head -n 1 >> "$CALLS"
case "$*" in
*base_prefix*) [ ! -e "$NO_HEADERS" ] ;;
*version_info*) echo VERSION ;;
*ensurepip*) [ ! -e "$NO_VENV" ] ;;
*"-m venv --clear"*)
    for last; do :; done
    rm -rf "$last"; mkdir -p "$last/bin"; cp "$0" "$last/bin/python" ;;
*"-m pip install"*)
    [ ! -e "$NO_NETWORK" ] || { echo 'no network' >&2; exit 1; }
    case "$*" in *torch*) echo > "$TORCH_BEGUN"; [ ! -e "$NO_TORCH" ] || { echo 'no torch' >&2; exit 1; } ;; esac ;;
*jittor_ready*)
    # Waits for the installation that should go on beside it, if this is the first time.
    for _ in 1 2 3 4 5 6 7 8 9 10; do [ -e "$TORCH_BEGUN" ] || sleep 0.5; done
    [ -e "$TORCH_BEGUN" ] && echo "with torch" >> "$CALLS" ;;
esac
"""


class Machine:
    """A checkout in miniature, and a PATH on which only what the test put there is found."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.checkout = folder / "checkout"
        self.tools = folder / "tools"
        self.calls = folder / "calls"
        self.tools.mkdir()
        (self.checkout / ".ci").mkdir(parents=True)
        for name in (".ci/setup", "Makefile", "pyproject.toml"):
            shutil.copy(REPOSITORY / name, self.checkout / name)
        for name in (
            "sh",
            "echo",
            "cat",
            "cksum",
            "dirname",
            "basename",
            "head",
            "mkdir",
            "cp",
            "rm",
            "mv",
            "make",
            "find",
            "sleep",
        ):
            (self.tools / name).symlink_to(shutil.which(name) or name)
        self.add("g++", "#!/bin/sh\nwhile read -r line; do :; done\n")
        self.add_python("python3", "3.11")

    def add(self, name: str, script: str) -> None:
        (self.tools / name).unlink(missing_ok=True)
        (self.tools / name).write_text(script)
        (self.tools / name).chmod(0o755)

    def add_python(self, name: str, version: str) -> None:
        self.add(name, PYTHON.replace("VERSION", version))

    def run(self, *command: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        self.calls.write_text("")
        return subprocess.run(
            command or (".ci/setup",),
            cwd=self.checkout,
            env={
                "PATH": str(self.tools),
                "CALLS": str(self.calls),
                "NO_HEADERS": str(self.folder / "no-headers"),
                "NO_VENV": str(self.folder / "no-venv"),
                "NO_NETWORK": str(self.folder / "no-network"),
                "NO_TORCH": str(self.folder / "no-torch"),
                "TORCH_BEGUN": str(self.folder / "torch-begun"),
                **environment,
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def did(self, what: str) -> bool:
        return what in self.calls.read_text()

    @property
    def stamp(self) -> Path:
        return self.checkout / ".venv/.installed"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_fresh_checkout_is_set_up_once(machine: Machine) -> None:
    result = machine.run()
    assert result.returncode == 0, result.stderr
    assert machine.did("-m venv --clear .venv") and machine.did("-e .[torch,jittor,test,dev]")
    assert machine.did("-m detr_common.jittor_ready")
    assert machine.run().returncode == 0
    assert not machine.did("venv") and not machine.did("pip"), machine.calls.read_text()
    assert machine.did("-m detr_common.jittor_ready"), "Jittor's core may have been removed in the meantime"


def test_broken_off_installation_is_not_taken_for_finished(machine: Machine) -> None:
    (machine.folder / "no-network").touch()
    result = machine.run()
    assert result.returncode != 0 and "no network" in result.stderr and not machine.stamp.exists()
    (machine.folder / "no-network").unlink()
    assert machine.run().returncode == 0
    assert machine.did("pip install") and not machine.did("venv --clear"), "what was downloaded is kept"
    assert machine.stamp.exists()


def test_the_core_of_jittor_is_compiled_beside_the_rest(machine: Machine) -> None:
    (machine.folder / "no-torch").touch()
    result = machine.run()
    assert result.returncode != 0 and "no torch" in result.stderr and not machine.stamp.exists()
    assert "Waiting for Jittor's core" in result.stderr
    calls = machine.calls.read_text()
    assert calls.index("-e .[jittor]") < calls.index("-m detr_common.jittor_ready"), "not before Jittor is installed"
    assert calls.count("with torch") == 1, "it does not come to its end before pip goes on"
    assert "compileall" not in calls
    (machine.folder / "no-torch").unlink()
    assert machine.run().returncode == 0 and machine.stamp.exists()
    assert machine.calls.read_text().count("-m detr_common.jittor_ready") == 2, "asked again when all is installed"


def test_changed_dependencies_are_installed(machine: Machine) -> None:
    machine.run()
    project = machine.checkout / "pyproject.toml"
    project.write_text(project.read_text() + "# more\n")
    (machine.folder / "no-network").touch()
    assert machine.run().returncode != 0
    assert not machine.stamp.exists(), "the old stamp must not outlive a failed update"
    (machine.folder / "no-network").unlink()
    assert machine.run().returncode == 0 and machine.did("pip install") and not machine.did("venv --clear")


def test_environment_without_its_interpreter_is_made_again(machine: Machine) -> None:
    machine.run()
    (machine.checkout / ".venv/bin/python").unlink()
    assert machine.run().returncode == 0 and machine.did("venv --clear")


def test_interpreter_that_was_asked_for(machine: Machine) -> None:
    machine.run()
    machine.add_python("python3.12", "3.12")
    assert machine.run(PYTHON="python3.12").returncode == 0
    assert machine.did("python3.12 -m venv --clear")
    assert machine.run().returncode == 0 and not machine.did("venv"), "without the variable the environment stays"
    result = machine.run(PYTHON="python3.99")
    assert result.returncode != 0 and "tried: python3.99" in result.stderr and machine.stamp.exists()


def test_older_interpreter_beside_a_too_new_one(machine: Machine) -> None:
    machine.add_python("python3", "3.13")
    machine.add_python("python3.11", "3.11")
    assert machine.run().returncode == 0 and machine.did("python3.11 -m venv")


@pytest.mark.parametrize("version", ["3.9", "3.13", "2.7"])
def test_interpreter_that_does_not_fit(machine: Machine, version: str) -> None:
    machine.add_python("python3", version)
    result = machine.run()
    assert result.returncode != 0 and "missing: Python 3.10, 3.11 or 3.12" in result.stderr
    assert all(word in result.stderr for word in ("apt-get", "dnf", "conda", "PYTHON="))
    assert not (machine.checkout / ".venv").exists()


def test_everything_missing_is_listed_at_once(machine: Machine) -> None:
    (machine.folder / "no-venv").touch()
    (machine.folder / "no-headers").touch()
    (machine.tools / "g++").unlink()
    result = machine.run()
    assert result.returncode != 0 and not (machine.checkout / ".venv").exists()
    for what in ("missing: the venv module", "missing: g++", "missing: the headers"):
        assert what in result.stderr
    assert "apt-get install python3.11-dev" in result.stderr and "apt-get install python3.11-venv" in result.stderr


def test_compiler_that_cannot_compile(machine: Machine) -> None:
    machine.add("g++", "#!/bin/sh\nexit 1\n")
    assert "OpenMP" in machine.run().stderr


def test_index_for_pytorch(machine: Machine) -> None:
    assert machine.run(TORCH_INDEX="https://index.example/cpu").returncode == 0
    assert machine.did("--extra-index-url https://index.example/cpu -e")
    assert machine.run(TORCH_INDEX="https://index.example/cpu").returncode == 0 and not machine.did("pip")


def test_make_runs_the_set_up_and_then_its_own(machine: Machine) -> None:
    result = machine.run("make", "test", "ARGS=-k one")
    assert result.returncode == 0, result.stderr
    assert machine.did("-m pip install") and machine.did("-m not slow -k one")
    assert machine.run("make", "parity").returncode == 0 and machine.did("-m parity demo")
    assert machine.run("make", "parity", "PYTHON=python3.98").returncode != 0


def test_make_alone_explains_and_does_nothing(machine: Machine) -> None:
    result = machine.run("make")
    assert result.returncode == 0 and "make parity" in result.stdout and machine.calls.read_text() == ""


def test_clean_leaves_the_environment(machine: Machine) -> None:
    machine.run()
    for name in ("out", "parity/__pycache__", "build", ".venv/lib/__pycache__"):
        (machine.checkout / name).mkdir(parents=True)
    assert machine.run("make", "clean").returncode == 0
    assert not any((machine.checkout / name).exists() for name in ("out", "parity/__pycache__", "build"))
    assert machine.stamp.exists() and (machine.checkout / ".venv/lib/__pycache__").exists()


def test_scripts_can_be_run() -> None:
    for name in (".ci/run", ".ci/setup"):
        assert os.access(REPOSITORY / name, os.X_OK)
