"""Naming the known installation failures from what they print."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass

from detr_common.jittor_cache import CLEAN_COMMAND
from detr_common.jittor_onednn import WHEELS_COMMAND


@dataclass(frozen=True)
class Diagnosis:
    """A known failure that was recognised.

    Attributes:
        name: a short name, the same for every log with this failure.
        cause: what happened, in words.
        commands: commands that mend it; any one of them will do.
        evidence: the line of the log by which it was recognised.
    """

    name: str
    cause: str
    commands: tuple[str, ...]
    evidence: str

    def as_dict(self) -> dict[str, object]:
        """Return the fields as a dict for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class _Known:
    name: str
    pattern: str
    cause: str
    commands: tuple[str, ...]


def _download(*file_names: str) -> str:
    names = "|".join(file_names)
    return (
        rf"Download File failed, url: \S*({names})\S*"
        rf"|MD5 mismatch between the server and the downloaded file \S*({names})\S*"
    )


# The first that fits a line names it, so the particular ones come before the general.
_KNOWN = (
    _Known(
        "numpy 2",
        r"compiled using NumPy 1\.x cannot be run in\b|_ARRAY_API not found|numpy\.core\.multiarray failed to import"
        r"|NumPy 2\.\S+ is installed|jittor \S+ (?:requires|depends on) numpy<2",
        "Jittor needs a NumPy below 2; with NumPy 2 it returns garbage or crashes.",
        ("pip install 'numpy<2'", "conda install 'numpy<2'"),
    ),
    _Known(
        "GLIBCXX not found",
        r"version [`'](?:GLIBCXX|CXXABI)_[\d.]+' not found",
        "The environment (usually conda) brings a C++ library older than the g++ that compiled Jittor.",
        (
            "conda install -c conda-forge libstdcxx-ng",
            'export LD_PRELOAD="$(g++ -print-file-name=libstdc++.so.6)"',
        ),
    ),
    _Known(
        "kernels of another system",
        r"version [`']GLIBC_[\d.]+' not found|wrong ELF class|Exec format error: '?\S*\.cache/jittor",
        "The kernel cache was filled on another system (a shared home directory, a container).",
        ("python -m parity doctor --clean-all",),
    ),
    _Known(
        "python headers missing",
        r"Python\.h: No such file or directory|python3(?:\.\d+)?-config not found in \[",
        "The headers of this Python are not installed, and Jittor compiles against them.",
        ("sudo apt-get install python3-dev", "sudo dnf install python3-devel", "conda install python"),
    ),
    _Known(
        "oneDNN download",
        _download(r"dnnl_\w+_[\w.]*"),
        "Jittor could not fetch oneDNN from its own server; the Python wheels serve as well.",
        (WHEELS_COMMAND, "export use_mkl=0   # slow"),
    ),
    _Known(
        "oneDNN link broken",
        r"cannot find -lmkldnn|libdnnl\.so\.2: cannot open shared object file|dnnl\.hpp: No such file or directory",
        "The oneDNN that Jittor was linked to is gone, for instance with the environment that held it.",
        (
            "python -c 'from detr_common.jittor_ready import ready; print(ready().onednn)'",
            "pip install --force-reinstall onednn-cpu-gomp==2022.2.1 onednn-devel-cpu-gomp==2022.2.1",
        ),
    ),
    _Known(
        "cutlass download",
        _download(r"cutlass\.zip"),
        "Jittor could not fetch cutlass, which its CUDA half can do without.",
        ("export use_cutlass=0",),
    ),
    _Known(
        "cutt download",
        _download(r"cutt-[\d.]+\.zip", r"cutt/zip"),
        "Jittor could not fetch cutt, which its CUDA half can do without.",
        ("export use_cutt=0",),
    ),
    _Known(
        "nccl download",
        _download(r"nccl\.tgz", r"nccl/tar\.gz"),
        "Jittor could not fetch nccl, which one process on one device can do without.",
        ("export use_nccl=0",),
    ),
    _Known(
        "CUDA toolkit download",
        _download(r"cuda[\d.]+_cudnn\d+_\w+\.(?:tgz|zip)"),
        "There is a GPU driver but no nvcc, and Jittor could not fetch a CUDA toolkit.",
        ("export nvcc_path=''   # use the CPU",),
    ),
    _Known(
        "nvcc without libcudart",
        r"libcudart\.so\S*: cannot open shared object file|cannot find -lcudart",
        "An nvcc was found, but the CUDA runtime that belongs to it was not.",
        (
            "export nvcc_path=''   # use the CPU",
            "export nvcc_path=/path/of/a/whole/toolkit/bin/nvcc   # with lib64/libcudart.so beside bin/",
        ),
    ),
    _Known(
        "CUDA library missing",
        r"CUDA found but (?:cublas|cudnn|curand|cufft|cusparse) is not loaded"
        r"|file lib(?:cublas|cudnn|curand|cufft|cusparse)\w*\.so not found",
        "The CUDA toolkit is not complete; Jittor needs cuBLAS, cuDNN 8, cuRAND, cuFFT and cuSPARSE with headers.",
        ("python -m jittor_utils.install_cuda", "export nvcc_path=''   # use the CPU"),
    ),
    _Known(
        "g++ too new for nvcc",
        r"unsupported GNU version! gcc versions later than \d+ are not supported",
        "This nvcc refuses the installed g++.",
        ("export cc_path=/usr/bin/g++-11   # an older g++, installed first", "export nvcc_path=''   # use the CPU"),
    ),
    _Known(
        "g++ missing",
        r"RuntimeError: g\+\+ not found|g\+\+: (?:command )?not found",
        "Jittor compiles its kernels and needs g++.",
        ("sudo apt-get install g++", "sudo dnf install gcc-c++", "conda install -c conda-forge gxx"),
    ),
    _Known(
        "OpenMP missing",
        r"openmp library not found|omp\.h: No such file or directory|cannot find -lgomp",
        "The OpenMP library of g++ is not installed.",
        (
            "sudo apt-get install libgomp1 g++",
            "sudo dnf install libgomp gcc-c++",
            "conda install -c conda-forge libgomp",
        ),
    ),
    _Known(
        "static TLS block",
        r"cannot allocate memory in static TLS block",
        "A library with thread-local data was loaded too late.",
        ('export LD_PRELOAD="$(g++ -print-file-name=libgomp.so.1)"',),
    ),
    _Known(
        "disk full",
        r"No space left on device|Disk quota exceeded",
        "Nothing more can be written where Jittor or the compiler writes.",
        (f"df -h ~/.cache /tmp   # make room, then: {CLEAN_COMMAND}",),
    ),
    _Known(
        "out of memory",
        r"Killed signal terminated program cc1plus|internal compiler error: Killed|virtual memory exhausted"
        r"|Caught SIGCHLD\. Maybe out of memory",
        "The system ended the compiler, or a process started from this one, for want of memory.",
        ("export DISABLE_MULTIPROCESSING=1   # one compiler at a time",),
    ),
    _Known(
        "kernel cache damaged",
        r"\.cache/jittor\S*: (?:file too short|invalid ELF header|file truncated|file format not recognized"
        r"|file not recognized)|Jittor's kernel cache is damaged|Get signal 7\b|\bBus error\b|died of SIGBUS",
        "A file in Jittor's kernel cache is cut short or half-written.",
        (CLEAN_COMMAND, "python -m parity doctor --clean-all"),
    ),
    _Known(
        "kernel cache not writable",
        r"(?:Permission denied|Read-only file system): '?\S*\.cache/jittor|Jittor's kernel cache cannot be used",
        "Jittor cannot write to its cache, perhaps because it once ran as another user.",
        ('sudo chown -R "$(id -u)" ~/.cache/jittor', "export JITTOR_HOME=/a/directory/of/yours"),
    ),
    _Known(
        "Jittor crashed while it compiled",
        r"Caught segfault at address \S+ thread_name: 'C\d+'",
        "One of the threads that compile kernels crashed, which is rare; what was compiled is kept. Run it again.",
        ("export use_parallel_op_compiler=0",),
    ),
    _Known(
        "Jittor's first library cannot be loaded",
        r"assert jit_utils\.cc\b",
        "Jittor compiled its first library but could not load it, and hides why.",
        ("log_silent=0 log_v=1 python -c 'import detr_jt' 2>&1 | python -m parity doctor --log -",),
    ),
    _Known(
        "Jittor missing",
        r"No module named '?jittor\b",
        "Jittor is not installed in this environment.",
        ("pip install 'jittor>=1.3.10,<1.4'",),
    ),
    _Known(
        "PyTorch missing",
        r"No module named '?torch(?:vision)?\b",
        "PyTorch is not installed in this environment.",
        ("pip install torch torchvision",),
    ),
)
_COLOUR = re.compile(r"\x1b?\[[0-9;]*m")


def diagnose(text: str) -> list[Diagnosis]:
    """Name the known installation failures in an error log.

    Args:
        text: what pip, Jittor, the compiler or Python printed; colour codes do no harm.

    Returns:
        One entry for each failure, in the order of first appearance; empty where nothing is known.
    """
    found: dict[str, Diagnosis] = {}
    for line in text.splitlines():
        line = _COLOUR.sub("", line).strip()
        for known in _KNOWN:
            if re.search(known.pattern, line):
                found.setdefault(known.name, Diagnosis(known.name, known.cause, known.commands, line))
                break
    # A library that hides its reason is explained by any other finding.
    if len(found) > 1:
        found.pop("Jittor's first library cannot be loaded", None)
    return list(found.values())
