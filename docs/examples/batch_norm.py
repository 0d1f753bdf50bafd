"""A batch norm for ports of models that are trained: Jittor's, with the running variance that PyTorch keeps.

Jittor's own keeps the variance of the batch as it is, PyTorch n / (n - 1) times it, where n is the number of values of a
channel. Use it in place of ``nn.BatchNorm1d``, ``nn.BatchNorm2d`` and ``nn.BatchNorm3d``.
"""

from jittor import nn


class BatchNorm(nn.BatchNorm):
    """Batch normalisation (Ioffe and Szegedy 2015) that keeps the unbiased variance; arguments as of Jittor's."""

    def execute(self, x):
        """Normalise [B, C, ...]."""
        before = self.running_var.clone()
        out = super().execute(x)
        if self.is_train:
            axes = [0, *range(2, x.ndim)]
            n = x.numel() // x.shape[1]
            # Of centred values: the mean of squares, from which Jittor takes it, loses digits.
            centred = (x - x.mean(axes, keepdims=True)).detach()
            variance = (centred * centred).mean(axes) * (n / (n - 1))
            self.running_var.update(before + (variance - before) * self.momentum)
        return out
