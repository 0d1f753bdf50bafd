"""Modules, their parameters, and files of them."""

from parity.gotchas.entry import Gotcha, Relation, Theme

_BUFFER = "m = nn.Module()\nm.register_buffer('mean', {make})\n"
_SAVE = "import os, tempfile\np = os.path.join(tempfile.mkdtemp(), 'a.{ext}')\n"
_HOSTILE = (
    "import os, pickle, tempfile\np = os.path.join(tempfile.mkdtemp(), 'a.{ext}')\n"
    "class Hostile:\n    def __reduce__(self): return (os.mkdir, (p + '.ran',))\n"
    "open(p, 'wb').write({head}pickle.dumps(Hostile(), 2))\n"
)

MODULES = Theme(
    "Modules and files",
    (
        Gotcha(
            "execute",
            "A module is run by execute, not by forward",
            "A class with only forward cannot be called.",
            torch="class M(nn.Module):\n    def forward(self, x): return x + 1\nM()(x)",
            naive="class M(nn.Module):\n    def forward(self, x): return x + 1\nM()(x)",
            correct="class M(nn.Module):\n    def execute(self, x): return x + 1\nM()(x)",
            inputs="x = np.ones(2, np.float32)",
            relation=Relation.RAISES,
            error="NotImplementedError",
        ),
        Gotcha(
            "buffer-is-parameter",
            "A buffer is a parameter",
            "Jittor does not tell them apart: register_buffer gives something that parameters() lists and an optimizer "
            "trains. Frozen batch norm statistics move, and turn negative.",
            torch=_BUFFER.format(make="torch.ones(2)") + "[p.requires_grad for p in m.parameters() if p.requires_grad]",
            naive=_BUFFER.format(make="jt.ones(2)") + "[p.requires_grad for p in m.parameters() if p.requires_grad]",
            correct="m = nn.Module()\nm.mean = jt.ones(2).stop_grad()\n"
            "[p.requires_grad for p in m.parameters() if p.requires_grad]",
        ),
        Gotcha(
            "underscore-attribute",
            "A Var whose name begins with _ is not saved",
            "PyTorch saves every parameter, however it is called.",
            torch="m = nn.Module()\nm._scale = nn.Parameter(torch.ones(2))\nsorted(m.state_dict())",
            naive="m = nn.Module()\nm._scale = jt.ones(2)\nsorted(m.state_dict())",
            correct="m = nn.Module()\nm.scale = jt.ones(2)\n['_' + k for k in sorted(m.state_dict())]",
        ),
        Gotcha(
            "hook-slot",
            "A second forward hook replaces the first",
            "There is one place for each kind of hook, and no handle to remove one. A tool that hooks for itself drops "
            "the user's hook.",
            torch="seen = []\nm = nn.Linear(1, 1)\nm.register_forward_hook(lambda *a: seen.append(1))\n"
            "m.register_forward_hook(lambda *a: seen.append(2))\nm(x)\nseen",
            naive="seen = []\nm = nn.Linear(1, 1)\nm.register_forward_hook(lambda *a: seen.append(1))\n"
            "m.register_forward_hook(lambda *a: seen.append(2))\nm(x)\nseen",
            correct="seen = []\nm = nn.Linear(1, 1)\n"
            "m.register_forward_hook(lambda *a: [seen.append(k) for k in (1, 2)] and None)\nm(x)\nseen",
            inputs="x = np.ones((1, 1), np.float32)",
        ),
        Gotcha(
            "eval-state",
            "Parameters loaded from a model in eval() are frozen",
            "The values come with their stopped gradient. Load NumPy arrays.",
            torch="a, b = nn.Linear(1, 1), nn.Linear(1, 1)\na.eval()\nb.load_state_dict(a.state_dict())\n"
            "b.weight.requires_grad",
            naive="a, b = nn.Linear(1, 1), nn.Linear(1, 1)\na.eval()\nb.load_state_dict(a.state_dict())\n"
            "b.weight.requires_grad",
            correct="a, b = nn.Linear(1, 1), nn.Linear(1, 1)\na.eval()\nb.load_state_dict(a.state_dict(to='numpy'))\n"
            "b.weight.requires_grad",
        ),
        Gotcha(
            "deepcopy-frozen",
            "A deep copy of a frozen Var is not frozen",
            "Cloned layers and moving averages must be frozen again.",
            torch="import copy\ncopy.deepcopy(x.requires_grad_(False)).requires_grad",
            naive="import copy\ncopy.deepcopy(x.stop_grad()).requires_grad",
            correct="import copy\ncopy.deepcopy(x.stop_grad()).stop_grad().requires_grad",
            inputs="x = np.ones(2, np.float32)",
        ),
        Gotcha(
            "state-dict-live",
            "state_dict holds the parameters themselves",
            "In PyTorch too it shares memory, so that a snapshot must be copied in both.",
            torch="m = nn.Linear(1, 1)\ns = m.state_dict()\n_ = nn.init.constant_(m.weight, 5.0)\ns['weight']",
            naive="m = nn.Linear(1, 1)\ns = m.state_dict()\n_ = nn.init.constant_(m.weight, 5.0)\ns['weight']",
            relation=Relation.AGREES,
        ),
        Gotcha(
            "load-missing",
            "Loading does not miss a missing name",
            "PyTorch refuses; in Jittor the parameter keeps its random value, and nothing is said.",
            torch="nn.Linear(2, 1).load_state_dict({'bias': x})\n'loaded'",
            naive="nn.Linear(2, 1).load_state_dict({'bias': x})\n'loaded'",
            correct="m = nn.Linear(2, 1)\nif set(m.state_dict()) != {'bias'}: raise RuntimeError('names differ')\n"
            "'loaded'",
            inputs="x = np.ones(1, np.float32)",
        ),
        Gotcha(
            "load-shape",
            "Loading skips an array of another shape",
            "A line in the log at most; the parameter keeps its random value.",
            torch="m = nn.Linear(1, 2)\nm.load_state_dict({'weight': x, 'bias': x[0]})\n'loaded'",
            naive="m = nn.Linear(1, 2)\nm.load_state_dict({'weight': x, 'bias': x[0]})\n'loaded'",
            correct="m = nn.Linear(1, 2)\nif m.weight.shape != x.shape: raise RuntimeError('shapes differ')\n'loaded'",
            inputs="x = np.ones((3, 2), np.float32)",
        ),
        Gotcha(
            "load-half",
            "Loading half precision turns the parameter into it",
            "PyTorch converts to the type that the parameter has.",
            torch="m = nn.Linear(1, 1)\nm.load_state_dict({'weight': x, 'bias': x[0]})\nm.weight.dtype",
            naive="m = nn.Linear(1, 1)\nm.load_state_dict({'weight': x, 'bias': x[0]})\nm.weight.dtype",
            correct="m = nn.Linear(1, 1)\nm.load_state_dict({'weight': x.float32(), 'bias': x[0].float32()})\n"
            "m.weight.dtype",
            inputs="x = np.ones((1, 1), np.float16)",
        ),
        Gotcha(
            "save-64-bit",
            "jt.save loses 64 bits",
            "int64 and float64 Vars come back as int32 and float32: 2^40 is 0. NumPy arrays keep their type.",
            torch=_SAVE.format(ext="pth") + "torch.save({'a': x}, p)\ntorch.load(p)['a']",
            naive=_SAVE.format(ext="pkl") + "jt.save({'a': x}, p)\njt.load(p)['a']",
            correct=_SAVE.format(ext="pkl") + "jt.save({'a': x.numpy()}, p)\njt.load(p)['a']",
            inputs="x = np.array([2**40, 1])",
        ),
        Gotcha(
            "save-path",
            "jt.save takes no pathlib.Path",
            "Only a string.",
            torch=_SAVE.format(ext="pth")
            + "from pathlib import Path\ntorch.save({'a': 1}, Path(p))\ntorch.load(p)['a']",
            naive=_SAVE.format(ext="pkl") + "from pathlib import Path\njt.save({'a': 1}, Path(p))\njt.load(p)['a']",
            correct=_SAVE.format(ext="pkl")
            + "from pathlib import Path\njt.save({'a': 1}, str(Path(p)))\njt.load(p)['a']",
            relation=Relation.RAISES,
            error="AttributeError",
        ),
        Gotcha(
            "load-runs-code",
            "jt.load runs code that is in the file",
            "PyTorch refuses by default. Convert checkpoints from elsewhere with weight_convert, which runs nothing.",
            torch=_HOSTILE.format(ext="pth", head="b'' + ")
            + "try: torch.load(p)\nexcept Exception: pass\nos.path.isdir(p + '.ran')",
            naive=_HOSTILE.format(ext="pkl", head="b'' + ")
            + "try: jt.load(p)\nexcept Exception: pass\nos.path.isdir(p + '.ran')",
            correct=_HOSTILE.format(ext="pkl", head="b'' + ") + "import weight_convert\n"
            "try: weight_convert.read(p)\nexcept ValueError: pass\nos.path.isdir(p + '.ran')",
        ),
        Gotcha(
            "load-pth",
            "jt.load reads a file of torch.save",
            "Nothing differs for floats and integers: jt.load(path)['model'] works where PyTorch is not installed. "
            "uint8 tensors fail.",
            not_run="the two frameworks would have to share a process; the tests of weight_convert exchange files",
        ),
        Gotcha(
            "init-names",
            "Initialisers have other names",
            "zero_, one_, gauss_ and xavier_gauss_ are PyTorch's zeros_, ones_, normal_ and xavier_normal_.",
            torch="nn.init.zeros_(x)",
            naive="nn.init.zeros_(x)",
            correct="nn.init.zero_(x)",
            inputs="x = np.ones(2, np.float32)",
            relation=Relation.RAISES,
            error="AttributeError",
        ),
        Gotcha(
            "init-bounds",
            "Initial values come from the same distributions",
            "Nothing differs but the random numbers: the bound of a linear layer's uniform distribution is "
            "1/sqrt(n) in "
            "both. To compare, copy the weights.",
            torch="float(nn.Linear(256, 400).weight.abs().max())",
            naive="float(nn.Linear(256, 400).weight.abs().max())",
            relation=Relation.AGREES,
            bound=1e-3,
        ),
        Gotcha(
            "init-stream",
            "The same seed gives other numbers",
            "The generators are different ones.",
            not_run="no Jittor line gives PyTorch's numbers; draw with NumPy and hand the array to both",
        ),
        Gotcha(
            "zero-init-residual",
            "resnet50 ignores zero_init_residual",
            "The last norm of each block keeps weight 1.",
            torch="import torchvision\n"
            "float(torchvision.models.resnet18(zero_init_residual=True).layer1[0].bn2.weight.max())",
            naive="import jittor.models\n"
            "float(jittor.models.resnet18(zero_init_residual=True).layer1[0].bn2.weight.max())",
            correct="import jittor.models\nm = jittor.models.resnet18()\n_ = nn.init.zero_(m.layer1[0].bn2.weight)\n"
            "float(m.layer1[0].bn2.weight.max())",
        ),
    ),
)
