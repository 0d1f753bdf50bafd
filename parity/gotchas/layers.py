"""Layers of nn."""

from parity.gotchas.entry import Gotcha, Relation, Theme

_NORMAL = "np.random.default_rng(0).standard_normal"
_MAP = f"x = {_NORMAL}((1, 4, 6, 6)).astype(np.float32)"

LAYERS = Theme(
    "Layers",
    (
        Gotcha(
            "layer-norm-mean",
            "Layer norm loses digits when the mean is large",
            "It takes the variance as E[x^2] - E[x]^2. Near mean 0, as in DETR, the loss is small; at a mean of "
            "hundred "
            "deviations two digits are left.",
            torch="nn.LayerNorm(256)(x)",
            naive="nn.LayerNorm(256)(x)",
            correct="c = x - x.mean(-1, keepdims=True)\nc = c - c.mean(-1, keepdims=True)\n"
            "c / ((c * c).mean(-1, keepdims=True) + 1e-5).sqrt()",
            inputs=f"x = {_NORMAL}((8, 256)).astype(np.float32) + np.float32(100)",
            bound=5e-6,
            apart=1e-4,
        ),
        Gotcha(
            "group-norm-mean",
            "Group norm loses digits when the mean is large",
            "The same formula; the mask head uses this layer.",
            torch="nn.GroupNorm(2, 4)(x + 100)",
            naive="nn.GroupNorm(2, 4)(x + 100)",
            correct="c = (x + 100).reshape(1, 2, -1)\nc = c - c.mean(-1, keepdims=True)\n"
            "c = c - c.mean(-1, keepdims=True)\n"
            "(c / ((c * c).mean(-1, keepdims=True) + 1e-5).sqrt()).reshape(x.shape)",
            inputs=_MAP,
            bound=5e-6,
            apart=1e-4,
        ),
        Gotcha(
            "batch-norm-variance",
            "Batch norm keeps the biased variance",
            "PyTorch's running_var takes n / (n - 1) times the variance of the batch. It shows with small batches.",
            torch="m = nn.BatchNorm1d(1)\nm(x)\nm.running_var",
            naive="m = nn.BatchNorm1d(1)\nm.train()\nm(x).sync()\nm.running_var",
            correct="0.9 + 0.1 * x.var(0) * len(x) / (len(x) - 1)",
            inputs="x = np.array([[0.0], [1.0], [2.0], [5.0]], np.float32)",
            bound=1e-6,
            apart=1e-3,
        ),
        Gotcha(
            "dropout-off",
            "A new Dropout does nothing",
            "It is inactive until train() is called on it or on a module around it; in PyTorch a module trains "
            "from the "
            "start.",
            torch="bool((nn.Dropout(0.5)(x) == 0).any())",
            naive="bool((nn.Dropout(0.5)(x) == 0).any())",
            correct="m = nn.Dropout(0.5)\nm.train()\nbool((m(x) == 0).any())",
            inputs="x = np.ones(200, np.float32)",
        ),
        Gotcha(
            "dropout-function",
            "The function dropout does nothing by default",
            "PyTorch's drops unless told otherwise, Jittor's must be told is_train=True.",
            torch="bool((F.dropout(x, 0.5) == 0).any())",
            naive="bool((nn.dropout(x, 0.5) == 0).any())",
            correct="bool((nn.dropout(x, 0.5, is_train=True) == 0).any())",
            inputs="x = np.ones(200, np.float32)",
        ),
        Gotcha(
            "attention-name",
            "MultiheadAttention is not in nn",
            "It is jittor.attention.MultiheadAttention.",
            torch="sorted(nn.MultiheadAttention(8, 2).state_dict())",
            naive="sorted(nn.MultiheadAttention(8, 2).state_dict())",
            correct="sorted(jt.attention.MultiheadAttention(8, 2).state_dict())",
            relation=Relation.RAISES,
            error="AttributeError",
        ),
        Gotcha(
            "attention-init",
            "Splitting the projection of attention changes its initial values",
            "Xavier's bound depends on the shape: the packed [3E, E] matrix has a smaller one than three of [E, "
            "E]. Jittor's "
            "own module keeps the packed form; a port with three linear layers starts elsewhere.",
            torch="float(nn.MultiheadAttention(64, 2).in_proj_weight.abs().max())",
            naive="w = jt.empty((64, 64))\n_ = nn.init.xavier_uniform_(w)\nfloat(w.abs().max())",
            correct="w = jt.empty((192, 64))\n_ = nn.init.xavier_uniform_(w)\nfloat(w.abs().max())",
            bound=1e-2,
            apart=0.2,
        ),
        Gotcha(
            "attention-dropout",
            "Attention drops no weights while it returns them",
            "With need_weights=True, the default and what DETR's self_attn(...)[0] uses, dropout is lost in training. "
            "need_weights=False applies it.",
            torch="m = nn.MultiheadAttention(8, 2, dropout=0.5)\nm.train()\n"
            "bool((m(x, x, x)[0] == m(x, x, x)[0]).all())",
            naive="m = jt.attention.MultiheadAttention(8, 2, dropout=0.5)\nm.train()\n"
            "bool((m(x, x, x)[0] == m(x, x, x)[0]).all())",
            correct="m = jt.attention.MultiheadAttention(8, 2, dropout=0.5)\nm.train()\n"
            "bool((m(x, x, x, need_weights=False)[0] == m(x, x, x, need_weights=False)[0]).all())",
            inputs=f"x = {_NORMAL}((5, 2, 8)).astype(np.float32)",
        ),
        Gotcha(
            "interpolate-mode",
            "interpolate is bilinear by default",
            "PyTorch's is nearest. A padding mask made smaller bilinearly has values between 0 and 1, and as a bool it "
            "marks too much as padding.",
            torch="F.interpolate(x, size=(2, 4)).bool()",
            naive="nn.interpolate(x, size=(2, 4)).bool()",
            correct="nn.interpolate(x, size=(2, 4), mode='nearest').bool()",
            inputs="x = np.zeros((1, 1, 4, 8), np.float32); x[..., 3:] = 1.0",
        ),
        Gotcha(
            "interpolate-nearest",
            "interpolate, nearest",
            "Nothing differs: source pixel floor(i * in / out), in both directions.",
            torch="F.interpolate(x, size=(4, 13), mode='nearest')",
            naive="nn.interpolate(x, size=(4, 13), mode='nearest')",
            inputs="x = np.arange(70, dtype=np.float32).reshape(1, 1, 7, 10)",
            relation=Relation.AGREES,
        ),
        Gotcha(
            "interpolate-scale",
            "interpolate with a scale",
            "PyTorch places the samples by the scale that was given, Jittor by the ratio of the sizes, which were "
            "rounded. Give the size.",
            torch="F.interpolate(x, size=(4, 4), mode='bilinear', align_corners=False) - "
            "F.interpolate(x, scale_factor=0.7, mode='bilinear', align_corners=False)",
            naive="nn.interpolate(x, size=(4, 4), mode='bilinear') - "
            "nn.interpolate(x, scale_factor=0.7, mode='bilinear')",
            correct="k = np.clip((np.arange(4) + 0.5) / 0.7 - 0.5, 0, None)\nlo = k.astype(int)\n"
            "hi = np.minimum(lo + 1, 5)\nf = (k - lo).astype(np.float32)\na = x.numpy()[0]\n"
            "r = a[:, lo] * (1 - f[None, :, None]) + a[:, hi] * f[None, :, None]\n"
            "r = r[:, :, lo] * (1 - f) + r[:, :, hi] * f\n"
            "nn.interpolate(x, size=(4, 4), mode='bilinear') - jt.array(r[None])",
            inputs=_MAP,
            bound=1e-5,
        ),
        Gotcha(
            "interpolate-float64",
            "Bilinear interpolation of float64 is right to eight digits",
            "The ratio of the sizes is a Python number, which Jittor rounds to float32. Weights made by NumPy keep "
            "their "
            "digits.",
            torch="F.interpolate(x, size=(1, 3), mode='bilinear', align_corners=False)",
            naive="nn.interpolate(x, size=(1, 3), mode='bilinear')",
            correct="k = np.clip((np.arange(3) + 0.5) * 7 / 3 - 0.5, 0, None)\nlo = k.astype(np.int32)\n"
            "f = jt.array(k - lo, dtype='float64')\nx[:, :, :, lo] * (1 - f) + x[:, :, :, lo + 1] * f",
            inputs="x = np.random.default_rng(0).standard_normal((1, 2, 1, 7))",
            bound=1e-14,
            apart=1e-10,
        ),
        Gotcha(
            "interpolate-single",
            "interpolate to a single value",
            "A result of one element in all does not compile: an image of up to 32 pixels, alone in its batch.",
            torch="F.interpolate(x, size=(1, 1))",
            naive="nn.interpolate(x, size=(1, 1), mode='nearest').numpy()",
            correct="x[:, :, :1, :1]",
            inputs="x = np.ones((1, 1, 32, 32), np.float32)",
            relation=Relation.RAISES,
            error="RuntimeError",
        ),
        Gotcha(
            "conv",
            "A convolution",
            "Nothing differs with oneDNN, to the last bit in most cases: stride, padding and dilation mean the same.",
            torch="F.conv2d(x, x[:, :, :3, :3], stride=2, padding=2, dilation=2)",
            naive="nn.conv2d(x, x[:, :, :3, :3], stride=2, padding=2, dilation=2)",
            inputs=_MAP,
            relation=Relation.AGREES,
            bound=1e-6,
        ),
        Gotcha(
            "max-pool-small",
            "Max pooling refuses a map no larger than its window",
            "Kernel 3 with padding 1 works on a 3 x 3 map in PyTorch; Jittor wants more. The stem meets it on tiny "
            "images.",
            torch="nn.MaxPool2d(3, 2, 1)(x)",
            naive="nn.MaxPool2d(3, 2, 1)(x)",
            correct="p = nn.pad(x, (1, 1, 1, 1), value=-1e38)\nnn.MaxPool2d(3, 2)(p)",
            inputs=f"x = {_NORMAL}((1, 1, 3, 3)).astype(np.float32)",
            relation=Relation.RAISES,
            error="RuntimeError",
        ),
        Gotcha(
            "max-pool-minus-infinity",
            "Max pooling of -inf is finite",
            "As every maximum in Jittor: it starts at the lowest float.",
            torch="nn.MaxPool2d(3, 2, 1)(x)",
            naive="nn.MaxPool2d(3, 2, 1)(x)",
            correct="p = nn.MaxPool2d(3, 2, 1)(x)\njt.where(p < -3.4e38, -float('inf'), p)",
            inputs="x = np.full((1, 1, 4, 4), -np.inf, np.float32)",
        ),
    ),
)
