"""A process that has imported a framework and nothing more, from which workers are forked.

To import PyTorch takes longer than to run a small model, and a comparison has three or four workers of it. Not for
Jittor: its forks would share one lock on the cache of kernels and compile into it at the same time.
"""

from __future__ import annotations

import contextlib
import os
import random
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

import numpy as np

# A fork's identifier, as the nursery tells it.
_PID = struct.Struct("q")


def forks(framework: str) -> bool:
    """Return whether workers of a framework are forked here: those of PyTorch, where Linux tells how a fork ended."""
    return framework == "torch" and sys.platform == "linux" and hasattr(os, "pidfd_open")


class Nursery:
    """The asking side; use as a context manager. It ends with the block, forks that are left do not.

    Args:
        command: to which ``--nursery`` is added, the end of a socket.
        environment: its variables, and those of its forks.
    """

    def __init__(self, command: Sequence[str], environment: dict[str, str]) -> None:
        self.log = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        self._socket, theirs = socket.socketpair()
        self.process = subprocess.Popen(
            [*command, "--nursery", str(theirs.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
            pass_fds=(theirs.fileno(),),
            env=environment,
            start_new_session=True,
        )
        theirs.close()
        self._untold: list[Fork] = []

    def fork(self, requests: int, answers: int, log: int) -> Fork:
        """Ask for a fork, which begins as soon as the framework is imported.

        Args:
            requests: end of a pipe that it reads from.
            answers: end of a pipe that it writes to.
            log: file for what it prints.
        """
        fork = Fork(self)
        # Where the nursery has died, the fork's pipes are at their end, as those of a worker that has died are.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            socket.send_fds(self._socket, [b"f"], [requests, answers, log])
        self._untold.append(fork)
        return fork

    def tell(self, fork: Fork) -> None:
        """Wait until a fork's identifier is known, or the nursery has died without making it."""
        while fork in self._untold:
            told = b""
            with contextlib.suppress(ConnectionResetError):
                told = self._socket.recv(_PID.size, socket.MSG_WAITALL)
            if len(told) < _PID.size:
                self._untold.clear()
            else:
                self._untold.pop(0).told = _PID.unpack(told)[0]

    def close(self) -> None:
        """End the process."""
        self._socket.close()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.log.close()

    def __enter__(self) -> Nursery:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()


class Fork:
    """What ``subprocess.Popen`` is for a child, for a nursery's.

    Attributes:
        told: its identifier, as soon as it has been asked for.
    """

    def __init__(self, nursery: Nursery) -> None:
        self.nursery = nursery
        self.told: int | None = None

    @property
    def pid(self) -> int:
        """Its identifier; 0 where the nursery died first."""
        self.nursery.tell(self)
        return self.told or 0

    def poll(self) -> int | None:
        """Return how it ended, as ``Popen.poll`` does, or None."""
        if not self.pid:
            return self.nursery.process.wait()
        try:
            # Nobody waits for it but the nursery, which does not, so that this is told as long as the nursery lives.
            fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return 1
        if fields[0] not in "ZX":
            return None
        status = int(fields[49])
        return -(status & 0x7F) if status & 0x7F else status >> 8

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it has ended, as ``Popen.wait`` does.

        Raises:
            subprocess.TimeoutExpired: it did not in `timeout` seconds.
        """
        until = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            left = None if until is None else until - time.monotonic()
            if left is not None and left <= 0:
                raise subprocess.TimeoutExpired(f"worker {self.pid}", timeout or 0)
            with contextlib.suppress(ProcessLookupError):
                end = os.pidfd_open(self.pid)
                try:
                    # It may be told here a moment before /proc has how it ended.
                    if select.select([end], [], [], left)[0]:
                        time.sleep(0.001)
                finally:
                    os.close(end)
        return code


def nurse(control: socket.socket, serve: Callable[[int, int], None]) -> None:
    """Be a nursery: fork when it is asked for, until nobody can ask any more.

    Args:
        control: on which forks are asked for.
        serve: what a fork does with the ends of its pipes.
    """
    while True:
        asked, ends, *_ = socket.recv_fds(control, 1, 3)
        if not asked:
            return
        pid = os.fork()
        if not pid:
            break
        for end in ends:
            os.close(end)
        # Here as well, so that it has a group of its own before anyone can want to end that.
        with contextlib.suppress(OSError):
            os.setpgid(pid, pid)
        control.sendall(_PID.pack(pid))
    control.close()
    os.setpgid(0, 0)
    requests, answers, log = ends
    for standard in (1, 2):
        os.dup2(log, standard)
    os.close(log)
    # What is drawn without a seed would be the same in all forks, and a model that does so seem repeatable. PyTorch
    # begins with one seed in every process.
    random.seed()
    np.random.seed()
    serve(requests, answers)
