"""Is the port faithful? Ten lines, and a verdict that can be asserted."""

import numpy as np

from parity import Optimizer, compare_models

draw = np.random.default_rng(0)
verdict = compare_models(
    "docs/examples/vit/vit_torch.py:build",
    "docs/examples/vit/vit_jittor.py:build",
    inputs=draw.standard_normal((4, 3, 32, 32)).astype(np.float32),
    targets=np.array([1, 7, 3, 3]),
    loss=("docs/examples/vit/vit_torch.py:loss", "docs/examples/vit/vit_jittor.py:loss"),
    optimizer=Optimizer("AdamW", lr=1e-3, weight_decay=0.05, clip=1.0),
    renames={"embed": "patch_embed", "layers": "blocks", "layers.*.ffn": "blocks.*.mlp"},
)
if __name__ == "__main__":
    print(verdict)
    assert verdict, verdict
