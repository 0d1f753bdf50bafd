from __future__ import annotations

from typing import Any

import numpy as np

from parity.capture import RECENT, Captured, Recent, RecentArrays, Recorder, Window


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


class ToyTensors:
    """Arrays that hold their version, the number of writes in place, in a table of their own."""

    def __init__(self) -> None:
        self.versions: dict[int, int] = {}

    def is_one(self, value: object) -> bool:
        return isinstance(value, np.ndarray)

    def key(self, tensor: Any) -> tuple[int, int]:
        return id(tensor), self.versions.get(id(tensor), 0)

    def hold(self, tensor: Any) -> Any:
        return tensor

    def write(self, tensor: Any) -> None:
        tensor += 1
        self.versions[id(tensor)] = self.versions.get(id(tensor), 0) + 1


TENSORS = ToyTensors()


def record(model: Toy, x: Any, weights: dict[str, Any] | None = None, named: Any = None) -> list[Captured]:
    captured: list[Captured] = []
    named = _walk(model) if named is None else named
    code_of = lambda module: (type(module).forward.__code__, "toy.py")  # noqa: E731
    model.recorder[:] = [Recorder(named, (weights or {}).items(), code_of, TENSORS, captured.append)]
    model(x)
    return captured


def _walk(model: Toy, name: str = "(root)") -> list[tuple[str, Toy]]:
    children = [(k, v) for k, v in vars(model).items() if isinstance(v, Toy)]
    return [(name, model), *[pair for k, v in children for pair in _walk(v, k)]]


def build(second: type[Toy] = Toy) -> Parent:
    recorder: list[Recorder] = []
    return Parent(recorder, first=Toy(recorder), second=second(recorder))


def test_outputs_and_what_the_caller_computed_come_in_execution_order() -> None:
    model = build()
    captured = record(model, np.zeros(2))
    assert [c.name for c in captured] == [
        "forward/first",
        "forward/second(0)",
        "forward/second",
        "forward/(root)[sum]",
        "forward/(root)[parts.0]",
        "forward/(root)[parts.1]",
    ]


def test_a_tensor_between_modules_is_charged_to_the_caller_at_its_line() -> None:
    model = build()
    between = record(model, np.zeros(2))[1]
    assert between.owner == "(root)"
    line = int(between.source.removeprefix("toy.py:"))
    assert line == Parent.forward.__code__.co_firstlineno + 2


def test_what_a_module_was_fed_is_told() -> None:
    model = build()
    captured = {c.name: c for c in record(model, np.zeros(2))}
    assert captured["forward/first"].inputs == "0 = argument 0"
    assert captured["forward/second"].inputs == "0 = second(0)"
    assert captured["forward/first"].caller == "(root)"


def test_a_module_that_returns_its_input_is_recorded_all_the_same() -> None:
    model = build(Through)
    captured = record(model, np.zeros(2))
    assert "forward/second" in [c.name for c in captured]


def test_further_calls_are_numbered() -> None:
    class Twice(Parent):
        def forward(self, x: Any) -> Any:
            return self.first(self.first(x))

    recorder: list[Recorder] = []
    model = Twice(recorder, first=Toy(recorder))
    captured = record(model, np.zeros(1))
    assert [c.name for c in captured] == ["forward/first", "forward/first#1", "forward/(root)"]


def test_a_weight_that_is_handed_on_is_named_after_its_owner() -> None:
    model = build()
    weight = np.ones(2)

    class Hands(Parent):
        def forward(self, x: Any) -> Any:
            return self.first(weight)

    model.__class__ = Hands
    captured = record(model, np.zeros(2), {"embed.weight": weight})
    assert (captured[0].name, captured[0].owner) == ("forward/embed.weight", "embed")


def test_modules_without_a_name_are_transparent() -> None:
    model = build()
    named = [pair for pair in _walk(model) if pair[0] != "first"]
    assert "forward/first" not in [c.name for c in record(model, np.zeros(2), named=named)]


def test_a_module_with_two_names_goes_by_the_first() -> None:
    model = build()
    named = [*_walk(model), ("alias", model.first)]
    assert "forward/first" in [c.name for c in record(model, np.zeros(2), named=named)]


def test_a_tensor_that_is_written_to_in_place_is_another_one() -> None:
    class Writes(Parent):
        def forward(self, x: Any) -> Any:
            y = self.first(x)
            TENSORS.write(y)
            return self.second(y)

    recorder: list[Recorder] = []
    captured = record(Writes(recorder, first=Toy(recorder), second=Toy(recorder)), np.zeros(2))
    assert [c.name for c in captured] == ["forward/first", "forward/second(0)", "forward/second", "forward/(root)"]


def test_what_is_passed_on_is_told_by_the_name_it_had() -> None:
    recent = Recent()
    captured = record(build(Through), np.zeros(2))
    repeats = {c.name: recent.find(c) for c in captured}
    assert repeats["forward/second"] == "forward/second(0)"
    assert repeats["forward/(root)[parts.0]"] == "forward/first"
    assert repeats["forward/first"] == repeats["forward/(root)[sum]"] == ""


def test_arrays_of_recent_entries_are_kept_as_long_as_they_can_be_repeated() -> None:
    recent, arrays = Recent(), RecentArrays()
    tensors = [np.full(2, float(i)) for i in range(RECENT + 1)]
    for i, tensor in enumerate([*tensors, tensors[1], tensors[0]]):
        name = f"forward/{i}"
        repeats = recent.find(Captured(name, "", "", tensor, "", "", id(tensor)))
        arrays.add(name, arrays[repeats] if repeats else tensor)
        assert arrays[name] is tensor
        assert bool(repeats) == (i == RECENT + 1), "only one of the last is looked for"


def test_windows_hold_every_tensor_once() -> None:
    sizes = [3, 4, 50, 1, 9, 2, 2]
    window, passes = Window(10), []
    while True:
        passes.append([i for i, size in enumerate(sizes) if window.holds(size)])
        if not window.advance():
            break
    assert passes == [[0, 1], [2], [3, 4], [5, 6]]


def test_of_a_frameworks_own_module_the_line_that_calls_it_is_told() -> None:
    captured: list[Captured] = []
    model = build()
    files = {Parent: "model.py", Toy: "torch/nn/toy.py"}

    def code_of(module: Toy) -> tuple[Any, str]:
        return type(module).forward.__code__, files[type(module)]

    model.recorder[:] = [Recorder(_walk(model), [], code_of, TENSORS, captured.append)]
    model(np.zeros(2))
    sources = {one.name: one.source for one in captured}
    own, first = Toy.forward.__code__.co_firstlineno, Parent.forward.__code__.co_firstlineno + 1
    assert sources["forward/first"] == f"torch/nn/toy.py:{own}, called in model.py:{first}"
    assert sources["forward/second"] == f"torch/nn/toy.py:{own}, called in model.py:{first + 1}"
    assert sources["forward/(root)[sum]"] == f"model.py:{first - 1}"

    files[Parent] = "jittor/nn.py"
    captured.clear()
    model.recorder[:] = [Recorder(_walk(model), [], code_of, TENSORS, captured.append)]
    model(np.zeros(2))
    assert {one.source for one in captured if one.name == "forward/first"} == {f"torch/nn/toy.py:{own}"}
