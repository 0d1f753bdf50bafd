from __future__ import annotations

from typing import Any

import numpy as np

from parity.capture import Captured, Recorder


class Toy:
    """A module of a framework of its own: tensors are arrays, and calling goes through the recorder."""

    def __init__(self, recorder: list[Recorder], **children: Toy) -> None:
        self.recorder = recorder
        self.__dict__.update(children)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.recorder[0].enter(self, args, kwargs)
        output = self.forward(*args, **kwargs)
        self.recorder[0].leave(self, output)
        return output

    def forward(self, x: Any) -> Any:
        return x + 1


class Parent(Toy):
    first: Toy
    second: Toy

    def forward(self, x: Any) -> Any:
        y = self.first(x)
        z = self.second(y * 2)  # computed here, between the modules
        return {"sum": y + z, "parts": [y, z]}


class Through(Toy):
    def forward(self, x: Any) -> Any:
        return x


def record(model: Toy, names: dict[int, str], x: Any, weights: dict[int, str] | None = None) -> list[Captured]:
    captured: list[Captured] = []
    modules = {name: module for name, module in _walk(model)}
    codes = {name: (type(m).forward.__code__, "toy.py") for name, m in modules.items()}
    is_tensor = lambda value: isinstance(value, np.ndarray)  # noqa: E731
    model.recorder[:] = [Recorder(names, weights or {}, codes, is_tensor, captured.append)]
    model(x)
    return captured


def _walk(model: Toy, name: str = "(root)") -> list[tuple[str, Toy]]:
    children = [(k, v) for k, v in vars(model).items() if isinstance(v, Toy)]
    return [(name, model), *[pair for k, v in children for pair in _walk(v, k)]]


def build(second: type[Toy] = Toy) -> tuple[Parent, dict[int, str]]:
    recorder: list[Recorder] = []
    model = Parent(recorder, first=Toy(recorder), second=second(recorder))
    return model, {id(module): name for name, module in _walk(model)}


def test_outputs_and_what_the_caller_computed_come_in_execution_order() -> None:
    model, names = build()
    captured = record(model, names, np.zeros(2))
    assert [c.name for c in captured] == [
        "forward/first",
        "forward/second(0)",
        "forward/second",
        "forward/(root)[sum]",
        "forward/(root)[parts.0]",
        "forward/(root)[parts.1]",
    ]


def test_a_tensor_between_modules_is_charged_to_the_caller_at_its_line() -> None:
    model, names = build()
    between = record(model, names, np.zeros(2))[1]
    assert between.owner == "(root)"
    line = int(between.source.removeprefix("toy.py:"))
    assert line == Parent.forward.__code__.co_firstlineno + 2


def test_what_a_module_was_fed_is_told() -> None:
    model, names = build()
    captured = {c.name: c for c in record(model, names, np.zeros(2))}
    assert captured["forward/first"].inputs == "0 = argument 0"
    assert captured["forward/second"].inputs == "0 = second(0)"
    assert captured["forward/first"].caller == "(root)"


def test_a_module_that_returns_its_input_is_recorded_all_the_same() -> None:
    model, names = build(Through)
    captured = record(model, names, np.zeros(2))
    assert "forward/second" in [c.name for c in captured]


def test_further_calls_are_numbered() -> None:
    class Twice(Parent):
        def forward(self, x: Any) -> Any:
            return self.first(self.first(x))

    recorder: list[Recorder] = []
    model = Twice(recorder, first=Toy(recorder))
    captured = record(model, {id(m): n for n, m in _walk(model)}, np.zeros(1))
    assert [c.name for c in captured] == ["forward/first", "forward/first#1", "forward/(root)"]


def test_a_weight_that_is_handed_on_is_named_after_its_owner() -> None:
    model, names = build()
    weight = np.ones(2)

    class Hands(Parent):
        def forward(self, x: Any) -> Any:
            return self.first(weight)

    model.__class__ = Hands
    captured = record(model, names, np.zeros(2), {id(weight): "embed.weight"})
    assert (captured[0].name, captured[0].owner) == ("forward/embed.weight", "embed")


def test_modules_without_a_name_are_transparent() -> None:
    model, names = build()
    del names[id(model.first)]
    assert "forward/first" not in [c.name for c in record(model, names, np.zeros(2))]
