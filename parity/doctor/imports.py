"""Importing each framework in a process of its own, where it may crash or hang without harm."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field

from parity.doctor.checks import Check
from parity.doctor.diagnosis import Diagnosis, diagnose

_MARK = "parity-doctor:"
_TORCH = f"""
import json, torch, torchvision
device = torch.cuda.get_device_name(0) if torch.cuda.is_available() else ""
print("{_MARK}" + json.dumps(dict(torch=torch.__version__, torchvision=torchvision.__version__, gpu=device)))
"""
_JITTOR = f"""
import json
from detr_common.jittor_ready import ready
ready()
import jittor
from detr_common import jittor_convolution, jittor_headers
headers = "compiled before" if jittor_headers.use(jittor) else "parsed for each kernel"
convolutions = "as in PyTorch" if jittor_convolution.use(jittor) else "Jittor's own choice"
product = jittor.array([[1.0, 2.0], [3.0, 4.0]]) @ jittor.array([[1.0, 0.0], [0.0, 1.0]])
assert product.numpy().tolist() == [[1.0, 2.0], [3.0, 4.0]], "a matrix product came out wrong: %r" % (product,)
found = dict(jittor=jittor.__version__, onednn=jittor.mkl_ops is not None, cuda=bool(jittor.has_cuda),
             headers=headers, convolutions=convolutions)
print("{_MARK}" + json.dumps(found))
"""


@dataclass(frozen=True)
class Outcome:
    """What came of a process.

    Attributes:
        facts: what it reported; None where it did not come so far.
        ending: how it ended, in words; empty where it ended well.
        log: everything it printed.
    """

    facts: dict[str, object] | None
    ending: str
    log: str = field(repr=False)


def run_python(code: str, timeout: float, environment: dict[str, str] | None = None) -> Outcome:
    """Run Python code in a process of its own and wait for it.

    Args:
        code: the source; it reports by printing the mark and JSON on one line.
        timeout: in seconds; then the process and all it started are ended.
        environment: variables added to this process's.
    """
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=os.environ | (environment or {}),
        text=True,
        errors="replace",
        start_new_session=True,
    )
    ending = ""
    try:
        log, _ = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        log, _ = process.communicate()
        return Outcome(None, f"did not end within {timeout:g} s", log)
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise
    if process.returncode < 0:
        ending = f"died of {signal.Signals(-process.returncode).name}"
    elif process.returncode > 0:
        ending = f"exit code {process.returncode}"
    lines = [line for line in log.splitlines() if line.startswith(_MARK)]
    facts = json.loads(lines[-1][len(_MARK) :]) if lines and not ending else None
    return Outcome(facts, ending or ("" if facts is not None else "said nothing"), log)


def _last_line(log: str) -> str:
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    return lines[-1] if lines else "no output"


def _check(name: str, outcome: Outcome, missing: str) -> tuple[Check, list[Diagnosis]]:
    if outcome.facts is not None:
        text = ", ".join(f"{key} {value}" for key, value in outcome.facts.items() if value != "")
        return Check(name, "ok", text), []
    findings = diagnose(f"{outcome.log}\n{outcome.ending}")
    mend = findings[0].commands[0] if findings else missing
    return Check(name, "broken", f"{outcome.ending}: {_last_line(outcome.log)}", mend), findings


def check_torch(timeout: float) -> tuple[Check, list[Diagnosis]]:
    """Import PyTorch and torchvision in a process of their own.

    Args:
        timeout: in seconds.
    """
    return _check("PyTorch", run_python(_TORCH, timeout), "pip install torch torchvision")


def check_jittor(timeout: float) -> tuple[Check, list[Diagnosis]]:
    """Import Jittor in a process of its own and let it compile and run a matrix product.

    Args:
        timeout: in seconds; a first import compiles Jittor's core.
    """
    outcome = run_python(_JITTOR, timeout)
    if outcome.facts is None and "assert jit_utils.cc" in outcome.log:
        # Jittor hides why its first library does not load unless asked.
        outcome = run_python(_JITTOR, timeout, {"log_silent": "0", "log_v": "1"})
    return _check("Jittor", outcome, "log_silent=0 python -c 'import detr_jt'   # and read what it prints")
