"""What concerns the whole process: random numbers, lazy execution, signals, data loading."""

from parity.gotchas.entry import Gotcha, Relation, Theme

_FTZ = "import numpy as np\nx = np.array([1e-40], np.float32)\nx * np.float32(0.5) > 0"
_HOME = (
    "import os, subprocess, sys, tempfile\nd = tempfile.mkdtemp()\n"
    "def home(**v):\n    code = '{code}'\n"
    "    return subprocess.run([sys.executable, '-c', code], env=os.environ | {{'HOME': d}} | v, "
    "capture_output=True, text=True, check=True).stdout\n"
)
_TORCH_HOME = _HOME.format(code="import torch.hub; print(torch.hub.get_dir())")
_JITTOR_HOME = _HOME.format(code="import jittor_utils; print(jittor_utils.home())")
_KERNELS = (
    "import numpy as np, jittor as jt\ny = jt.array(np.ones((2, 2), np.float32))\n"
    "for z in (y + 1, (y + 1).sum(), jt.matmul(y, y)): z.sync()\n"
)

PROCESS = Theme(
    "Random numbers and the process",
    (
        Gotcha(
            "import-reseeds",
            "import jittor seeds random and NumPy from the clock",
            "A seed that was set before the import is lost: import first, then seed.",
            torch="import random\nrandom.seed(1)\nimport torch\nrandom.random()",
            naive="import random\nrandom.seed(1)\nimport jittor\nrandom.random()",
            correct="import jittor, random\nrandom.seed(1)\nrandom.random()",
            alone=True,
            undefined=True,
        ),
        Gotcha(
            "seed-others",
            "jt.set_global_seed seeds Python and NumPy as well",
            "torch.manual_seed leaves them alone; a library that seeds Jittor restarts the user's augmentation. "
            "jt.seed "
            "seeds Jittor only.",
            torch="import random\nrandom.seed(1)\n_ = torch.manual_seed(5)\nrandom.random()",
            naive="import random\nrandom.seed(1)\njt.set_global_seed(5)\nrandom.random()",
            correct="import random\nrandom.seed(1)\njt.seed(5)\nrandom.random()",
        ),
        Gotcha(
            "random-is-lazy",
            "Random numbers are drawn when they are used",
            "A Var made under one seed and first looked at after another holds the other seed's numbers. sync() draws.",
            torch="torch.manual_seed(1)\nx = torch.rand(3)\ntorch.manual_seed(2)\ny = torch.rand(3)\n"
            "bool((x == y).all())",
            naive="jt.seed(1)\nx = jt.rand(3)\njt.seed(2)\na = x.numpy()\njt.seed(2)\ny = jt.rand(3)\n"
            "bool((a == y.numpy()).all())",
            correct="jt.seed(1)\nx = jt.rand(3).sync()\njt.seed(2)\na = x.numpy()\njt.seed(2)\ny = jt.rand(3)\n"
            "bool((a == y.numpy()).all())",
        ),
        Gotcha(
            "flush-to-zero",
            "NumPy and PyTorch flush subnormal numbers once Jittor has run",
            "Kernels are linked with -Ofast; loading one may switch the thread to a mode where numbers below 1e-38 "
            "are 0. Which kernel is the first to do so varies. Bitwise references must come from another process.",
            torch=f"import torch\n_ = torch.ones(2, 2) @ torch.ones(2, 2)\n{_FTZ}",
            naive=f"{_KERNELS}{_FTZ}",
            correct=f"{_KERNELS}import subprocess, sys\np = subprocess.run([sys.executable, '-c', "
            '"import numpy as np; print(int(np.float32(1e-40) * np.float32(0.5) > 0))"], capture_output=True)\n'
            "np.array([bool(int(p.stdout))])",
            alone=True,
        ),
        Gotcha(
            "child-killed",
            "A child process that is killed takes the parent with it",
            "Jittor's handler of SIGCHLD ends the process when any child dies by a signal. A shell in between "
            "turns the "
            "signal into an exit code.",
            torch="import torch, subprocess\nsubprocess.run(['sh', '-c', 'kill -9 $$']).returncode",
            naive="import jittor, subprocess\nsubprocess.run(['sh', '-c', 'kill -9 $$']).returncode",
            correct="import jittor, subprocess\n"
            "128 - subprocess.run(['sh', '-c', 'sh -c \"kill -9 \\\\$\\\\$\"; exit $?']).returncode",
            relation=Relation.DIES,
            alone=True,
        ),
        Gotcha(
            "lazy-error",
            "An error in a kernel is raised where the value is looked at",
            "Shapes are checked at once, but what fails while compiling or running a kernel names a later line. "
            "JT_SYNC=1 with trace_py_var=3 finds the line.",
            torch="try:\n    y = F.interpolate(torch.ones(1, 1, 4, 4), size=(1, 1))\n    y.numpy()\n"
            "    r = 'no error'\n"
            "except RuntimeError: r = 'on use'\nr",
            naive="y = nn.interpolate(jt.ones((1, 1, 4, 4)), size=(1, 1), mode='nearest')\n"
            "try:\n    y.numpy()\n    r = 'no error'\nexcept RuntimeError: r = 'on use'\nr",
            correct="y = jt.ones((1, 1, 4, 4))[:, :, :1, :1]\n"
            "try:\n    y.numpy()\n    r = 'no error'\nexcept RuntimeError: r = 'on use'\nr",
        ),
        Gotcha(
            "home-persists",
            "JITTOR_HOME set for one process moves the cache of all later ones",
            "Its value is written to ~/.cache/jittor/config.json and read by every process that does not set it, also "
            "by those that run already and start a child. Set HOME instead, or remove the file afterwards.",
            torch=f"{_TORCH_HOME}_ = home(TORCH_HOME=d + '/once')\nd + '/once' in home()",
            naive=f"{_JITTOR_HOME}_ = home(JITTOR_HOME=d + '/once')\nd + '/once' in home()",
            correct=f"{_JITTOR_HOME}_ = home(HOME=d + '/once')\nd + '/once' in home()",
            alone=True,
        ),
        Gotcha(
            "lazy-timing",
            "Timing measures the building of the graph",
            "Nothing is computed until it is needed, and what nothing needs is never computed. Call sync() and "
            "jt.sync_all(True) before each look at the clock.",
            not_run="a time is no stable outcome",
        ),
        Gotcha(
            "memory-grows",
            "Kept outputs keep their graph",
            "Outputs collected over a validation set hold their whole graph unless they were computed under "
            "jt.no_grad() or turned into numbers.",
            torch="with torch.no_grad(): y = x * 2\ny.requires_grad",
            naive="y = x * 2\ny.requires_grad",
            correct="with jt.no_grad(): y = x * 2\ny.requires_grad",
            inputs="x = np.ones(2, np.float32)",
        ),
        Gotcha(
            "compile-time",
            "The first step takes half a minute",
            "Every kernel is compiled when it is first needed, keyed by operation, types and ranks, not sizes; later "
            "processes find it in the cache.",
            not_run="it depends on the state of the kernel cache, which a check must not clear",
        ),
        Gotcha(
            "amp-levels",
            "Levels 1 to 3 of automatic mixed precision do nothing",
            "Only from level 4 on are products computed in float16.",
            torch="with torch.autocast('cpu', torch.float16): r = (x @ x).dtype\nr",
            naive="with jt.flag_scope(auto_mixed_precision_level=2): r = jt.matmul(x, x).dtype\nr",
            correct="with jt.flag_scope(auto_mixed_precision_level=4): r = jt.matmul(x, x).dtype\nr",
            inputs="x = np.ones((2, 2), np.float32)",
        ),
        Gotcha(
            "tf32",
            "TF32 on a GPU",
            "PyTorch allows it in convolutions by default, Jittor does not (its error on an H200 was 4e-7 of the "
            "result); switch it off in PyTorch before comparing.",
            not_run="needs a GPU",
        ),
        Gotcha(
            "float64-cuda",
            "No float64 convolution or matrix product on a GPU",
            "Jittor asks cuBLAS for float32 sums, which it refuses for float64 matrices: the product raises. It has no "
            "name of float64 for cuDNN: the first convolution ends the process with a symbol lookup error. Compute in "
            "float64 on the CPU.",
            not_run="needs a GPU",
        ),
        Gotcha(
            "fast-math-cuda",
            "Kernels on a GPU are built with --use_fast_math",
            "On an H200 jt.exp was up to 15 units in the last place off, sigmoid as much and jt.sin up to 2.3e-6 for "
            "arguments below 20; division and the root were within one unit. Unlike on the CPU, x != x is true for "
            "NaN.",
            not_run="needs a GPU",
        ),
        Gotcha(
            "dataset-length",
            "The length of a data set becomes the number of batches",
            "set_attrs(batch_size=...) changes the data set itself and len() with it; a schedule that divides len() by "
            "the batch size does so twice.",
            torch="from torch.utils.data import DataLoader\nd = list(range(10))\nDataLoader(d, batch_size=5)\nlen(d)",
            naive="from jittor.dataset import Dataset\nd = Dataset()\nd.set_attrs(total_len=10, batch_size=5)\nlen(d)",
            correct="from jittor.dataset import Dataset\nd = Dataset()\nd.set_attrs(total_len=10, batch_size=5)\n"
            "d.total_len",
        ),
    ),
)
