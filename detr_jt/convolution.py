"""The convolution of float64, which oneDNN does not serve; PyTorch has its own."""

from collections.abc import Sequence

import jittor as jt
from jittor import Var, nn

from detr_jt.kernels import product, product_alone


class Conv2d(nn.Conv):
    """A convolution whose float64 form is a matrix product of its patches.

    oneDNN serves float32 only, and the loops that Jittor falls back to are a hundred times slower.
    """

    def execute(self, x: Var) -> Var:
        """Map [B, C_in, H, W] to [B, C_out, H', W']."""
        if x.dtype != "float64":
            return super().execute(x)
        assert self.groups == 1 and x.shape[1] == self.in_channels, f"{self.in_channels} channels, not {x.shape}"
        y = self.by_pixel(x) if self.is_by_pixel else _Convolution.apply(x, self.weight, self)
        # Now, so that the patches of one layer at a time are in memory.
        y.sync()
        return y if self.bias is None else y + self.bias.reshape(1, -1, 1, 1)

    @property
    def is_by_pixel(self) -> bool:
        """Whether every output pixel is of one input pixel, in the same place."""
        return set((*self.kernel_size, *self.stride)) == {1} and not any(self.padding)

    def by_pixel(self, x: Var) -> Var:
        """Map [B, C_in, H, W] to [B, C_out, H, W] without its bias: the patches are the map itself."""
        batch, channels, *size = x.shape
        weight = self.weight.reshape(-1, channels)
        return product(weight, x.reshape(batch, channels, -1), transposed=False).reshape(batch, -1, *size)

    def patches(self, x: Var, after: Sequence[Var] = ()) -> tuple[Var, tuple[int, int, int]]:
        """Return the inputs of every output pixel, [C_in K_h K_w, B H' W'], and (B, H', W').

        Args:
            x: [B, C_in, H, W].
            after: what is to be there before they are gathered.
        """
        (kh, kw), (sh, sw), (ph, pw), (dh, dw) = self.kernel_size, self.stride, self.padding, self.dilation
        batch, channels, height, width = x.shape
        rows = (height + 2 * ph - dh * (kh - 1) - 1) // sh + 1
        columns = (width + 2 * pw - dw * (kw - 1) - 1) // sw + 1
        patches = x.reindex([channels, kh, kw, batch, rows, columns], self.sources(), extras=list(after))
        # Fused into the product, the gathering would be done once for every output channel.
        patches = patches.reshape(channels * kh * kw, batch * rows * columns).stop_fuse()
        return patches, (batch, rows, columns)

    def sources(self) -> list[str]:
        """Return where each value of ``patches`` comes from, in [B, C_in, H, W], as ``reindex`` takes it."""
        (sh, sw), (ph, pw), (dh, dw) = self.stride, self.padding, self.dilation
        return ["i3", "i0", f"i4*{sh}-{ph}+i1*{dh}", f"i5*{sw}-{pw}+i2*{dw}"]


class _Convolution(jt.Function):
    """See ``Conv2d``. As a function, since patches are nine times the map that they are gathered from again here."""

    def execute(self, x: Var, weight: Var, layer: Conv2d) -> Var:
        self.inputs, self.layer = (x, weight), layer
        patches, size = layer.patches(x)
        y = product_alone(weight.reshape(weight.shape[0], -1), patches, transposed=False)
        return y.reshape(weight.shape[0], *size).transpose(1, 0, 2, 3)

    def grad(self, pull: Var) -> tuple[Var, Var, None]:
        x, weight = self.inputs
        # Once the gradient is there: else all layers' patches would be gathered first, which depend on no gradient.
        patches, size = self.layer.patches(x, after=[pull])
        outputs, inputs, *kernel = weight.shape
        pull = pull.transpose(1, 0, 2, 3).reshape(outputs, -1)
        of_weight = product_alone(pull, patches, transposed=True).reshape(weight.shape)
        of_patches = product_alone(weight.reshape(outputs, -1).transpose(1, 0), pull, transposed=False)
        of_patches = of_patches.reshape(inputs, *kernel, *size)
        return of_patches.reindex_reduce("add", x.shape, self.layer.sources()), of_weight, None
