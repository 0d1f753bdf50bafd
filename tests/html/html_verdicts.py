"""Made-up results, as ``--json`` writes them, and a reader of pages that is strict about what it reads."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

import numpy as np

from parity.evidence import look
from parity.ladder import LadderVerdict
from parity.metrics import Error
from parity.ops.session import OpsVerdict
from parity.ops.session import Result as Operation
from parity.policy import Calibrated32, Exact64, Steps
from parity.steps_verdict import Finding, FreeStep, StepsVerdict
from parity.verdict import Judgement, LayersVerdict

VOID = {"meta", "link", "br", "input", "path", "rect"}
SETTINGS = {
    "args": {"backbone": "resnet50", "enc_layers": 6, "dec_layers": 6, "dilation": False, "lr": 0.1},
    "weights": {"name": "seeded.pkl", "bytes": 12, "sha256": "ab" * 32, "seed": 42},
    "images": [{"name": "a.jpg", "bytes": 1, "sha256": "cd" * 32, "shape": [3, 8, 8]}, {"cut_of": "a.jpg"}],
    "mutant": "",
    "environment": {"torch": {"torch": "2.4"}, "jittor": {"jittor": "1.3", "cache": "/x/g++12.2.0/py3.11.7/Linux-1"}},
}


def error(relative: float) -> Error:
    return Error(relative, relative / 3, 1.0, 0.5, 0, 5000)


def tensor(number: int, failed: bool = False, layer: str = "transformer.encoder.layers", **more: Any) -> Judgement:
    owner = more.pop("owner", f"{layer}.{number // 20}.part{number // 4 % 5}.linear")
    wrong = 0.3 if failed else 2e-15 * (1 + number % 7)
    fields: dict[str, Any] = {
        "problems": ("float64 error is 0.3 of the scale, above 1e-12",) if failed else (),
        "worst": "at [0]: 1 instead of 2" if failed else "",
        "floats": (error(0.3 if failed else 1.5e-6), error(1e-6)),
        "error64": error(wrong),
        "ratio": 1.5,
        "ratio_max": 1.9,
    }
    name = more.pop("name", f"forward/{owner}({number})")
    return Judgement(name, owner, "detr_jt/attention.py:54", (3, 100, 256), **{**fields, **more})


def evidence(dtype: str = "float64") -> dict[str, Any] | None:
    truth = np.random.default_rng(0).standard_normal((2, 8, 30, 30))
    value = truth.copy()
    value[1, 3:, :, 5] += 0.1
    return look(value.astype(dtype), truth, dtype, truth.astype("float32") if dtype == "float32" else None)


def layers(count: int = 40, failed: int = 0, rung: str = "layers", **more: Any) -> LayersVerdict:
    first = count - failed
    judgements = more.pop("judgements", None) or [
        tensor(i, i >= first, evidence=evidence() if first <= i < first + 3 else None) for i in range(count)
    ]
    gaps: dict[str, Any] = {"idle": [], "unexercised": [], "crashes": [], **more}
    return LayersVerdict(
        judgements=judgements,
        modules=count // 4,
        exact=Exact64(),
        calibrated=Calibrated32(few=4000, few_max=8),
        settings=SETTINGS,
        rung=rung,
        **gaps,
    )


def steps(*findings: Finding, distance: float = 1e-7) -> StepsVerdict:
    free = tuple(
        FreeStep(i, 20.0 - i, 1e-12 * (i + 1), distance * (i + 1), 2e-7 * (i + 1), 1e-7, 2e-7) for i in range(10)
    )
    counts = {"forced": 4661, "free": 4860}
    return StepsVerdict(findings, (), (), counts, {"float64": {"param": 1.5}, "float32": {}}, free, Steps(), SETTINGS)


def ops(complaint: str = "") -> OpsVerdict:
    good = Operation("softmax", "", 20, 1e-16, 1.2, "", "")
    return OpsVerdict((good, Operation("max", "7.1", 20, 0.0, 0.0, complaint, "x = [nan]")))


def ladder(count: int = 40, failed: int = 0) -> dict[str, Any]:
    tensors = [layers(count, failed, rung) for rung in ("layers", "losses", "gradients")]
    wanted = ("ops", "layers", "losses", "gradients", "steps")
    return LadderVerdict(wanted, [ops(), *tensors, steps()]).as_dict()


class Page(HTMLParser):
    """A page, taken apart; elements must be closed in the order in which they were opened."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        assert len(dict(attrs)) == len(attrs), (tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:
            return
        assert self.open and self.open.pop() == tag, (tag, self.open, self.getpos())

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in ("style", "script"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.elements if name == tag]

    @property
    def ids(self) -> list[str]:
        return [attrs["id"] or "" for _, attrs in self.elements if "id" in attrs]
