"""The ladder for a port of any model: ``compare_models`` runs it on a model of PyTorch and its port to Jittor."""
