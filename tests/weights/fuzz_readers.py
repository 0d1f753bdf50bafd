"""Tries the readers of checkpoints on many thousand damaged and hostile files, in a process that is watched.

    python tests/weights/fuzz_readers.py --count 100000 --seed 0

Every input is read with both loaders. Either a reader gives a tree, and both the same, or it raises CheckpointError,
whose message begins with the file and can be shown. Anything else is a finding: another exception, a crash, too much
time or memory, and any sign that something in the file ran. The exit code is 1 if there is one.
"""

import argparse
import collections
import contextlib
import json
import mmap
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

CPU_SECONDS = 10
SECONDS = 120
MEMORY = 1 << 30
LONGEST = 1000
# So many inputs are read by one process.
BATCH = 10_000
# PyTorch goes by the name of a file, too.
NAMES = ["input", "input.pth", "input.safetensors"]
# Beginnings of the names of events that no reading causes.
FORBIDDEN = (
    "os.system", "os.exec", "os.spawn", "os.posix_spawn", "os.fork", "os.startfile", "os.kill", "os.putenv",
    "os.unsetenv", "os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod",
    "os.chown", "os.chdir", "os.utime", "os.setxattr", "os.listdir", "os.scandir", "pty.", "subprocess.", "socket.",
    "ctypes.", "shutil.", "exec", "compile", "import", "pickle.find_class", "marshal.", "code.__new__",
    "function.__new__", "builtins.input", "builtins.breakpoint", "webbrowser.", "urllib.", "ftplib.", "smtplib.",
    "http.", "sqlite3.", "glob.", "tempfile.", "signal.", "syslog.", "resource.setrlimit", "gc.get_", "sys.setprofile",
    "sys.settrace", "sys._getframe", "sys.addaudithook", "cpython.",
)  # fmt: skip


class Ran(BaseException):
    """Something in a file tried to do something; no reader may catch it."""


class Watch:
    """Refuses and notes what reading must not do; a hook of the interpreter, so it can only be put to sleep."""

    def __init__(self, paths):
        self.paths = [os.fspath(path) for path in paths]
        self.awake = False
        self.seen = []
        sys.addaudithook(self._hook)

    def _hook(self, event, arguments):
        if not self.awake:
            return
        if event == "open":
            path, _, flags = arguments
            writes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC)
            if path in self.paths and not writes:
                return
        elif not event.startswith(FORBIDDEN):
            return
        self.seen.append(f"{event} {arguments!r}"[:300])
        raise Ran(event)

    @contextlib.contextmanager
    def __call__(self):
        """What runs in the block is watched."""
        self.seen.clear()
        self.awake = True
        try:
            yield
        finally:
            self.awake = False


def worker(options):
    """Read a run of inputs, and write a line of JSON for each finding, and one for the counts at the end."""
    import encodings.cp437  # noqa: F401 - of names in zip archives, and imported when there are some

    import torch
    from fuzz_inputs import made
    from fuzz_seeds import seeds
    from trees import same

    from weight_convert import CheckpointError, read, read_state_dict
    from weight_convert.contents import describe
    from weight_convert.tree import arrays

    torch.set_num_threads(1)
    folder = Path(options.folder)
    files = seeds(folder)
    paths = [folder / name for name in NAMES]
    path = paths[0]
    counts = collections.Counter()
    watch = Watch(paths)

    def attempt(action):
        """The outcome and what came of it: a tree, or the words that say what is wrong."""
        try:
            with watch():
                tree = action()
                for _, array in arrays(tree):
                    if array.size:
                        array.flat[0], array.flat[-1], array.nbytes < 1 << 20 and array.tobytes()
                if not describe(tree).isprintable():
                    return "message", describe(tree)
            outcome = "read", tree
        except CheckpointError as error:
            message, cause = str(error), error
            while cause is not None and not isinstance(cause, MemoryError):
                cause = cause.__cause__
            if cause is not None:
                outcome = "memory", message
            elif not message.startswith(f"{path}: ") or not message.isprintable() or len(message) > LONGEST:
                outcome = "message", message
            else:
                outcome = "refused", message
        except Ran as error:
            outcome = "ran", str(error)
        except BaseException as error:
            outcome = "exception", f"{type(error).__name__}: {error}"
        return ("ran", watch.seen[0]) if watch.seen else outcome

    for name in sorted(files):  # whatever is imported late is imported now
        path.write_bytes(files[name])
        for loader in ("numpy", "torch"):
            with contextlib.suppress(CheckpointError):
                describe(read(path, loader))
        path.write_bytes(files[name][:-1] + b"x")
        with contextlib.suppress(CheckpointError):
            read(path, "torch")
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, size + MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with open(options.at, "r+b") as file:
        at = mmap.mmap(file.fileno(), 8)
    slowest = 0.0
    for number in range(options.first, options.last):
        at[:8] = number.to_bytes(8, "little")
        path = paths[number % len(paths)]
        path.write_bytes(made(number, options.seed, files))
        signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
        signal.setitimer(signal.ITIMER_REAL, SECONDS)
        start = time.process_time()
        found = {loader: attempt(partial(read, path, loader)) for loader in ("numpy", "torch")}
        found["state dict"] = attempt(partial(read_state_dict, path))
        slowest = max(slowest, time.process_time() - start)
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        for how, (outcome, what) in found.items():
            if outcome not in ("read", "refused"):
                print(json.dumps({"number": number, "how": how, "outcome": outcome, "what": str(what)}), flush=True)
        counts.update(f"{how}: {outcome}" for how, (outcome, _) in found.items())
        ours, theirs = found["numpy"], found["torch"]
        equal = ours[0] == "read" and (same(ours[1], theirs[1]) or repr(ours[1]) == repr(theirs[1]))  # NaN in sets
        if theirs[0] == "read" and not equal:
            print(
                json.dumps({"number": number, "how": "both", "outcome": "differ", "what": str(ours[1])[:300]}),
                flush=True,
            )
            counts["both: differ"] += 1
    print(json.dumps({"counts": counts, "slowest": slowest}), flush=True)


def supervise(options):
    """Let processes read all inputs; return the findings, the counts and the longest time of an input."""
    findings, counts, slowest, first = [], collections.Counter(), 0.0, options.first
    with tempfile.TemporaryDirectory() as folder:
        at = Path(folder) / "at"
        while first < options.first + options.count and len(findings) < options.most:
            last = min(first + BATCH, options.first + options.count)
            at.write_bytes(first.to_bytes(8, "little"))
            command = [sys.executable, "-W", "ignore", __file__, "--worker", "--folder", folder, "--at", str(at)]
            command += ["--first", str(first), "--last", str(last), "--seed", str(options.seed)]
            done = subprocess.run(command, capture_output=True, text=True)
            for line in map(json.loads, done.stdout.splitlines()):
                if "counts" in line:
                    counts.update(line["counts"])
                    slowest = max(slowest, line["slowest"])
                else:
                    findings.append(line)
            if done.returncode:
                number = int.from_bytes(at.read_bytes(), "little")
                late = done.returncode in (-signal.SIGPROF, -signal.SIGALRM)
                outcome = "hang" if late else "crash"
                what = f"exit code {done.returncode}: {done.stderr[-500:]}"
                findings.append({"number": number, "how": "", "outcome": outcome, "what": what})
                counts[f"process: {outcome}"] += 1
                last = number + 1
            first = last
            if options.verbose:
                print(f"{first:,} inputs, {len(findings)} findings", flush=True)
    return findings, counts, slowest


def main():
    """Run the program."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=2000, help="number of inputs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first input: to read one again")
    parser.add_argument("--most", type=int, default=50, help="stop at so many findings")
    parser.add_argument("--keep", type=Path, help="folder for the inputs that were found")
    parser.add_argument("--verbose", action="store_true")
    for name in ("--folder", "--at"):
        parser.add_argument(name, help=argparse.SUPPRESS)
    parser.add_argument("--last", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        return worker(options)
    start = time.monotonic()
    findings, counts, slowest = supervise(options)
    for finding in findings:
        print("input {number}, {how}: {outcome}: {what}".format(**finding))
    if options.keep:
        keep(options, findings)
    print(
        f"{options.count:,} inputs of seed {options.seed} in {time.monotonic() - start:.0f} s, slowest {slowest:.2f} s"
    )
    for outcome, count in sorted(counts.items()):
        print(f"{count:9,}  {outcome}")
    print(f"{len(findings)} findings")
    return bool(findings)


def keep(options, findings):
    """Write the inputs that were found into a folder."""
    from fuzz_inputs import made
    from fuzz_seeds import seeds

    options.keep.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        files = seeds(Path(folder))
    for number in {finding["number"] for finding in findings}:
        (options.keep / str(number)).write_bytes(made(number, options.seed, files))


if __name__ == "__main__":
    sys.exit(main())
