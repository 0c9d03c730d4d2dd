"""What a claim is, and how a number for it is read from a recorded file. The claims: ``tangent_lib.report.claims``.

A measure takes a recorded file and a seed and gives one number, the side that the paper calls greater minus the other.
It is positive where the claim holds. Nothing here decides a verdict: ``tangent_lib.report.ledger`` does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tangent_lib.report import paper

Record = Mapping[str, object]  # a recorded file, as ``tangent_lib.recorded`` writes it
SMALL, LARGE = "ViT-Mini-8", "ViT-Mini-L-8"  # the smallest and the largest miniature


class NotRecorded(LookupError):
    """A recorded file lacks what a measure needs; the message says what."""


@dataclass(frozen=True)
class Part:
    """One number that decides a claim or a part of it.

    Attributes:
        label: what is subtracted from what.
        measure: of one recorded file and a seed (or of several files, then ``models`` names them); positive: it holds.
        unit: a key of ``UNITS``.
        models: the files of a comparison between models; none: the model of the ledger.
        over: ``seeds``; ``rounds``, timed repetitions of one measurement; ``count``, a number that does not vary.
    """

    label: str
    measure: Callable[..., float]
    unit: str = "points"
    models: tuple[str, ...] = ()
    over: str = "seeds"


@dataclass(frozen=True)
class Claim:
    """A claim of a paper and the test of it.

    Attributes:
        name: short and stable.
        paper: S1, the tangent-space paper, or S2, the attention-only paper.
        where: the places in the paper.
        statement: the claim in our words.
        quote: the paper's words.
        printed: the paper's own figure, in words and numbers, with its table.
        page: the notebook that measures it; empty where none does.
        anchor: the figure or table there.
        parts: what decides; all have to hold.
        note: what the test does not say, or a choice that is ours.
        cause: why it may fail here; shown where it does.
        untested: why there is no measure, where there is none.
    """

    name: str
    paper: str
    where: str
    statement: str
    quote: str
    printed: str
    page: str = ""
    anchor: str = ""
    parts: tuple[Part, ...] = ()
    note: str = ""
    cause: str = ""
    untested: str = ""


@dataclass(frozen=True)
class Quantity:
    """What is read off the summary of a mode and a seed."""

    name: str
    path: tuple[str, ...]
    reduce: Callable[..., float] = float
    unit: str = "points"


def pick(found: object, *path: str) -> object:
    """What lies under a path of keys.

    Raises:
        NotRecorded: with the path up to the first key that is missing.

    Example:
        >>> pick({"summaries": {"linear": {"0": 0.5}}}, "summaries", "linear", "0")
        0.5
        >>> pick({"summaries": {}}, "summaries", "linear", "0")
        Traceback (most recent call last):
        tangent_lib.report.claim_measures.NotRecorded: summaries / linear
    """
    for depth, key in enumerate(path, start=1):
        if not isinstance(found, Mapping) or key not in found:
            raise NotRecorded(" / ".join(path[:depth]))
        found = found[key]
    return found


def mean_of(values: Mapping[str, float]) -> float:
    """The mean over tasks, or over task pairs.

    Example:
        >>> mean_of({"Signs": 0.5, "Digits": 0.75})
        0.625
    """
    return float(np.mean(list(values.values())))


def mean_over_pairs(values: Mapping[str, Sequence[float]]) -> float:
    """The mean over task pairs and over the recorded alphas, 0.2 to 1.

    Example:
        >>> mean_over_pairs({"Signs-Digits": [0.25, 0.5], "Scenes-Textures": [0.75, 1.0]})
        0.625
    """
    return float(np.mean([np.mean(each) for each in values.values()]))


SINGLE = Quantity("single-task accuracy", ("single",), mean_of)
ABSOLUTE = Quantity("addition, absolute accuracy", ("addition", "absolute"))
NORMALISED = Quantity("addition, normalised accuracy", ("addition", "normalised"))
ALPHA = Quantity("chosen α of addition", ("addition", "alpha"), unit="α")
CURVE = Quantity("addition, accuracy averaged over all α", ("addition", "curve"), lambda curve: float(np.mean(curve)))
TARGET = Quantity("negation, target", ("negation",), lambda each: mean_of({k: v["target"] for k, v in each.items()}))
CONTROL = Quantity("negation, control", ("negation",), lambda each: mean_of({k: v["control"] for k, v in each.items()}))
XI = Quantity("ξ, averaged over pairs and α", ("xi",), mean_over_pairs, "ξ")
KL = Quantity("KL of representations, averaged over pairs and α", ("kl",), mean_over_pairs, "nats")
COSINE = Quantity("|cosine| between task vectors", ("cosine",), unit="cosine")

# the factor from what is recorded to what is shown, the format, the word; ξ sums over two tasks and lies between 0 and 2
UNITS = {
    "points": (100, "+.1f", "points"),
    "ξ": (1, "+.3f", "ξ"),
    "nats": (1, "+.2g", "nats"),
    "cosine": (1, "+.3f", "cosine"),
    "α": (1, "+.2f", "α"),
    "rank": (1, "+.2f", "rank"),
    "share": (1, "+.3f", "share"),
    "times": (1, "+.2f", "times"),
}


def value(record: Record, seed: str, mode: str, quantity: Quantity, section: str = "summaries") -> float:
    """A quantity of one mode and seed.

    Raises:
        NotRecorded: where the file lacks it.

    Example:
        >>> value({"summaries": {"linear": {"0": {"single": {"Signs": 0.5}}}}}, "0", "linear", SINGLE)
        0.5
    """
    return quantity.reduce(pick(record, section, mode, seed, *quantity.path))


def gap(quantity: Quantity, greater: str, lesser: str, label: str = "") -> Part:
    """A quantity of the mode that the paper puts higher, minus that of the other.

    Example:
        >>> gap(ABSOLUTE, "linear", "non-linear").label
        'addition, absolute accuracy: linear − non-linear'
    """
    measure = lambda record, seed: value(record, seed, greater, quantity) - value(record, seed, lesser, quantity)
    return Part(label or f"{quantity.name}: {greater} − {lesser}", measure, quantity.unit)


def shrinks(quantity: Quantity, greater: str, lesser: str | None = None) -> Part:
    """A gap between modes (or a quantity of one mode) in the smallest miniature, minus the same in the largest."""

    def of(record: Record, seed: str) -> float:
        return value(record, seed, greater, quantity) - (value(record, seed, lesser, quantity) if lesser else 0.0)

    what = f"{greater} − {lesser}" if lesser else greater
    label = f"{quantity.name}, {what}: {SMALL} − {LARGE}"
    return Part(label, lambda small, large, seed: of(small, seed) - of(large, seed), quantity.unit, (SMALL, LARGE))


def random_floor(record: Record, seed: str) -> float:
    """Test accuracy of a randomly initialised model before any fine-tuning, averaged over tasks."""
    return mean_of({task: each["test"] for task, each in pick(record, "untrained_zero_shot", seed).items()})


def localisation(record: Record, seed: str, kind: str, which: str) -> float:
    """A number of ``ntk.support_shares``, ``control``, ``unseen`` or ``leading``, averaged over pairs of tasks.

    Args:
        kind: ``pretrained`` or ``untrained``.
    """
    return mean_of({pair: shares[which] for pair, shares in pick(record, "ntk", kind, seed).items()})


def cost(record: Record, way: str, what: str, turn: int) -> float:
    """What one training step costs: a recorded number, or that of one round where several rounds are recorded."""
    found = pick(record, "cost", way, what)
    return float(found[turn] if isinstance(found, list) else found)


def cost_part(label: str, what: str, greater: str, lesser: str, excess: float) -> Part:
    """The cost of one way to train over that of another, minus ``excess``; seconds in rounds, bytes as a count."""

    def measure(record: Record, turn: int) -> float:
        return cost(record, greater, what, turn) / cost(record, lesser, what, turn) - excess

    over = "rounds" if what == "seconds" else "count"
    return Part(f"{label}: {greater} over {lesser}, minus {excess:g}", measure, "times", over=over)


def cost_between(label: str, what: str, greater: str, lesser: str, least: float, most: float) -> Part:
    """How far the cost of one way to train over that of another lies between two limits; negative outside."""

    def measure(record: Record, turn: int) -> float:
        ratio = cost(record, greater, what, turn) / cost(record, lesser, what, turn)
        return min(ratio - least, most - ratio)

    over = "rounds" if what == "seconds" else "count"
    text = f"{label}: {greater} over {lesser}, distance to the nearer of {least:g} and {most:g}, positive between them"
    return Part(text, measure, "times", over=over)


def printed_gaps(table: Mapping[str, Sequence], name: str, greater: str, lesser: str, column: int) -> str:
    """The paper's own differences at its three scales, from ``tangent_lib.report.paper``.

    Example:
        >>> printed_gaps(paper.TABLE_1, "Table 1", "linear", "non-linear", 0)
        '+5.1, +5.8, +3.4 points (Table 1: B/32, B/16, L/14)'
    """
    gaps = [a[column] - b[column] for a, b in zip(table[greater], table[lesser])]
    digits = max(len(str(a[column]).split(".")[1]) for a in table[greater])
    scales = ", ".join(scale.removeprefix("ViT-") for scale in paper.SCALES)
    return f"{', '.join(f'{each:+.{digits}f}' for each in gaps)} points ({name}: {scales})"
