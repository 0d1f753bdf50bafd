"""What detr_pt computes otherwise than PyTorch's own layers do, against them."""

import platform
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from detr_pt.layers import Dropout, MaxPool2d


@pytest.mark.parametrize("height", range(1, 9))
@pytest.mark.parametrize("width", [1, 2, 3, 8, 9])
def test_pooling_is_pytorchs_to_the_bit(height: int, width: int) -> None:
    x = torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(height * 10 + width))
    if width == 9:
        x[1, 2, height // 2, 4] = float("nan")
    before = x.clone()
    ours, theirs = MaxPool2d(), nn.MaxPool2d(3, stride=2, padding=1)
    assert ours(x).shape == theirs(x).shape
    torch.testing.assert_close(ours(x), theirs(x), rtol=0, atol=0, equal_nan=True)
    torch.testing.assert_close(x, before, rtol=0, atol=0, equal_nan=True)


def test_pooling_gives_a_tied_gradient_to_the_first() -> None:
    x = torch.ones(1, 1, 4, 4, requires_grad=True)
    MaxPool2d()(x).sum().backward()
    theirs = torch.ones(1, 1, 4, 4, requires_grad=True)
    nn.MaxPool2d(3, stride=2, padding=1)(theirs).sum().backward()
    assert torch.equal(x.grad, theirs.grad)


@pytest.mark.parametrize("p", [2**-16, 0.1, 0.5, 0.875, 1 - 2**-16])
def test_dropout_drops_as_many_as_it_should(p: float) -> None:
    torch.manual_seed(3)
    masks = [Dropout(p).keep(torch.empty(501, 799)).double() for _ in range(2)]
    spread = (p * (1 - p) / masks[0].numel()) ** 0.5
    for mask in masks:
        assert abs(mask.mean() - (1 - p)) < 5 * spread
    flat = masks[0].flatten()
    # Four values come of one number, so neighbours above all must not fall together.
    pairs = [
        (masks[0], masks[1]),
        (flat[1:], flat[:-1]),
        (flat[2:], flat[:-2]),
        (flat[4:], flat[:-4]),
        (masks[0][1:], masks[0][:-1]),
    ]
    for left, right in pairs:
        assert abs(np.corrcoef(left.flatten(), right.flatten())[0, 1]) < 5 / left.numel() ** 0.5


@pytest.mark.parametrize(("last", "least"), [(0, 1001), (2**14 - 1, 1001), (2**14, 1000), (2**16 - 1, 1000)])
def test_dropout_rounds_its_bound_as_often_as_it_should(last: int, least: int, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = np.array([0, 999, 1000, 1001, 2**16 - 1] + [0] * 7) - 2**15
    drawn[8] = np.array(last, np.uint16).view(np.int16)  # the lowest bits of the last number

    def draw(numbers: Tensor, *_: object) -> Tensor:
        return numbers.copy_(torch.from_numpy(drawn.astype(np.int16).view(np.int64)))

    monkeypatch.setattr(Tensor, "random_", draw)
    keep = Dropout((1000 + 1 / 4) / 2**16).keep(torch.empty(5))
    assert keep.tolist() == [value >= least for value in (0, 999, 1000, 1001, 2**16 - 1)]


def test_dropout_scales_what_it_keeps_and_its_gradient() -> None:
    layer = Dropout(0.25)
    x = torch.randn(7, 9, dtype=torch.float64, requires_grad=True)
    torch.manual_seed(4)
    y = layer(x)
    torch.manual_seed(4)
    keep = layer.keep(x)
    assert 0 < keep.sum() < keep.numel()
    torch.testing.assert_close(y, torch.where(keep, x / 0.75, 0.0), rtol=1e-15, atol=0)
    y.sum().backward()
    torch.testing.assert_close(x.grad, keep.double() / 0.75, rtol=1e-15, atol=0)


def test_dropout_of_nothing_of_all_and_in_evaluation() -> None:
    x = torch.randn(5, 3)
    assert torch.equal(Dropout(0.0)(x), x)
    assert not Dropout(1.0)(x).any()
    assert torch.equal(Dropout(0.9).eval()(x), x)
    assert Dropout(0.5)(torch.empty(0, 4)).shape == (0, 4)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_freed_memory_is_used_again() -> None:
    code = """
import resource
import torch
from detr_common.memory import keep_freed_memory

def pages():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(2**24)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

first = min(pages() for _ in range(4))
assert keep_freed_memory()
one, later = torch.ones(2**24), torch.ones(2**24)
del one
print(first, min(pages() for _ in range(40)))
"""
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    plain, kept = map(int, output.split())
    # 64 MiB; pages may be larger than 4 KiB.
    assert plain > 20 > kept, output
