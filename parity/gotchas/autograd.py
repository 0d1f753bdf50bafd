"""Gradients."""

from parity.gotchas.entry import Gotcha, Relation, Theme

_X = "x = np.array([1.0, 2.0, 2.0], np.float32)"
_TRACK = "x.requires_grad_()\n"

AUTOGRAD = Theme(
    "Gradients",
    (
        Gotcha(
            "gradient-abs-zero",
            "The gradient of |x| at 0 is 1",
            "PyTorch's is 0. An L1 loss pushes a box that is exactly right, and padded zeros collect gradient.",
            torch=f"{_TRACK}torch.autograd.grad(x.abs().sum(), x)[0]",
            naive="jt.grad(x.abs().sum(), x)",
            correct="jt.grad((x * jt.where(x > 0, 1.0, jt.where(x < 0, -1.0, 0.0)).stop_grad()).sum(), x)",
            inputs="x = np.array([-1.0, 0.0, 2.0], np.float32)",
        ),
        Gotcha(
            "gradient-maximum-tie",
            "Of two equal numbers, the second gets the whole gradient",
            "PyTorch halves it. Corners of boxes that coincide or are clipped meet this in the GIoU loss.",
            torch=f"{_TRACK}y.requires_grad_()\ntorch.autograd.grad(torch.maximum(x, y).sum(), [x, y])",
            naive="jt.grad(jt.maximum(x, y).sum(), [x, y])",
            correct="w = jt.where(x > y, 1.0, jt.where(x < y, 0.0, 0.5)).stop_grad()\n"
            "jt.grad((x * w + y * (1 - w)).sum(), [x, y])",
            inputs="x = np.array([1.0, 2.0], np.float32); y = np.array([1.0, 1.0], np.float32)",
        ),
        Gotcha(
            "gradient-max-tie",
            "Every largest element gets the whole gradient",
            "PyTorch gives it to the first along an axis, and shares it in a maximum of all.",
            torch=f"{_TRACK}torch.autograd.grad(x.max(0).values, x)[0]",
            naive="jt.grad(x.max(0), x)",
            correct="jt.grad(x[x.argmax(0)[0]], x)",
            inputs=_X,
        ),
        Gotcha(
            "gradient-mean",
            "The gradient of a float64 mean is right to eight digits only",
            "One over the number of elements is rounded to float32, which shows unless that number is a power of two. "
            "A layer norm of width 256 agrees with PyTorch's, one of width 96 is 1e-8 off.",
            torch=f"{_TRACK}torch.autograd.grad(x.mean(), x)[0]",
            naive="jt.grad(x.mean(), x)",
            correct="jt.grad(x.sum() / jt.array(np.array([3.0]), dtype='float64'), x)",
            inputs="x = np.array([1.0, 2.0, 4.0])",
            bound=1e-15,
            apart=1e-9,
        ),
        Gotcha(
            "gradient-clamp",
            "clamp, ReLU and square root at their corners",
            "Nothing differs: gradient 1 at the bound of clamp, 0 for ReLU at 0.",
            torch=f"{_TRACK}torch.autograd.grad((x.clamp(0, 2) + torch.relu(x)).sum(), x)[0]",
            naive="jt.grad((x.clamp(0, 2) + nn.relu(x)).sum(), x)",
            inputs="x = np.array([-1.0, 0.0, 1.0, 2.0, 3.0], np.float32)",
            relation=Relation.AGREES,
        ),
        Gotcha(
            "gradient-repeated-index",
            "An element read twice gets both gradients",
            "Nothing differs: they are added up.",
            torch=f"{_TRACK}torch.autograd.grad((x[i] * w).sum(), x)[0]",
            naive="jt.grad((x[i] * w).sum(), x)",
            inputs=f"{_X}; i = np.array([0, 0, 2]); w = np.array([1.0, 2.0, 4.0], np.float32)",
            relation=Relation.AGREES,
        ),
        Gotcha(
            "gradient-of-eval-module",
            "eval() switches gradients off",
            "It stops the gradient of every parameter: what jt.grad returns is 0, and an optimizer changes nothing. A "
            "check that calls eval() to silence dropout compares zeros.",
            torch="m = nn.Linear(2, 1)\nm.eval()\ntorch.autograd.grad(m(x).sum(), m.weight)[0]",
            naive="m = nn.Linear(2, 1)\nm.eval()\njt.grad(m(x).sum(), m.weight)",
            correct="m = nn.Linear(2, 1)\nfor k in m.modules(): k.is_train = False\njt.grad(m(x).sum(), m.weight)",
            inputs="x = np.ones((3, 2), np.float32)",
        ),
        Gotcha(
            "gradient-after-child-eval",
            "train() of the whole does not wake a part that was put to eval()",
            "Only the module on which eval() was called gives its gradients back. PyTorch knows no such state.",
            torch="m = nn.Sequential(nn.Linear(2, 1))\nm[0].eval()\nm.train()\nm[0].weight.requires_grad",
            naive="m = nn.Sequential(nn.Linear(2, 1))\nm[0].eval()\nm.train()\nm[0].weight.requires_grad",
            correct="m = nn.Sequential(nn.Linear(2, 1))\nm[0].eval()\nm[0].train()\nm.train()\n"
            "m[0].weight.requires_grad",
        ),
        Gotcha(
            "gradient-twice",
            "A second gradient of one graph",
            "PyTorch refuses, the graph being gone; Jittor returns 0 without a word once retain_graph is False.",
            torch=f"{_TRACK}l = (x * x).sum()\ntorch.autograd.grad(l, x)\ntorch.autograd.grad(l, x)[0]",
            naive="l = (x * x).sum()\njt.grad(l, x, retain_graph=False).sync()\njt.grad(l, x)",
            correct="l = (x * x).sum()\njt.grad(l, x, retain_graph=False).sync()\n"
            "if not jt.grad(l, x).any().item(): raise RuntimeError('the graph is gone')\n0",
            inputs=_X,
        ),
        Gotcha(
            "gradient-unused",
            "The gradient of what was not used is 0, not None",
            "PyTorch's None makes an optimizer leave a parameter alone; on Jittor's zeros it applies weight decay and "
            "momentum.",
            torch=f"{_TRACK}y.requires_grad_()\ntorch.autograd.grad(x.sum(), [x, y], allow_unused=True)[1]",
            naive="jt.grad(x.sum(), [x, y])[1]",
            correct="g = jt.grad(x.sum(), [x, y])[1]\ng if g.any().item() else None",
            inputs=f"{_X}; y = np.ones(2, np.float32)",
        ),
        Gotcha(
            "gradient-not-scalar",
            "The gradient of something that is no scalar",
            "PyTorch refuses, Jittor sums it first: a loss whose reduction was forgotten trains with a rate that grows "
            "with the batch.",
            torch=f"{_TRACK}torch.autograd.grad(x * x, x)[0]",
            naive="jt.grad(x * x, x)",
            correct="l = x * x\nif l.numel() != 1: raise RuntimeError('not a scalar')\njt.grad(l, x)",
            inputs=_X,
        ),
        Gotcha(
            "stop-grad-in-place",
            "stop_grad changes the Var itself",
            "It is no twin of PyTorch's detach(): everything computed from this Var, before and after, loses the "
            "gradient.",
            torch=f"{_TRACK}y = x * 2\nz = y.detach()\ntorch.autograd.grad((y * z).sum(), x)[0]",
            naive="y = x * 2\nz = y.stop_grad()\njt.grad((y * z).sum(), x)",
            correct="y = x * 2\nz = y.detach()\njt.grad((y * z).sum(), x)",
            inputs=_X,
        ),
        Gotcha(
            "backward-and-grad",
            "There is no loss.backward() and no x.grad",
            "Gradients come from jt.grad, or from optimizer.backward(loss) and parameter.opt_grad(optimizer).",
            torch=f"{_TRACK}(x * x).sum().backward()\nx.grad",
            naive="(x * x).sum().backward()\nx.grad",
            correct="jt.grad((x * x).sum(), x)",
            inputs=_X,
            relation=Relation.RAISES,
            error="RuntimeError",
        ),
        Gotcha(
            "gradient-hook-leaf",
            "A gradient hook of a leaf is never called",
            "On a parameter register_hook is silently dead; on an intermediate Var it works.",
            torch=f"{_TRACK}seen = []\nx.register_hook(lambda g: seen.append(1))\n"
            "torch.autograd.grad((x * 3).sum(), x)\nlen(seen)",
            naive="seen = []\nx.register_hook(lambda g: seen.append(1))\njt.grad((x * 3).sum(), x).sync()\nlen(seen)",
            correct="seen = []\ny = x * 1\ny.register_hook(lambda g: seen.append(1))\n"
            "jt.grad((y * 3).sum(), x).sync()\nlen(seen)",
            inputs=_X,
        ),
    ),
)
