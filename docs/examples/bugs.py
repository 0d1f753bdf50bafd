"""Faults that porters make, planted in the two examples: what is written instead, and where each must be found."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Bug:
    """A fault.

    Attributes:
        right: the text of the port that is replaced.
        wrong: what stands there instead.
        rung: where it must be found.
        module: that must be named, by the reference's name.
    """

    right: str
    wrong: str
    rung: str
    module: str


VIT = {
    "attention scale forgotten": Bug(" * self.scale", "", "layers", "blocks.0.attn"),
    "eps of layer norm left at its default": Bug("eps=1e-6", "eps=1e-5", "layers", "blocks.0.norm1"),
    "gelu by tanh": Bug(
        "nn.gelu(self.fc1(x))",
        "(lambda h: 0.5 * h * (1 + jt.tanh(0.7978845608 * (h + 0.044715 * h * h * h))))(self.fc1(x))",
        "layers",
        "blocks.0.mlp",
    ),
    "class token at the end": Bug("-1), x], dim=1)", "-1), x][::-1], dim=1)", "layers", "(root)"),
    "loss summed instead of averaged": Bug(
        "(logits, labels)\n", "(logits, labels, reduction='sum')\n", "losses", "criterion"
    ),
}

UNET = {
    "align_corners": Bug("align_corners=False", "align_corners=True", "layers", "(root)"),
    "groups of group norm": Bug("self.norm1 = GroupNorm(4,", "self.norm1 = GroupNorm(2,", "layers", "enc1.norm1"),
    "second ReLU forgotten": Bug(
        "return nn.relu(self.norm2(self.conv2(x)))", "return self.norm2(self.conv2(x))", "layers", "enc1"
    ),
    "skip connection detached": Bug("self.reduce(x), first]", "self.reduce(x), first.detach()]", "gradients", "(root)"),
    "dice without smoothing": Bug(" + 1) / (logits", ") / (logits", "losses", "criterion"),
}
