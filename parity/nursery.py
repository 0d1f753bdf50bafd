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
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

import numpy as np

# A fork's identifier, as the nursery tells it.
_PID = struct.Struct("q")


def forks(framework: str) -> bool:
    """Return whether workers of a framework are forked here: those of PyTorch, where Linux tells how a fork ended."""
    if framework != "torch" or sys.platform != "linux" or not hasattr(os, "pidfd_open"):
        return False
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError:  # a kernel without it
        return False
    return True


class Nursery:
    """The asking side; use as a context manager. It ends with the block, forks that are left do not.

    Args:
        command: to which ``--nursery`` is added, the end of a socket.
        environment: its variables, and those of its forks.
    """

    def __init__(self, command: Sequence[str], environment: dict[str, str]) -> None:
        self.log = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        self._socket, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(
                [*command, "--nursery", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=self.log,
                stderr=self.log,
                pass_fds=(theirs.fileno(),),
                env=environment,
                start_new_session=True,
            )
        # Forks are told of in the order in which they were asked for, to threads that read what they send.
        self._lock = threading.Lock()
        self._untold: list[Fork] = []

    @property
    def lives(self) -> bool:
        """Whether it can still fork."""
        return self.process.poll() is None

    def fork(self, requests: int, answers: int, log: int) -> Fork:
        """Ask for a fork, which begins as soon as the framework is imported.

        Args:
            requests: end of a pipe that it reads from.
            answers: end of a pipe that it writes to.
            log: file for what it prints.
        """
        fork = Fork(self)
        with self._lock:
            # Where the nursery has died, the fork's pipes are at their end, as those of a worker that has died are.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                socket.send_fds(self._socket, [b"f"], [requests, answers, log])
            self._untold.append(fork)
        return fork

    def tell(self, fork: Fork, until: float | None) -> bool:
        """Wait until a fork has been told its identifier, 0 where there is none.

        Args:
            fork: of this nursery.
            until: when to give up, by the clock ``time.monotonic``.

        Returns:
            Whether it has.
        """
        if not self._lock.acquire(timeout=-1 if until is None else max(0.0, until - time.monotonic())):
            return fork.told is not None
        try:
            while fork.told is None:
                if not _readable(self._socket.fileno(), until):
                    return False
                told = b""
                with contextlib.suppress(ConnectionResetError):
                    told = self._socket.recv(_PID.size, socket.MSG_WAITALL)
                if len(told) < _PID.size:
                    for one in self._untold:
                        one.is_told(0)
                    self._untold.clear()
                else:
                    self._untold.pop(0).is_told(_PID.unpack(told)[0])
        finally:
            self._lock.release()
        return True

    def kill(self) -> None:
        """End it at once."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def close(self) -> None:
        """End the process."""
        self._socket.close()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.kill()
            self.process.wait()
        self.log.close()

    def __enter__(self) -> Nursery:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()


class Fork:
    """What ``subprocess.Popen`` is for a child, for a nursery's.

    Attributes:
        nursery: which it is forked from.
        told: its identifier, once it is known; 0 where it was not made.
    """

    def __init__(self, nursery: Nursery) -> None:
        self.nursery = nursery
        self.told: int | None = None
        # Of this very process: another may have its number some day.
        self._end: int | None = None

    def is_told(self, pid: int) -> None:
        """Take the identifier."""
        if pid:
            with contextlib.suppress(ProcessLookupError):
                self._end = os.pidfd_open(pid)
        self.told = pid

    @property
    def pid(self) -> int:
        """Its identifier, which is waited for; 0 where it was not made."""
        self.nursery.tell(self, None)
        return self.told or 0

    def poll(self) -> int | None:
        """Return how it ended, as ``Popen.poll`` does, or None."""
        return self._ended(time.monotonic())

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it has ended, as ``Popen.wait`` does.

        Raises:
            subprocess.TimeoutExpired: it did not in `timeout` seconds.
        """
        code = self._ended(None if timeout is None else time.monotonic() + timeout)
        if code is None:
            raise subprocess.TimeoutExpired(f"worker {self.told}", timeout or 0)
        return code

    def kill(self) -> None:
        """End it, and what it has started, at once."""
        if self.told is None:
            self.nursery.kill()
        elif self._end is not None and not _readable(self._end, time.monotonic()):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.told, signal.SIGKILL)

    def close(self) -> None:
        """Forget it."""
        if self._end is not None:
            os.close(self._end)
            self._end = None

    def _ended(self, until: float | None) -> int | None:
        if not self.nursery.tell(self, until):
            return None
        if not self.told:
            # The nursery has ended, or lives and could make no process.
            with contextlib.suppress(subprocess.TimeoutExpired):
                return self.nursery.process.wait(timeout=1) or 1
            return 1
        if self._end is not None and not _readable(self._end, until):
            return None
        for _ in range(100):
            try:
                # Nobody waits for it but the nursery, which does not, so that this is told while the nursery lives.
                fields = Path(f"/proc/{self.told}/stat").read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                break
            if fields[0] in "ZX":
                status = int(fields[49])
                return -(status & 0x7F) if status & 0x7F else status >> 8
            time.sleep(0.001)  # it has ended a moment before /proc has it so
        return 1


def _readable(descriptor: int, until: float | None) -> bool:
    waiting = select.poll()
    waiting.register(descriptor, select.POLLIN)
    return bool(waiting.poll(None if until is None else max(0.0, until - time.monotonic()) * 1000))


def nurse(control: socket.socket, serve: Callable[[int, int], None]) -> None:
    """Be a nursery: fork when it is asked for, until nobody can ask any more.

    Forks have in common what was decided at the start of Python: the order of sets of strings.

    Args:
        control: on which forks are asked for.
        serve: what a fork does with the ends of its pipes.
    """
    while True:
        asked, ends, *_ = socket.recv_fds(control, 1, 3)
        if not asked:
            return
        try:
            pid = os.fork()
        except OSError as error:
            os.write(ends[2], f"no process can be made: {error}".encode())
            control.sendall(_PID.pack(0))
            pid = -1
        if not pid:
            break
        for end in ends:
            os.close(end)
        if pid > 0:
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
