"""detr_pt and detr_jt are mirror images: same files, same classes and functions in the same order, same arguments."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("detr_pt", "detr_jt")

# What one side has and the other cannot have, with the reason.
EXTRAS = {
    ("detr_jt", "layers.py"): {
        "constant": "Jittor rounds Python floats to float32",
        "absolute": "Jittor's gradient at 0 is 1",
        "maximum": "Jittor's gradient at a tie goes to the second operand",
        "minimum": "as above",
        "_share": "as above",
        "frozen": "PyTorch sees by itself where no gradient is wanted",
        "linear": "oneDNN has no float64",
        "Linear": "as above",
        "Linear.execute": "as above",
        "ExactLinear": "the gradient of the bias of Jittor's own is added up one value after another",
        "ExactLinear.execute": "as above",
        "Dropout.__init__": "Jittor's own is off until train()",
        "ReLU": "for its gradient Jittor keeps an array of bool",
        "ReLU.execute": "as above",
        "LayerNorm": "Jittor's own loses digits where the mean is large",
        "LayerNorm.__init__": "as above",
        "LayerNorm.execute": "as above",
        "GroupNorm": "as LayerNorm",
        "GroupNorm.__init__": "as above",
        "GroupNorm.execute": "as above",
        "mean": "the gradient of Jittor's own is right to eight digits only",
    },
    ("detr_pt", "layers.py"): {
        "Masked": "what detr_jt.kernels has for the other side",
        "Masked.forward": "as above",
        "Masked.backward": "as above",
        "Masked.factors": "as above",
        "MaxPool2d.forward": "PyTorch's own takes a fiftieth of a forward pass",
        "MaxPool2d.largest": "as above",
    },
    ("detr_jt", "resize.py"): {"between": "Jittor's own interpolation rounds the places to float32"},
    ("detr_jt", "mask_loss.py"): {
        "binary_cross_entropy": "Jittor's own returns the mean alone",
        "total_of": "Jittor adds one value after another",
    },
    ("detr_jt", "optimizer.py"): {
        "AdamW.state_dict": "Jittor's own has another layout, and the parameters and gradients in it",
        "AdamW.backward": "Jittor passes over parameters whose gradients eval() stopped",
        "AdamW.step": "Jittor's own rounds its numbers to float32",
        "AdamW.clip_grad_norm": "Jittor's own is off by percents for a large model",
        "StepLR.state_dict": "Jittor's own schedule has none, and drops at other epochs",
        "StepLR.step": "as above",
        "StepLR.get_last_lr": "as above",
        "update": "what torch.optim.AdamW does to one parameter",
    },
    ("detr_jt", "detr.py"): {"to_float64": "a Jittor module cannot be cast as a whole"},
}
# Files that only one package has.
FILES = {
    ("detr_pt", "blocks.py"): "Jittor's convolutions have no layout to stay in",
    ("detr_jt", "kernels.py"): "PyTorch has an operation for each of these kernels",
    ("detr_jt", "update_kernels.py"): "PyTorch has an operation for each of these kernels too",
    ("detr_jt", "softmax.py"): "as above",
    ("detr_jt", "convolution.py"): "oneDNN has no float64, and Jittor's own is a loop",
}
# The classes of PyTorch that have what the extras above write out, and what takes their place.
BASES = {
    ("layers.py", "Dropout"): (("nn.Dropout",), ("nn.Module",)),
    ("layers.py", "MaxPool2d"): (("nn.MaxPool2d",), ("nn.Pool",)),
    ("optimizer.py", "AdamW"): (("torch.optim.AdamW",), ("jt.optim.Optimizer",)),
    ("optimizer.py", "StepLR"): (("torch.optim.lr_scheduler.StepLR",), ()),
}
ALIASES = {
    "Conv2d",
    "ExactLinear",
    "GroupNorm",
    "LayerNorm",
    "Linear",
    "ReLU",
}  # detr_pt.layers takes these from torch.nn

Outline = dict[str, tuple[str, ...]]


def outline(source: str) -> Outline:
    """Every class and function by its dotted name, in order, with its arguments and their defaults, or base classes."""
    found: Outline = {}

    def visit(node: ast.AST, prefix: str) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.ClassDef):
                found[prefix + child.name] = tuple(ast.unparse(base) for base in child.bases)
                visit(child, f"{prefix}{child.name}.")
            elif isinstance(child, ast.FunctionDef):
                name = "forward" if child.name == "execute" else child.name
                found[prefix + name] = arguments(child.args)

    visit(ast.parse(source), "")
    return found


def arguments(given: ast.arguments) -> tuple[str, ...]:
    names = [argument.arg for argument in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
    defaults = [ast.unparse(default) for default in (*given.defaults, *(d for d in given.kw_defaults if d))]
    return (*names, "=", *defaults)


def sources(package: str) -> dict[str, str]:
    folder = ROOT / package
    return {str(path.relative_to(folder)): path.read_text(encoding="utf8") for path in sorted(folder.rglob("*.py"))}


def differences(left: dict[str, str], right: dict[str, str]) -> list[str]:
    """Where two packages are not mirror images."""
    alone = {(PACKAGES[file in right], file) for file in left.keys() ^ right.keys()}
    found = [f"{file}: in one package only" for _, file in sorted(alone ^ FILES.keys())]
    for file in sorted(left.keys() & right.keys()):
        outlines = []
        for package, source in zip(PACKAGES, (left[file], right[file]), strict=True):
            extras = {name.replace("execute", "forward") for name in EXTRAS.get((package, file), {})}
            whole = outline(source)
            found += [f"{file}: {name} is no longer an extra of {package}" for name in sorted(extras - whole.keys())]
            outlines.append({name: given for name, given in whole.items() if name not in extras})
        first, second = outlines
        found += [f"{file}: {name} in one package only" for name in first.keys() ^ second.keys()]
        found += [
            f"{file}: {name}{first[name]} against {second[name]}"
            for name in first
            if name in second and (first[name], second[name]) != BASES.get((file, name), (first[name],) * 2)
        ]
        if list(first) != list(second) and first.keys() == second.keys():
            found.append(f"{file}: another order")
    return found


def test_the_packages_are_mirror_images() -> None:
    left, right = (sources(package) for package in PACKAGES)
    assert len(left) >= 12
    assert sum(len(outline(source)) for source in left.values()) > 60
    assert differences(left, right) == []


def test_each_extra_has_a_reason_and_its_alias_in_pytorch() -> None:
    for names in EXTRAS.values():
        assert all(names.values())
    assigned = {
        target.id
        for node in ast.parse(sources("detr_pt")["layers.py"]).body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    assert assigned == ALIASES


def docstrings(source: str) -> str:
    """The text of all docstrings."""
    tree = ast.parse(source)
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    return "\n".join(ast.get_docstring(node) or "" for node in ast.walk(tree) if isinstance(node, documented))


@pytest.mark.parametrize(
    "file",
    [
        "attention.py",
        "transformer.py",
        "resnet.py",
        "postprocess.py",
        "box_ops.py",
        "matcher.py",
        "criterion.py",
    ],
)
def test_docstrings_agree(file: str) -> None:
    left, right = (docstrings(sources(package)[file]) for package in PACKAGES)
    assert left.replace("detr_pt", "detr_jt") == right


@pytest.mark.parametrize(
    ("file", "pattern", "replacement", "told"),
    [
        ("attention.py", r"key_padding_mask: Var", "padding: Var", "attention.py: MultiheadAttention.forward"),
        ("transformer.py", r"dropout: float = 0\.1", "dropout: float = 0.0", "transformer.py: Transformer.__init__"),
        ("box_ops.py", r"def box_xyxy_to_cxcywh", "def box_xyxy_to_centre", "box_ops.py: box_xyxy_to_cxcywh"),
        ("detr.py", r"class DETR\(nn\.Module\)", "class DETR(nn.Sequential)", "detr.py: DETR"),
        ("layers.py", r"def constant", "def number", "layers.py: constant is no longer an extra"),
    ],
)
def test_a_planted_difference_is_found(file: str, pattern: str, replacement: str, told: str) -> None:
    left, right = (sources(package) for package in PACKAGES)
    changed, count = re.subn(pattern, replacement, right[file])
    assert count > 0
    found = differences(left, right | {file: changed})
    assert any(text.startswith(told) for text in found), found


def test_a_missing_file_and_another_order_are_found() -> None:
    left, right = (sources(package) for package in PACKAGES)
    assert differences(left, right | {"more.py": ""}) == ["more.py: in one package only"]
    tree = ast.parse(right["resnet.py"])
    names = [getattr(node, "name", "") for node in tree.body]
    first, second = names.index("BasicBlock"), names.index("Bottleneck")
    tree.body[first], tree.body[second] = tree.body[second], tree.body[first]
    assert differences(left, right | {"resnet.py": ast.unparse(tree)}) == ["resnet.py: another order"]
