"""Compares modules as they are, in one process; what the process was like before has to be so afterwards."""

import json
import random
import sys

import numpy as np
import torch

from detr_common.jittor_ready import ready

ready()
sys.path.insert(0, "docs/examples/vit")
import vit_jittor  # noqa: E402
import vit_torch  # noqa: E402

from parity import Optimizer, compare_models  # noqa: E402

torch.manual_seed(0)
reference, port = vit_torch.build(depth=1), vit_jittor.build(depth=1)
random.seed(5)
np.random.seed(5)
states = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()
weights = [p.detach().clone() for p in reference.parameters()]
own = [p.numpy() for p in port.parameters()]
subnormal = torch.tensor([1e-40])
# What has run before may have switched them off already.
kept = bool(subnormal * 0.5 > 0)
draw = np.random.default_rng(0)
images = draw.standard_normal((2, 3, 32, 32)).astype(np.float32)
renames = {"embed": "patch_embed", "layers": "blocks", "layers.*.ffn": "blocks.*.mlp"}
in_float64 = compare_models(reference, port, images, renames=renames, rungs=["layers"], dtype="float64").verdicts[1]
verdict = compare_models(
    reference,
    port,
    images,
    np.array([1, 2]),
    loss=(vit_torch.loss, vit_jittor.loss),
    optimizer=Optimizer("AdamW", lr=1e-3, weight_decay=float(sys.argv[1])) if len(sys.argv) > 1 else None,
    renames=renames,
    free=3,
)
print(
    json.dumps(
        {
            "verdict": repr(verdict),
            "float64 alone": bool(in_float64) and all(one.floats is None for one in in_float64.judgements),
            "random": random.getstate() == states[0],
            "numpy": bool((np.random.get_state()[1] == states[1]).all()),
            "torch": bool((torch.get_rng_state() == states[2]).all()),
            "weights": all(bool((p == q).all()) for p, q in zip(reference.parameters(), weights, strict=True)),
            "port": all(bool((p.numpy() == q).all()) for p, q in zip(port.parameters(), own, strict=True)),
            "training": reference.training,
            "subnormal": bool(subnormal * 0.5 > 0) == kept,
            "dtype": str(torch.get_default_dtype()),
        }
    )
)
