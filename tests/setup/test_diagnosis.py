import pytest

from parity.doctor import diagnose

LOGS = {
    "GLIBCXX not found": """
Traceback (most recent call last):
  File "<string>", line 1, in <module>
  File "/home/u/miniconda3/envs/jt/lib/python3.11/site-packages/jittor/compiler.py", line 1380, in <module>
    import jittor_core as core
ImportError: /home/u/miniconda3/envs/jt/bin/../lib/libstdc++.so.6: version `GLIBCXX_3.4.30' not found (required by \
/home/u/.cache/jittor/jt1.3.11/g++12.3.0/py3.11.7/Linux-5.15.0-1xd8/13thGenIntelRx2f/7b6b/default/jittor_core.so)
""",
    "kernels of another system": """
ImportError: /lib/x86_64-linux-gnu/libc.so.6: version `GLIBC_2.34' not found (required by \
/home/u/.cache/jittor/jt1.3.11/g++9.4.0/py3.10.12/Linux-5.4.0-10x3f/IntelRXeonRCPUx5a/7b6b/default/jittor_core.so)
""",
    "oneDNN download": """
Downloading https://server.example/jittor/assets/dnnl_lnx_2.2.0_cpu_gomp.tgz to \
/home/u/.cache/jittor/mkl/dnnl_lnx_2.2.0_cpu_gomp.tgz
<urlopen error [Errno -2] Name or service not known>
Download File failed, url: https://server.example/jittor/assets/dnnl_lnx_2.2.0_cpu_gomp.tgz, path: \
/home/u/.cache/jittor/mkl/dnnl_lnx_2.2.0_cpu_gomp.tgz
Traceback (most recent call last):
  File "/home/u/venv/lib/python3.11/site-packages/jittor/compile_extern.py", line 74, in install_mkl
    download_url_to_local(url, filename, root_folder, md5)
RuntimeError: <urlopen error [Errno -2] Name or service not known>
Download File failed, url: https://server.example/jittor/assets/dnnl_lnx_2.2.0_cpu_gomp.tgz, path: /home/u/x.tgz
""",
    "oneDNN link broken": """
/usr/bin/ld: cannot find -lmkldnn: No such file or directory
collect2: error: ld returned 1 exit status
""",
    "cutlass download": """
RuntimeError: HTTP Error 404: Not Found
Download File failed, url: https://server.example/jittor/assets/cutlass.zip, path: /home/u/.cache/jittor/cutlass/c.zip
""",
    "cutt download": """
Download File failed, url: https://host.example/Jittor/cutt/zip/v1.2, path: /home/u/.cache/jittor/cutt/cutt-1.2.zip
""",
    "nccl download": """
RuntimeError: MD5 mismatch between the server and the downloaded file /home/u/.cache/jittor/nccl/nccl.tgz
""",
    "CUDA toolkit download": """
RuntimeError: <urlopen error [Errno 110] Connection timed out>
Download File failed, url: https://server.example/jittor/assets/cuda12.2_cudnn8_linux.tgz, path: /home/u/c.tgz
""",
    "nvcc without libcudart": """
  File "/home/u/venv/lib/python3.11/site-packages/jittor/compiler.py", line 872, in check_cuda
    ctypes.CDLL(cuda_lib+"/libcudart.so", dlopen_flags)
  File "/usr/lib/python3.11/ctypes/__init__.py", line 376, in __init__
    self._handle = _dlopen(self._name, mode)
OSError: /usr/local/lib64/libcudart.so: cannot open shared object file: No such file or directory
""",
    "CUDA library missing": """
RuntimeError: \x1b[38;5;1m[f 1123 10:01:02.123456 96 compile_extern.py:251] CUDA found but cudnn is not loaded:
Develop version of CUDNN not found,
""",
    "g++ too new for nvcc": """
/usr/include/crt/host_config.h:132:2: error: #error -- unsupported GNU version! gcc versions later than 12 are not \
supported! The nvcc flag '-allow-unsupported-compiler' can be used to override this version check
""",
    "python headers missing": """
In file included from /home/u/venv/lib/python3.11/site-packages/jittor/src/pyjt/py_obj_holder.h:9,
/home/u/venv/lib/python3.11/site-packages/jittor/src/pyjt/py_converter.h:11:10: fatal error: Python.h: No such file \
or directory
compilation terminated.
""",
    "numpy 2": """
A module that was compiled using NumPy 1.x cannot be run in
NumPy 2.1.3 as it may crash. To support both 1.x and 2.x
versions of NumPy, modules must be compiled with NumPy 2.0.
""",
    "g++ missing": """
    raise RuntimeError(f"{name} not found")
RuntimeError: g++ not found
""",
    "OpenMP missing": "AssertionError: openmp library not found\n",
    "static TLS block": """
OSError: /usr/lib/aarch64-linux-gnu/libgomp.so.1: cannot allocate memory in static TLS block
""",
    "disk full": """
/tmp/ccXYZ.s: Assembler messages:
/tmp/ccXYZ.s: Fatal error: can't write 1024 bytes to section .text of var.o: 'No space left on device'
""",
    "out of memory": "g++: fatal error: Killed signal terminated program cc1plus\ncompilation terminated.\n",
    "kernel cache not writable": """
PermissionError: [Errno 13] Permission denied: '/home/u/.cache/jittor/jt1.3.11/g++12.2.0/py3.11.7'
""",
    "Jittor missing": "ModuleNotFoundError: No module named 'jittor'\n",
    "PyTorch missing": "ModuleNotFoundError: No module named 'torch'\n",
    "Jittor crashed while it compiled": """
Caught segfault at address 0x7f42fc704531, thread_name: 'C2', flush log...
Segfault, exit
corrupted double-linked list
""",
    "Jittor's first library cannot be loaded": """
  File "/home/u/venv/lib/python3.11/site-packages/jittor/compiler.py", line 895, in check_cache_compile
    assert jit_utils.cc
AssertionError
""",
}
MORE = [
    (
        "python headers missing",
        "RuntimeError: python3.12-config not found in ['/v/bin/python3.12-config'], please specify",
    ),
    ("numpy 2", "detr_common.errors.InputError: NumPy 2.0.1 is installed. Jittor returns garbage with NumPy 2."),
    ("numpy 2", "AttributeError: _ARRAY_API not found"),
    (
        "oneDNN download",
        "MD5 mismatch between the server and the downloaded file /h/.cache/jittor/mkl/dnnl_lnx_2.2.0_x.tgz",
    ),
    ("oneDNN link broken", "ImportError: libdnnl.so.2: cannot open shared object file: No such file or directory"),
    ("kernel cache damaged", "ImportError: /h/.cache/jittor/jt1.3.11/d/jittor_core.cpython-311.so: file too short"),
    ("kernel cache damaged", "ImportError: /h/.cache/jittor/jt1.3.11/d/jittor_core.cpython-311.so: invalid ELF header"),
    ("kernel cache damaged", "/usr/bin/ld: error: /h/.cache/jittor/jt1.3.11/d/obj_files/var.cc.o: file too short"),
    ("kernel cache damaged", "Get signal 7, exit"),
    ("kernel cache damaged", "Fatal Python error: Bus error"),
    ("kernel cache damaged", "InputError: Jittor's kernel cache is damaged: /h/x.so is empty. Loading it would crash."),
    ("kernel cache not writable", "OSError: [Errno 30] Read-only file system: '/h/.cache/jittor/jt1.3.11'"),
    ("out of memory", "Caught SIGCHLD. Maybe out of memory, please reduce your worker size."),
    (
        "GLIBCXX not found",
        "OSError: /opt/conda/lib/libstdc++.so.6: version `CXXABI_1.3.13' not found (required by /x.so)",
    ),
    ("nvcc without libcudart", "/usr/bin/ld: cannot find -lcudart: No such file or directory"),
    ("CUDA library missing", "RuntimeError: file libcublas.so not found in ['/usr/bin', '/usr/lib64']"),
]


@pytest.mark.parametrize("name", LOGS)
def test_known_failure_is_named_once_with_a_command(name: str) -> None:
    found = diagnose(LOGS[name])
    assert [diagnosis.name for diagnosis in found] == [name]
    assert found[0].cause and all(found[0].commands)
    assert found[0].evidence in LOGS[name].replace("\x1b[38;5;1m", "")


@pytest.mark.parametrize(("name", "line"), MORE)
def test_other_wordings(name: str, line: str) -> None:
    assert [diagnosis.name for diagnosis in diagnose(line)] == [name]


def test_sound_logs_name_nothing() -> None:
    assert diagnose("") == []
    assert (
        diagnose("collected 86 items\n...... 86 passed in 3.83s\nSuccessfully installed jittor-1.3.11 numpy-1.26.4")
        == []
    )
    assert diagnose("KeyError: 'transformer.encoder'\nException in version 'GLIBCXX' of my own") == []


def test_several_failures_in_order_of_appearance() -> None:
    text = LOGS["disk full"] + LOGS["numpy 2"] + LOGS["disk full"]
    assert [diagnosis.name for diagnosis in diagnose(text)] == ["disk full", "numpy 2"]


def test_hidden_reason_gives_way_to_a_real_one() -> None:
    text = LOGS["Jittor's first library cannot be loaded"] + LOGS["GLIBCXX not found"]
    assert [diagnosis.name for diagnosis in diagnose(text)] == ["GLIBCXX not found"]
