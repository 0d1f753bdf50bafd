"""A process that answers messages (``parity.wire``) on two pipes; what it prints is kept in case it dies."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, TypeVar

from parity.nursery import Fork, Nursery
from parity.wire import Array, Disconnected, receive, send

_Process = TypeVar("_Process", bound="Process")


class WorkerError(RuntimeError):
    """A worker died, or the model under test raised; the message holds what it last said."""


def environment(threads: int | None) -> dict[str, str]:
    """Return the variables of a worker: those of this process, and others where it has none of that name.

    Args:
        threads: that it computes with; as many as there are processors if not given.
    """
    return {
        # Workers outnumber cores, so a thread that has nothing to do may spin for some microseconds, until the next
        # operation, but not for the milliseconds of GNU's default, which would be the time of another worker.
        "GOMP_SPINCOUNT": "10000",
        # Rounding to TF32 would hide what is compared on a GPU, in whichever framework.
        "NVIDIA_TF32_OVERRIDE": "0",
        **os.environ,
        **({"OMP_NUM_THREADS": str(threads)} if threads else {}),
    }


class Process:
    """The asking side; use as a context manager, with whose block the process ends.

    Args:
        label: by which messages name it.
        command: to which ``--requests`` and ``--answers`` are added, the ends of the pipes.
        threads: that it computes with; as many as there are processors if not given.
        nursery: which it is forked from, instead of being started.
    """

    def __init__(
        self, label: str, command: Sequence[str], threads: int | None = None, nursery: Nursery | None = None
    ) -> None:
        self.label = label
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        request_read, request_write = os.pipe()
        answer_read, answer_write = os.pipe()
        _widen(answer_read)
        self._process: subprocess.Popen[bytes] | Fork
        if nursery is not None:
            self._process = nursery.fork(request_read, answer_write, self._log.fileno())
        else:
            self._process = subprocess.Popen(
                [*command, "--requests", str(request_read), "--answers", str(answer_write)],
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=self._log,
                pass_fds=(request_read, answer_write),
                env=environment(threads),
                start_new_session=True,
            )
        os.close(request_read)
        os.close(answer_write)
        self._requests = os.fdopen(request_write, "wb", buffering=0)
        self._answers = os.fdopen(answer_read, "rb", buffering=0)

    def close(self) -> None:
        """End the process."""
        self._requests.close()
        self._answers.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.kill()
            self._process.wait()
        if isinstance(self._process, Fork):
            self._process.close()
        self._log.close()

    def kill(self) -> None:
        """End the process, and what it has started, at once; what it was asked for fails."""
        if isinstance(self._process, Fork):
            self._process.kill()
        elif self._process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def __enter__(self: _Process) -> _Process:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def _send(self, header: dict[str, Any], array: Array | None = None) -> None:
        try:
            send(self._requests, header, array)
        except BrokenPipeError:
            raise self._death() from None

    def _answer(self) -> tuple[dict[str, Any], Array | None]:
        try:
            return receive(self._answers)
        except Disconnected:
            raise self._death() from None

    def _death(self) -> WorkerError:
        code = self._process.wait()
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        self._log.seek(0)
        log = self._log.read()
        if not log and isinstance(self._process, Fork) and not self._process.told:
            self._process.nursery.log.seek(0)
            log = self._process.nursery.log.read()
        said = log.decode(errors="replace").strip().splitlines()[-30:]
        advice = "python -m parity doctor tells what is wrong with the installation"
        if code == -signal.SIGKILL:
            advice = "probably out of memory; try a smaller --size, fewer images or a smaller model"
        elif code == -signal.SIGTERM:
            advice = "something ended it; run the same command again"
        last = ["It last said:", *said] if said else ["It said nothing."]
        return WorkerError("\n".join([f"{self.label}: the worker {how}; {advice}.", *last]))


def _widen(pipe: int) -> None:
    """Let a pipe hold a megabyte where the system has a way to ask for it; tensors then need fewer switches."""
    widen = getattr(fcntl, "F_SETPIPE_SZ", None)
    if widen is not None:
        fcntl.fcntl(pipe, widen, 2**20)
