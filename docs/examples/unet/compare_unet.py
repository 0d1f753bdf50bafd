"""A port whose modules have other names and another order."""

import numpy as np

from parity import Optimizer, Port

RENAMES = {
    "down.0": "enc1",
    "down.1": "enc2",
    "down.2": "mid",
    "transposed": "up2",
    "up.0": "dec2",
    "up.1": "dec1",
    "head": "out",
}


def describe(port: str = "docs/examples/unet/unet_jittor.py") -> Port:
    draw = np.random.default_rng(0)
    return Port(
        "docs/examples/unet/unet_torch.py:build",
        f"{port}:build",
        inputs=draw.standard_normal((2, 3, 24, 32)).astype(np.float32),
        targets=(draw.random((2, 1, 24, 32)) < 0.3).astype(np.float32),
        loss=("docs/examples/unet/unet_torch.py:loss", f"{port}:loss"),
        optimizer=Optimizer("AdamW", lr=1e-3, weight_decay=0.05),
        renames=RENAMES,
    )


PORT = describe()

if __name__ == "__main__":
    verdict = PORT.compare()
    print(verdict)
    assert verdict, repr(verdict)
