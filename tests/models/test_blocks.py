"""A backbone's step in oneDNN's layout: as exact as the modules are, and only where nobody looks at them."""

import copy
import functools
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from detr_pt import blocks
from detr_pt.layers import FrozenBatchNorm2d
from detr_pt.resnet import BasicBlock, Bottleneck, ResNet

BLOCKS = (BasicBlock, Bottleneck)


def network(name: str = "resnet18", dilation: bool = False, far: bool = False) -> ResNet:
    """A network whose norms do something; ``far``: and whose ReLUs are so far from 0 that rounding changes no side."""
    return copy.deepcopy(drawn(name, dilation, far))


@functools.cache
def drawn(name: str, dilation: bool, far: bool) -> ResNet:
    torch.manual_seed(0)
    body = ResNet(name, dilation, all_maps=True)
    for module in body.modules():
        if isinstance(module, FrozenBatchNorm2d):
            count = len(module.weight)
            module.running_mean.copy_(torch.randn(count) / 10)
            module.running_var.copy_(torch.rand(count) + 0.5)
            module.weight.copy_((torch.rand(count) + 1) / (10 if far else 2))
            module.bias.copy_(torch.randn(count).sign() * 6 if far else torch.randn(count) / 3)
    return body


def images(size: int = 64) -> Tensor:
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))


def passed(body: ResNet, x: Tensor) -> list[Tensor]:
    """All maps, and the gradients of all parameters that their squares give."""
    body.zero_grad()
    maps = body(x)
    torch.stack([one.square().sum() for one in maps]).sum().backward()
    return [one.detach() for one in maps] + [p.grad.clone() for p in body.parameters() if p.grad is not None]


@pytest.fixture
def any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "LEAST_PIXELS", 0)


@pytest.mark.parametrize(("name", "dilation"), [("resnet18", False), ("resnet50", False), ("resnet50", True)])
@pytest.mark.parametrize(("far", "factor"), [(False, 1.25), (True, 2.0)], ids=["maps", "gradients"])
def test_what_is_computed_in_blocks_is_as_exact(
    name: str, dilation: bool, far: bool, factor: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = network(name, dilation, far)
    usual = passed(body, images())
    monkeypatch.setattr(blocks, "LEAST_PIXELS", 0)
    assert blocks.can_be_in_blocks(body, images(), BLOCKS)
    found = passed(body, images())
    truth = passed(body.double(), images().double())
    assert len(usual) == len(found) == len(truth) > 20
    assert not all(torch.equal(one, other) for one, other in zip(usual, found, strict=True)), "both are the same path"
    # Near 0 a ReLU may let a value pass in one of them alone, and its gradients then differ by more than rounding.
    for one, other, exact in list(zip(usual, found, truth, strict=True))[: None if far else 4]:
        assert other.layout == torch.strided
        assert other.shape == exact.shape
        assert exact.norm() > 0
        assert (other - exact).norm() <= factor * (one - exact).norm() + 2**-24 * exact.norm()


@pytest.mark.usefixtures("any_size")
def test_the_last_map_is_returned_where_not_all_are_wanted() -> None:
    body = network()
    last = body(images())[-1]
    body.all_maps = False
    assert torch.equal(*body(images()), last) and last.shape[1] == body.num_channels[-1]


def test_factors_are_those_of_each_norm() -> None:
    body = network("resnet50")
    body.bn1.eps, body.layer3[2].bn2.eps = 0.3, 0.7
    norms = [module for module in body.modules() if isinstance(module, FrozenBatchNorm2d)]
    found = blocks.factors(body)
    assert list(found) == norms
    for norm in norms:
        for one, other in zip(found[norm], norm.folded(), strict=True):
            assert torch.equal(one, other.flatten())
    expected = {norm: factors[0].clone() for norm, factors in found.items()}
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with torch.device("meta"):
            again = blocks.factors(body)
    finally:
        torch.set_default_dtype(before)
    assert all(torch.equal(again[norm][0], scale) and scale.dtype == torch.float32 for norm, scale in expected.items())


@pytest.mark.usefixtures("any_size")
def test_parameters_that_are_not_trained_get_no_gradient_in_blocks() -> None:
    body = network()
    body.layer1.requires_grad_(False)
    assert blocks.can_be_in_blocks(body, images(), BLOCKS)
    passed(body, images())
    trained = {name for name, parameter in body.named_parameters() if parameter.grad is not None}
    assert trained == {name for name, _ in body.named_parameters() if not name.startswith("layer1")}


class Functions(TorchFunctionMode):
    def __torch_function__(self, function: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return function(*args, **(kwargs or {}))


class Dispatch(TorchDispatchMode):
    def __torch_dispatch__(self, function: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return function(*args, **(kwargs or {}))


class Passing(nn.Module):
    """A class that nothing is known of."""

    def forward(self, x: Tensor) -> Tensor:
        return x.view(x.shape)


@contextmanager
def hooked(register: Callable[[nn.Module], torch.utils.hooks.RemovableHandle], body: ResNet) -> Iterator[None]:
    handle = register(body.layer2[0].bn1)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def without_onednn(_: ResNet) -> Iterator[None]:
    torch.backends.mkldnn.enabled = False
    yield
    torch.backends.mkldnn.enabled = True


@contextmanager
def other_class(body: ResNet) -> Iterator[None]:
    relu, body.layer3[0].relu1 = body.layer3[0].relu1, Passing()
    yield
    body.layer3[0].relu1 = relu


@contextmanager
def other_forward(body: ResNet) -> Iterator[None]:
    body.layer3[0].conv1.forward = lambda x: nn.Conv2d.forward(body.layer3[0].conv1, x).view(-1).view(2, 256, 4, 4)
    yield
    del body.layer3[0].conv1.forward


@contextmanager
def put(module: nn.Module, name: str, other: Any) -> Iterator[None]:
    before = getattr(module, name)
    setattr(module, name, other)
    yield
    setattr(module, name, before)


def convolution(**changes: Any) -> nn.Conv2d:
    return nn.Conv2d(128, 128, 3, **{"padding": 1, "bias": False} | changes)


@contextmanager
def anomalies() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with torch.autograd.detect_anomaly():
            yield


@contextmanager
def not_finite(body: ResNet, value: float = float("nan")) -> Iterator[None]:
    weight = body.layer1[0].conv1.weight
    before = weight.detach().clone()
    with torch.no_grad():
        weight[0] = value
    yield
    with torch.no_grad():
        weight.copy_(before)


@contextmanager
def wrong_norm(body: ResNet, buffer: str, value: float) -> Iterator[None]:
    values = getattr(body.layer1[0].bn1, buffer)
    before = values.clone()
    values[3] = value
    yield
    values.copy_(before)


@contextmanager
def in_evaluation(body: ResNet) -> Iterator[None]:
    body.eval()
    yield
    body.train()


LOOKING = {
    "in evaluation": in_evaluation,
    "NaN": not_finite,
    "infinity": lambda body: not_finite(body, float("inf")),
    "a huge weight": lambda body: not_finite(body, -1e6),
    "negative variance": lambda body: wrong_norm(body, "running_var", -1.0),
    "NaN in a norm": lambda body: wrong_norm(body, "bias", float("nan")),
    "anomalies": lambda _: anomalies(),
    "bias": lambda body: put(body.layer2[1], "conv2", convolution(bias=True)),
    "groups": lambda body: put(body.layer2[1], "conv2", convolution(groups=2)),
    "reflection": lambda body: put(body.layer2[1], "conv2", convolution(padding_mode="reflect")),
    "no ReLU": lambda body: put(body.layer2[1], "relu2", nn.Sequential()),
    "no pooling": lambda body: put(body, "maxpool", nn.Sequential()),
    "longer shortcut": lambda body: put(
        body.layer2[0], "downsample", nn.Sequential(*body.layer2[0].downsample, nn.ReLU())
    ),
    "class of all": lambda _: put(nn.ReLU, "forward", lambda _self, x: torch.relu(x)),
    "forward hook": lambda body: hooked(lambda one: one.register_forward_hook(lambda *_: None), body),
    "hook before": lambda body: hooked(lambda one: one.register_forward_pre_hook(lambda *_: None), body),
    "backward hook": lambda body: hooked(lambda one: one.register_full_backward_hook(lambda *_: None), body),
    "hook of all": lambda body: hooked(lambda _: nn.modules.module.register_module_forward_hook(lambda *_: None), body),
    "without gradients": lambda _: torch.no_grad(),
    "functions": lambda _: Functions(),
    "dispatch": lambda _: Dispatch(),
    "autocast": lambda _: torch.autocast("cpu"),
    "without oneDNN": without_onednn,
    "other class": other_class,
    "other forward": other_forward,
}


@pytest.mark.usefixtures("any_size")
@pytest.mark.parametrize("how", LOOKING)
def test_where_somebody_looks_maps_are_as_usual(how: str) -> None:
    body = network()
    assert blocks.can_be_in_blocks(body, images(), BLOCKS)
    with LOOKING[how](body):
        assert not blocks.can_be_in_blocks(body, images(), BLOCKS)
        body(images())
    assert blocks.can_be_in_blocks(body, images(), BLOCKS)


@pytest.mark.usefixtures("any_size")
def test_a_hook_is_shown_an_array() -> None:
    body, seen = network(), []
    body.layer1[0].conv1.register_forward_hook(lambda _module, _inputs, output: seen.append(output.numpy(force=True)))
    body(images())
    assert seen[0].shape == (2, 64, 16, 16)


@pytest.mark.usefixtures("any_size")
@pytest.mark.parametrize("without", [torch.no_grad, torch.inference_mode])
def test_predictions_are_the_same_whether_somebody_looks(without: Callable[[], Any]) -> None:
    body = network()
    with without():
        assert not blocks.can_be_in_blocks(body, images(), BLOCKS)
        alone = body(images())
        body.layer1[0].conv1.register_forward_hook(lambda *_: None)
        assert all(map(torch.equal, alone, body(images())))


@pytest.mark.usefixtures("any_size")
@pytest.mark.parametrize("value", [float("nan"), float("-inf"), 1e6])
def test_what_is_not_finite_in_an_image_goes_on(value: float) -> None:
    body, x = network(), images()
    x[1, 2, 3, 4] = value
    assert not blocks.can_be_in_blocks(body, x, BLOCKS)
    assert body(x)[-1].isfinite().all() == (value == 1e6)


@pytest.mark.usefixtures("any_size")
def test_gradients_of_functions_are_taken_as_before() -> None:
    body = network()

    def total(parameters: dict[str, Tensor], x: Tensor) -> Tensor:
        return torch.func.functional_call(body, parameters, (x,))[-1].square().sum()

    parameters = {name: weight.detach() for name, weight in body.named_parameters()}
    gradients = torch.func.grad(total)(parameters, images())
    passed(body, images())
    assert gradients.keys() == parameters.keys() and all(gradient.isfinite().all() for gradient in gradients.values())


def test_float64_and_small_images_are_as_usual() -> None:
    body = network()
    large = torch.zeros(1, 3, 256, 256)
    assert blocks.can_be_in_blocks(body, large, BLOCKS)
    assert not blocks.can_be_in_blocks(body, large[..., :255], BLOCKS)
    assert not blocks.can_be_in_blocks(body.double(), large.double(), BLOCKS)
