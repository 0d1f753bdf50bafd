"""Losses and what they are made of."""

from parity.gotchas.entry import Gotcha, Relation, Theme

_CLASSES = (
    "r = np.random.default_rng(0); x = r.standard_normal((2, 5, 4)).astype(np.float32); "
    "y = np.array([[0, 3, 1, 1, 2], [2, 0, 0, 3, 1]]); w = np.array([1.0, 2.0, 0.5, 0.1], np.float32)"
)
_PAIR = "x = np.array([[1.0, -2.0]], np.float32); y = np.array([[1.0, 0.0]], np.float32)"

LOSSES = Theme(
    "Losses",
    (
        Gotcha(
            "cross-entropy-layout",
            "Cross entropy takes no [B, C, Q]",
            "The class logits of DETR, transposed as PyTorch wants them, are refused for more than one image. Flatten.",
            torch="float(F.cross_entropy(x.transpose(1, 2), y))",
            naive="float(nn.cross_entropy_loss(x.transpose(1, 2), y))",
            correct="float(nn.cross_entropy_loss(x.reshape(-1, 4), y.reshape(-1)))",
            inputs=_CLASSES,
            bound=1e-6,
            relation=Relation.RAISES,
            error="RuntimeError",
        ),
        Gotcha(
            "cross-entropy-weight",
            "Weighted cross entropy is divided by the sum of the weights",
            "Nothing differs.",
            torch="float(F.cross_entropy(x.reshape(-1, 4), y.reshape(-1), weight=w))",
            naive="float(nn.cross_entropy_loss(x.reshape(-1, 4), y.reshape(-1), weight=w))",
            inputs=_CLASSES,
            relation=Relation.AGREES,
            bound=1e-6,
        ),
        Gotcha(
            "cross-entropy-ignored",
            "With class weights, a label of -100 is not left out",
            "PyTorch leaves it out by default. Jittor does so without weights only; with them it takes the weight at "
            "index -100, which for fewer than a hundred classes lies in front of the array. Pass ignore_index.",
            torch="float(F.cross_entropy(x, y, weight=w))",
            naive="float(nn.cross_entropy_loss(x, y, weight=w))",
            correct="float(nn.cross_entropy_loss(x, y, weight=w, ignore_index=-100))",
            inputs="x = np.arange(303, dtype=np.float32).reshape(3, 101) % 7; y = np.array([0, -100, 1]); "
            "w = np.ones(101, np.float32)",
            bound=1e-6,
            apart=1e-3,
        ),
        Gotcha(
            "cross-entropy-label-out-of-range",
            "A label that is no class is left out of cross entropy",
            "PyTorch refuses it. Jittor counts such a row as 0, so that wrong labels train to a plausible loss; with "
            "class weights it reads past their end instead.",
            torch="float(F.cross_entropy(x[0], y))",
            naive="float(nn.cross_entropy_loss(x[0], y))",
            correct="if (y.numpy() >= x.shape[-1]).any(): raise IndexError('no such class')\n"
            "float(nn.cross_entropy_loss(x[0], y))",
            inputs=_CLASSES.split("; y =")[0] + "; y = np.array([0, 4, 1, 1, 2])",
        ),
        Gotcha(
            "cross-entropy-float-labels",
            "Cross entropy accepts floats as labels",
            "PyTorch refuses them.",
            torch="float(F.cross_entropy(x[0], y[0].float()))",
            naive="float(nn.cross_entropy_loss(x[0], y[0].float()))",
            correct="t = y[0].float()\nif t.dtype != 'int64': raise RuntimeError('labels are integers')\n0",
            inputs=_CLASSES,
        ),
        Gotcha(
            "cross-entropy-minus-infinity",
            "A logit of -inf makes cross entropy NaN",
            "Jittor multiplies by a one-hot vector, and 0 times infinity is NaN; PyTorch picks the element.",
            torch="float(F.cross_entropy(x, y))",
            naive="float(nn.cross_entropy_loss(x, y))",
            correct="float(nn.cross_entropy_loss(jt.maximum(x, -1e30), y))",
            inputs="x = np.array([[0.0, -np.inf, 0.0]], np.float32); y = np.array([0])",
            bound=1e-6,
        ),
        Gotcha(
            "softmax-axis",
            "softmax without an axis is over everything",
            "PyTorch guesses an axis of a matrix (with a warning); Jittor takes all elements together.",
            torch="F.softmax(x)",
            naive="nn.softmax(x)",
            correct="nn.softmax(x, dim=1)",
            inputs="x = np.array([[1.0, 2.0], [3.0, 4.0]], np.float32)",
            bound=1e-6,
        ),
        Gotcha(
            "softmax-padded-row",
            "softmax of a row that is wholly padding",
            "Nothing differs: masked_fill with -inf gives NaN in such a row in both; with -1e9 it would be uniform.",
            torch="x.masked_fill(y, float('-inf')).softmax(-1)",
            naive="nn.softmax(x.masked_fill(y, float('-inf')), dim=-1)",
            inputs="x = np.array([[1.0, 2.0], [3.0, 4.0]], np.float32); y = np.array([[True, True], [True, False]])",
            relation=Relation.AGREES,
        ),
        Gotcha(
            "bce-reduction",
            "Binary cross entropy with logits has no reduction",
            "Only the mean, or with size_average=False the sum; focal loss needs every element.",
            torch="F.binary_cross_entropy_with_logits(x, y, reduction='none')",
            naive="nn.binary_cross_entropy_with_logits(x, y, reduction='none')",
            correct="m = jt.maximum(-x, 0)\n(1 - y) * x + m + jt.log(jt.exp(-m) + jt.exp(-x - m))",
            inputs=_PAIR,
            bound=1e-6,
            relation=Relation.RAISES,
            error="TypeError",
        ),
        Gotcha(
            "l1-reduction",
            "L1 loss has no reduction",
            "Always the mean, so that the box loss, a sum over the matched boxes divided by their number, is "
            "written out.",
            torch="F.l1_loss(x, y, reduction='none')",
            naive="nn.l1_loss(x, y, reduction='none')",
            correct="(x - y).abs()",
            inputs=_PAIR,
            relation=Relation.RAISES,
            error="TypeError",
        ),
        Gotcha(
            "einsum",
            "einsum",
            "Nothing differs, as the attention maps of the mask head need it.",
            torch="torch.einsum('bqc,bkc->bqk', x, x)",
            naive="jt.linalg.einsum('bqc,bkc->bqk', x, x)",
            inputs=_CLASSES,
            relation=Relation.AGREES,
            bound=1e-6,
        ),
        Gotcha(
            "box-check-nan",
            "The check of boxes before GIoU and NaN",
            "Upstream asserts boxes[:, 2:] >= boxes[:, :2]. Comparisons with NaN are not defined in Jittor's "
            "kernels, so "
            "the assertion need not fire; ask isnan.",
            torch="bool((x > 0).any())",
            naive="bool((x > 0).any())",
            correct="bool(jt.logical_and(x > 0, jt.logical_not(jt.isnan(x))).any())",
            inputs="x = np.array([np.nan, np.nan], np.float32)",
        ),
    ),
)
