"""Options of a detector whose transformer is small; the backbone is the real one."""

SMALL = {"enc_layers": 2, "dec_layers": 2, "hidden_dim": 64, "nheads": 4, "dim_feedforward": 128, "num_queries": 20}
