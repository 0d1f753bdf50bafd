"""Is the port faithful? A few lines, and a verdict that can be asserted."""

import numpy as np

from parity import Optimizer, compare_models


def compare(port: str = "docs/examples/vit/vit_jittor.py", **options):
    draw = np.random.default_rng(0)
    return compare_models(
        "docs/examples/vit/vit_torch.py:build",
        f"{port}:build",
        inputs=draw.standard_normal((4, 3, 32, 32)).astype(np.float32),
        targets=np.array([1, 7, 3, 3]),
        loss=("docs/examples/vit/vit_torch.py:loss", f"{port}:loss"),
        optimizer=Optimizer("AdamW", lr=1e-3, weight_decay=0.05),
        renames={"embed": "patch_embed", "layers": "blocks", "layers.*.ffn": "blocks.*.mlp"},
        **options,
    )


if __name__ == "__main__":
    verdict = compare()
    print(verdict)
    assert verdict, repr(verdict)
