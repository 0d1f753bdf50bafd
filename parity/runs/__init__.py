"""Whole runs of training in both frameworks, from the same weights on the same batches, beside twins of PyTorch's."""
