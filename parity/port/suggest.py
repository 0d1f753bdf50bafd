"""Renames that would explain why weights do not match: one rule for many of them, where there is one."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from detr_common.errors import InputError
from parity.port.names import Renames

Shapes = Mapping[str, Sequence[int]]

# Of the rules that pairs of weights speak for, so many are tried on all weights; and so many are proposed at most.
_TRIED = 8
_MOST = 50
# A rule for a single weight is no better than its two names.
_FEWEST = 2


def suggest(theirs: Shapes, own: Shapes, rules: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Find rules that give weights of the port the names of weights of the reference that have none.

    Args:
        theirs: shapes of the reference's weights by name.
        own: shapes of the port's weights, by the names that ``rules`` give them.
        rules: of renaming, as they are.

    Returns:
        Rules to add, and what they explain: names that only the reference has by those that only the port has, each as
        in ``theirs`` and ``own``.
    """
    # Rules speak of the port's own names.
    originals = {original(name, rules): tuple(shape) for name, shape in own.items()}
    # One that both have in two shapes is told of as such, and no rename mends it.
    wanted = {name: tuple(own.get(name, shape)) for name, shape in theirs.items()}
    added: dict[str, str] = {}
    matches = _matches(originals, wanted, rules)
    while len(added) < _MOST:
        left = [name for name in originals if name not in matches]
        free = [name for name in wanted if name not in matches.values()]
        best, most = None, matches
        for rule in _candidates(left, free, originals, wanted):
            tried = _matches(originals, wanted, {**rules, **added, **dict([rule])})
            if len(tried) > len(most):
                best, most = rule, tried
        if best is None or len(most) - len(matches) < _FEWEST:
            break
        added |= dict([best])
        matches = most
    before = {name for name in own if name in theirs}
    named = {name: original(name, rules) for name in own}
    return added, {name: matches[named[name]] for name in own if name not in before and named[name] in matches}


def original(name: str, rules: Mapping[str, str]) -> str:
    """Return the port's own name of a weight that rules have renamed, where it can be told; else the name as it is."""
    back = {reference: port for port, reference in rules.items() if port.count("*") == reference.count("*")}
    found = Renames(back)(name)
    return found if Renames(rules)(found) == name else name


def _matches(own: Mapping[str, Sequence[int]], wanted: Shapes, rules: Mapping[str, str]) -> dict[str, str]:
    """Return the reference's names by the port's, where rules lead to a weight of the same shape; none twice."""
    try:
        rename = Renames(rules)
    except InputError:
        return {}
    renamed = {name: rename(name) for name in own}
    times = Counter(renamed.values())
    return {name: new for name, new in renamed.items() if times[new] == 1 and wanted.get(new) == own[name]}


def _candidates(own: Sequence[str], wanted: Sequence[str], own_shapes: Shapes, shapes: Shapes) -> list[tuple[str, str]]:
    """Return the rules for which most pairs of weights of one shape and kind speak, those first that keep the order."""
    alike: dict[tuple[str, tuple[int, ...]], list[tuple[int, str]]] = defaultdict(list)
    for place, name in enumerate(wanted):
        alike[name.rpartition(".")[2], tuple(shapes[name])].append((place, name))
    votes: Counter[tuple[str, str]] = Counter()
    moved: dict[tuple[str, str], int] = {}
    for place, name in enumerate(own):
        for other_place, other in alike[name.rpartition(".")[2], tuple(own_shapes[name])]:
            for rule in _rules(name.split("."), other.split(".")):
                votes[rule] += 1
                moved.setdefault(rule, abs(place - other_place))
    return sorted(votes, key=lambda rule: (-votes[rule], moved[rule], len(rule[0]), rule))[:_TRIED]


def _rules(port: list[str], reference: list[str]) -> list[tuple[str, str]]:
    """Return the shortest rule that leads from one path to another, and the same for all numbers in its place."""
    if port == reference:
        return []
    shorter = min(len(port), len(reference))
    common = next((i for i in range(shorter) if port[-1 - i] != reference[-1 - i]), shorter)
    start, end = port[: len(port) - common], reference[: len(reference) - common]
    if not start or not end:
        # A part in front of the whole path is left out, or added.
        return [(".".join([*start, "*"]), ".".join([*end, "*"]))]
    rules = [(".".join(start), ".".join(end))]
    numbers = [[part for part in path if part.isdigit()] for path in (start, end)]
    if numbers[0] and numbers[0] == numbers[1]:
        rules.append((_starred(start), _starred(end)))
    return rules


def _starred(path: Sequence[str]) -> str:
    return ".".join("*" if part.isdigit() else part for part in path)
