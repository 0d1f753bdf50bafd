"""A harness that shows how far a Jittor port is from its PyTorch model."""
