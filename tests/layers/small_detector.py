"""Options of a small detector."""

SMALL = {
    "backbone": "resnet18",
    "enc_layers": 2,
    "dec_layers": 2,
    "hidden_dim": 64,
    "nheads": 4,
    "dim_feedforward": 128,
    "num_queries": 20,
}
