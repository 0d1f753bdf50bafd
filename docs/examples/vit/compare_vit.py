"""Is the port faithful? A few lines, and a verdict that can be asserted."""

import numpy as np

from parity import Optimizer, Port


def describe(port: str = "docs/examples/vit/vit_jittor.py") -> Port:
    draw = np.random.default_rng(0)
    return Port(
        "docs/examples/vit/vit_torch.py:build",
        f"{port}:build",
        inputs=draw.standard_normal((4, 3, 32, 32)).astype(np.float32),
        targets=np.array([1, 7, 3, 3]),
        loss=("docs/examples/vit/vit_torch.py:loss", f"{port}:loss"),
        optimizer=Optimizer("AdamW", lr=1e-3, weight_decay=0.05),
        renames={"embed": "patch_embed", "layers": "blocks", "layers.*.ffn": "blocks.*.mlp"},
    )


PORT = describe()

if __name__ == "__main__":
    verdict = PORT.compare()
    print(verdict)
    assert verdict, repr(verdict)
