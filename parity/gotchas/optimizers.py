"""Optimizers, clipping and schedules."""

from parity.gotchas.entry import Gotcha, Relation, Theme

_W = "w = np.array([1.0, -2.0], np.float32)"
_TORCH_STEP = "{opt}\nfor k in range(3):\n    o.zero_grad(); (w * w).sum().backward(); o.step()\nw"
_JITTOR_STEP = "{opt}\nfor k in range(3):\n    o.step((w * w).sum())\nw"
_T = "w.requires_grad_()\n"

OPTIMIZERS = Theme(
    "Optimizers",
    (
        Gotcha(
            "adamw",
            "AdamW takes the same step",
            "Nothing differs while every setting is given and there is one backward for each step.",
            torch=_T + _TORCH_STEP.format(opt="o = torch.optim.AdamW([w], lr=0.01, weight_decay=0.1)"),
            naive=_JITTOR_STEP.format(opt="o = jt.optim.AdamW([w], lr=0.01, weight_decay=0.1)"),
            inputs=_W,
            relation=Relation.AGREES,
            bound=2e-7,
        ),
        Gotcha(
            "adamw-weight-decay",
            "AdamW has no weight decay unless asked",
            "PyTorch's default is 0.01.",
            torch=_T + _TORCH_STEP.format(opt="o = torch.optim.AdamW([w], lr=0.01)"),
            naive=_JITTOR_STEP.format(opt="o = jt.optim.AdamW([w], lr=0.01)"),
            correct=_JITTOR_STEP.format(opt="o = jt.optim.AdamW([w], lr=0.01, weight_decay=0.01)"),
            inputs=_W,
            bound=2e-7,
            apart=1e-5,
        ),
        Gotcha(
            "weight-decay-vanishes",
            "At DETR's settings float32 weights do not decay, in both",
            "1 - 1e-4 * 1e-4 is 1 in float32. Nothing differs and nothing decays: do not look for an effect.",
            torch=_T + "o = torch.optim.AdamW([w], lr=1e-4, weight_decay=1e-4)\nw.grad = w.detach() * 0\no.step()\nw",
            naive="o = jt.optim.AdamW([w], lr=1e-4, weight_decay=1e-4)\no.step((w * 0).sum())\nw",
            inputs=_W,
            relation=Relation.AGREES,
        ),
        Gotcha(
            "adam-eps",
            "Adam adds eps before the bias correction",
            "With gradients near eps the first steps are ten times smaller than PyTorch's; AdamW is right.",
            torch=_T + "o = torch.optim.Adam([w], lr=0.1)\n(w * 1e-9).sum().backward()\no.step()\nw",
            naive="o = jt.optim.Adam([w], lr=0.1)\no.step((w * 1e-9).sum())\nw",
            correct="o = jt.optim.AdamW([w], lr=0.1, weight_decay=0)\no.step((w * 1e-9).sum())\nw",
            inputs=_W,
            bound=1e-6,
            apart=1e-3,
        ),
        Gotcha(
            "sgd-dampening",
            "SGD dampens the first step too",
            "PyTorch takes the first gradient whole.",
            torch=_T
            + "o = torch.optim.SGD([w], lr=0.1, momentum=0.9, dampening=0.5)\n(w * w).sum().backward()\no.step()\nw",
            naive="o = jt.optim.SGD([w], lr=0.1, momentum=0.9, dampening=0.5)\no.step((w * w).sum())\nw",
            correct="o = jt.optim.SGD([w], lr=0.1)\no.step((w * w).sum())\nw",
            inputs=_W,
            bound=1e-7,
        ),
        Gotcha(
            "unused-parameter",
            "A parameter without gradient is still decayed",
            "Its gradient is 0 instead of None, so AdamW applies weight decay and old momentum to it.",
            torch=_T + "v = (w * 1).detach().requires_grad_()\n"
            "o = torch.optim.AdamW([w, v], lr=0.1, weight_decay=0.5)\n(w * w).sum().backward()\no.step()\nv",
            naive="v = w.copy()\no = jt.optim.AdamW([w, v], lr=0.1, weight_decay=0.5)\no.step((w * w).sum())\nv",
            correct="v = w.copy()\no = jt.optim.AdamW([w], lr=0.1, weight_decay=0.5)\no.step((w * w).sum())\nv",
            inputs=_W,
        ),
        Gotcha(
            "clip-norm",
            "The norm for clipping loses digits with the number of parameters",
            "It is one float32 sum over all gradients, one after the other: 0.8 % too small for ten million elements, "
            "2.2 % for DETR's 41 million. Sum in float64, tensor by tensor.",
            torch="float(g.norm())",
            naive="o = jt.optim.SGD([g], lr=1.0)\no.backward((g * g).sum() / 2)\n"
            "o.clip_grad_norm(1.0)\n1 / float(g.opt_grad(o)[0] / g[0])",
            correct="float((g.float64() ** 2).sum().sqrt())",
            inputs="g = np.random.default_rng(0).standard_normal(10_000_000, np.float32)",
            bound=1e-3,
            apart=4e-3,
        ),
        Gotcha(
            "clip-to-zero",
            "Clipping to a norm of 0 stops the training",
            "Upstream's 0 means: do not clip. Jittor multiplies every gradient by 0, as PyTorch's function does.",
            torch=_T + "o = torch.optim.SGD([w], lr=0.1)\n(w * w).sum().backward()\nmax_norm = 0\n"
            "if max_norm > 0: torch.nn.utils.clip_grad_norm_([w], max_norm)\no.step()\nw",
            naive="o = jt.optim.SGD([w], lr=0.1)\no.backward((w * w).sum())\nmax_norm = 0\n"
            "o.clip_grad_norm(max_norm)\no.step()\nw",
            correct="o = jt.optim.SGD([w], lr=0.1)\no.backward((w * w).sum())\nmax_norm = 0\n"
            "if max_norm > 0: o.clip_grad_norm(max_norm)\no.step()\nw",
            inputs=_W,
            bound=1e-7,
        ),
        Gotcha(
            "group-learning-rate",
            "A group has no lr unless it was given one",
            "Code that reads or scales group['lr'] for every group fails, or leaves some groups as they are.",
            torch=_T + "torch.optim.AdamW([w], lr=0.1).param_groups[0]['lr']",
            naive="jt.optim.AdamW([w], lr=0.1).param_groups[0]['lr']",
            correct="jt.optim.AdamW([{'params': [w], 'lr': 0.1}], lr=0.1).param_groups[0]['lr']",
            inputs=_W,
            relation=Relation.RAISES,
            error="KeyError",
        ),
        Gotcha(
            "group-learning-rate-name",
            "An unknown key of a group is ignored",
            "A schedule that writes group['learning_rate'] logs a decay that never happens; the key is lr.",
            torch=_T
            + "o = torch.optim.SGD([w], lr=0.1)\no.param_groups[0]['lr'] = 0.0\n(w * w).sum().backward()\no.step()\nw",
            naive="o = jt.optim.SGD([w], lr=0.1)\no.param_groups[0]['learning_rate'] = 0.0\no.step((w * w).sum())\nw",
            correct="o = jt.optim.SGD([w], lr=0.1)\no.param_groups[0]['lr'] = 0.0\no.step((w * w).sum())\nw",
            inputs=_W,
        ),
        Gotcha(
            "zero-grad-late",
            "zero_grad after backward does not clear",
            "It only marks the next backward as the first: a step taken now still applies the gradients.",
            torch=_T + "o = torch.optim.SGD([w], lr=0.1)\n(w * w).sum().backward()\no.zero_grad()\no.step()\nw",
            naive="o = jt.optim.SGD([w], lr=0.1)\no.backward((w * w).sum())\no.zero_grad()\no.step()\nw",
            correct="o = jt.optim.SGD([w], lr=0.1)\no.zero_grad()\nw",
            inputs=_W,
        ),
        Gotcha(
            "step-without-backward",
            "step before the first backward raises",
            "PyTorch does nothing.",
            torch=_T + "o = torch.optim.AdamW([w], lr=0.1)\no.step()\nw",
            naive="o = jt.optim.AdamW([w], lr=0.1)\no.step()\nw",
            correct="o = jt.optim.AdamW([w], lr=0.1)\nw",
            inputs=_W,
            relation=Relation.RAISES,
            error="KeyError",
        ),
        Gotcha(
            "accumulation-bias",
            "Accumulated gradients distort Adam's bias correction",
            "The step counter counts calls of backward, not of step.",
            torch=_T + "o = torch.optim.AdamW([w], lr=0.1, weight_decay=0)\nfor k in range(3):\n"
            "    o.zero_grad()\n    for j in range(4): (w * w).sum().backward()\n    o.step()\nw",
            naive="o = jt.optim.AdamW([w], lr=0.1, weight_decay=0)\nfor k in range(3):\n"
            "    o.zero_grad()\n    for j in range(4): o.backward((w * w).sum())\n    o.step()\nw",
            correct="o = jt.optim.AdamW([w], lr=0.1, weight_decay=0)\nfor k in range(3):\n"
            "    o.step(sum((w * w).sum() for j in range(4)))\nw",
            inputs=_W,
            bound=1e-6,
            apart=1e-3,
        ),
        Gotcha(
            "step-lr-one",
            "StepLR with a step of 1 skips the first drop",
            "Longer steps agree.",
            torch=_T + "o = torch.optim.SGD([w], lr=1.0)\ns = torch.optim.lr_scheduler.StepLR(o, 1)\nr = []\n"
            "for k in range(3): o.step(); s.step(); r.append(round(o.param_groups[0]['lr'], 6))\nr",
            naive="o = jt.optim.SGD([w], lr=1.0)\ns = jt.lr_scheduler.StepLR(o, 1)\nr = []\n"
            "for k in range(3): s.step(); r.append(round(o.param_groups[0].get('lr', o.lr), 6))\nr",
            correct="o = jt.optim.SGD([{'params': [w], 'lr': 1.0}], lr=1.0)\nr = []\n"
            "for k in range(3): o.param_groups[0]['lr'] = 0.1 ** (k + 1); r.append(round(0.1 ** (k + 1), 6))\nr",
            inputs=_W,
        ),
        Gotcha(
            "optimizer-state",
            "The state of an optimizer has another form",
            "Jittor's holds the parameters and gradients themselves under 'defaults'; PyTorch's cannot be loaded into "
            "it and must be converted: exp_avg to m, exp_avg_sq to v, step to n_step.",
            torch=_T + "sorted(torch.optim.AdamW([w], lr=0.1).state_dict())",
            naive="sorted(jt.optim.AdamW([w], lr=0.1).state_dict())",
            correct="d = jt.optim.AdamW([w], lr=0.1).state_dict()['defaults']\n"
            "sorted({'param_groups': d['param_groups'], 'state': {}})",
            inputs=_W,
        ),
    ),
)
