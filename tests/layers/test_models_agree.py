"""The layers rung on whole detectors: every tensor of every module, two photographs of unequal size."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from parity.frameworks.base import CRITERION
from parity.rungs import PORT, REFERENCE, RUNS

CONFIGURATIONS = {
    "R50": {},
    "R50-DC5": {"dilation": True},
    "R101": {"backbone": "resnet101"},
    "R18-learned-prenorm": {"backbone": "resnet18", "position_embedding": "learned", "pre_norm": True},
}


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_every_module_agrees(lab: Any, name: str, record_property: Any) -> None:
    job = lab.job(size=160, **CONFIGURATIONS[name])
    assert len({image.shape for image in job.images}) == 2, "padding masks must matter"
    verdict = lab.session.compare(job)
    figures = (
        f"{name}: {verdict.compared} tensors, {verdict.modules} modules, float64 {verdict.worst64:.2g}, "
        f"float32 ratio {verdict.worst_ratio:.2f}, single elements {verdict.worst_ratio_max:.2f}"
    )
    record_property("figures", figures)
    assert verdict, f"{figures}; first: {verdict.first_divergence}"
    assert verdict.worst64 <= 1e-12
    assert verdict.worst_ratio <= 2
    assert not verdict.missing and not verdict.unexpected and not verdict.idle


def test_all_modules_of_both_models_are_covered(lab: Any) -> None:
    job = lab.job(size=96, backbone="resnet18")
    verdict = lab.session.compare(job)
    workers = {framework: lab.session.workers[framework, "float64"] for framework in (REFERENCE, PORT)}
    assert workers[REFERENCE].modules == workers[PORT].modules, "names and order of all modules are the same"
    names = {judgement.name.removeprefix("forward/") for judgement in verdict.judgements}
    modules = [module for module in workers[PORT].modules if module.split(".")[0] != CRITERION]
    parents = {module.rpartition(".")[0] for module in modules}
    for module in modules:
        if module not in parents:
            assert any(name == module or name.startswith((f"{module}[", f"{module}.")) for name in names), module


def test_capture_changes_nothing(lab: Any) -> None:
    """Observer test: predictions and detections are bitwise equal with capture on and off, in all runs."""
    job = lab.job(size=128)
    lab.session.compare(job)
    captured = lab.session.captured_results()
    plain = lab.session.plain(job.images)
    for run in RUNS:
        results, _ = plain[run]
        assert results.keys() == captured[run].keys() and len(results) == 8
        for name, array in results.items():
            np.testing.assert_array_equal(array, captured[run][name], err_msg=f"{run} {name}")


def test_one_session_serves_one_job_after_another(lab: Any) -> None:
    first = lab.session.compare(lab.job(size=96, backbone="resnet18"))
    lab.session.compare(lab.job(size=96, backbone="resnet18", pre_norm=True))
    again = lab.session.compare(lab.job(size=96, backbone="resnet18"))
    assert json.dumps(first.as_dict()["tensors"]) == json.dumps(again.as_dict()["tensors"])


@pytest.mark.gpu
def test_every_module_agrees_on_cuda(lab: Any) -> None:
    """On CUDA the port is judged by the same bounds; docs/gpu.md has the one run there was, which failed."""
    verdict = lab.session.compare(lab.job(size=160, device="cuda"))
    assert verdict, verdict.first_divergence
