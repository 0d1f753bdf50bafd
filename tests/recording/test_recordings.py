"""Recordings give the verdict that live workers give, and what does not belong together is refused."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from recorded_example import EXAMPLE, described

from detr_common.errors import InputError
from parity.recording.bisect import bisect
from parity.recording.jobs import record_port
from parity.recording.layout import FILE, read_recording
from parity.recording.replay import compare_recordings

Folders = tuple[Path, Path]


@pytest.fixture
def copied(recordings: Folders, tmp_path: Path) -> Folders:
    for folder in recordings:
        shutil.copytree(folder, tmp_path / folder.name)
    return tmp_path / "torch", tmp_path / "jittor"


def figures(verdict: Any) -> dict[str, Any]:
    return {
        one.rung: (one.compared, getattr(one, "worst64", None), getattr(one, "worst_ratio", None), bool(one))
        for one in verdict.verdicts
    }


def test_recordings_give_the_figures_of_live_workers(recordings: Folders, parity: Any) -> None:
    port = described()
    port.free = 3
    recorded, live = figures(compare_recordings(*recordings)), figures(parity.compare(port))
    assert recorded.keys() == live.keys()
    for rung, (compared, *errors, passed) in recorded.items():
        assert (compared, passed) == (live[rung][0], live[rung][-1])
        # The products of PyTorch's library are not the same to the last bit in every process.
        assert errors == [value if value is None else pytest.approx(value, rel=0.5) for value in live[rung][1:-1]], rung


def test_the_order_of_the_folders_does_not_matter(recordings: Folders) -> None:
    assert compare_recordings(recordings[1], recordings[0])


def test_comparing_needs_neither_framework(recordings: Folders) -> None:
    code = (
        "import sys\n"
        "for name in ('torch', 'jittor'): sys.modules[name] = None\n"
        "from parity.cli import main\n"
        f"sys.argv = ['parity', 'compare', {str(recordings[0])!r}, {str(recordings[1])!r}]\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "✓ PASS  steps" in done.stdout


def test_two_of_one_framework_cannot_be_compared(recordings: Folders) -> None:
    with pytest.raises(InputError, match="both are recordings of torch"):
        compare_recordings(recordings[0], recordings[0])


def test_a_trace_of_another_recording_is_refused(copied: Folders) -> None:
    torch, jittor = copied
    shutil.rmtree(jittor / "layers/float64")
    shutil.copytree(torch / "layers/float64", jittor / "layers/float64")
    with pytest.raises(InputError, match="stale or mixed"):
        compare_recordings(torch, jittor)


def test_a_reference_that_was_recorded_again_is_refused(copied: Folders) -> None:
    torch, jittor = copied
    path = torch / FILE
    content = json.loads(path.read_text(encoding="utf8"))
    content["environment"]["torch"] = "another"
    path.write_text(json.dumps(content), encoding="utf8")
    with pytest.raises(InputError, match="followed another recording"):
        compare_recordings(torch, jittor)


def test_other_inputs_are_refused(copied: Folders) -> None:
    torch, jittor = copied
    path = jittor / FILE
    content = json.loads(path.read_text(encoding="utf8"))
    content["same"]["inputs"] = []
    path.write_text(json.dumps(content), encoding="utf8")
    with pytest.raises(InputError, match="other inputs"):
        compare_recordings(torch, jittor)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"traces": {"../../etc": "x"}}, "outside of the recording"),
        ({"traces": {"/etc": "x"}}, "outside of the recording"),
        ({"framework": "numpy"}, "no such framework"),
        ({"modules": "all"}, "modules is no list"),
        ({"format": 99}, "another format"),
        ({"surplus": 1}, "damaged"),
    ],
)
def test_a_hostile_recording_is_refused(copied: Folders, change: dict[str, Any], message: str) -> None:
    path = copied[1] / FILE
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf8")), **change}), encoding="utf8")
    with pytest.raises(InputError, match=message):
        read_recording(copied[1])


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000, "null", '{"format": 1}'])
def test_a_file_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text, encoding="utf8")
    with pytest.raises(InputError):
        read_recording(tmp_path)


def test_a_folder_without_the_last_file_is_no_recording(copied: Folders) -> None:
    (copied[0] / FILE).unlink()
    with pytest.raises(InputError, match="no complete recording"):
        compare_recordings(*copied)


def test_jittor_needs_something_to_follow(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="record PyTorch first"):
        record_port(described(), "jittor", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_that_holds_something_is_not_written_to(recordings: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("parity.recording.jobs.Starting", None)  # no process is started for it
    with pytest.raises(InputError, match="not an empty folder"):
        record_port(described(), "torch", recordings[0])


def test_a_recording_to_follow_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("parity.recording.jobs.Starting", None)  # no process is started for it
    with pytest.raises(InputError, match="nowhere: no such folder; name one that parity record has made"):
        record_port(described(), "jittor", tmp_path / "out", tmp_path / "nowhere")
    assert not (tmp_path / "out").exists()


def test_bisect_of_faithful_recordings_finds_nothing(recordings: Folders) -> None:
    parting = bisect(*recordings)
    assert parting
    assert parting.compared == 48


def test_bisect_names_module_and_operation(recordings: Folders, tmp_path: Path) -> None:
    right = (EXAMPLE / "vit_jittor.py").read_text(encoding="utf8")
    faulty = tmp_path / "vit_jittor.py"
    faulty.write_text(right.replace("* self.scale, dim=-1", "* self.scale * 1.001, dim=-1"), encoding="utf8")
    record_port(described(str(faulty)), "jittor", tmp_path / "out", recordings[0], ["layers"], operations=True)
    for trusted in recordings:  # against the reference, and against an earlier recording of the port itself
        parting = bisect(trusted, tmp_path / "out")
        assert parting.module == "blocks.0.attn"
        assert parting.operation.startswith("mul (vit_jittor.py:")
    assert not compare_recordings_safely(recordings[0], tmp_path / "out")


def compare_recordings_safely(first: Path, second: Path) -> bool:
    """Whether a comparison passes; another set of rungs is refused, which is no pass either."""
    try:
        return bool(compare_recordings(first, second))
    except InputError:
        return False
