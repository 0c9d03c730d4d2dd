"""What a claim is, and how a number for it is read from a recorded file. The claims: ``tangent_lib.report.claims``.

A measure takes a recorded file and a seed and gives one number, the side that the paper calls greater minus the other.
It is positive where the claim holds. Nothing here decides a verdict: ``tangent_lib.report.ledger`` does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tangent_lib.experiments.records import Record
from tangent_lib.kernels import SupportShares
from tangent_lib.report import paper
from tangent_lib.report.quantities import NotRecorded, Quantity, mean_of

SMALL, LARGE = "ViT-Mini-8", "ViT-Mini-L-8"  # the smallest and the largest miniature


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


def section(found: Mapping, *path: str, what: str) -> object:
    """What a section of a record has under some keys, such as a mode and a seed."""
    if not found:
        raise NotRecorded(what)
    for depth, key in enumerate(path, start=1):
        if key not in found:
            raise NotRecorded(" / ".join((what, *path[:depth])))
        found = found[key]
    return found


def value(record: Record, seed: str, mode: str, quantity: Quantity) -> float:
    """A quantity of one mode and seed, from the pre-trained weights."""
    return quantity(section(record.summaries, mode, seed, what="summaries"))


def untrained_value(record: Record, seed: str, mode: str, quantity: Quantity) -> float:
    """The same from random weights."""
    return quantity(section(record.untrained, mode, seed, what="untrained"))


def gap(quantity: Quantity, greater: str, lesser: str, label: str = "") -> Part:
    """A quantity of the mode that the paper puts higher, minus that of the other."""
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
    found = section(record.untrained_zero_shot, seed, what="untrained_zero_shot")
    return mean_of(each.test for each in found.values())


def recorded_share(record: Record, seed: str, kind: str, which: Callable[[SupportShares], float]) -> float:
    """One of the three shares of ``kernels.support_shares``, averaged over pairs of tasks.

    Args:
        kind: ``pretrained`` or ``untrained``.
    """
    return mean_of(which(shares) for shares in section(record.ntk, kind, seed, what="ntk").values())


def cost_ratio(seconds: bool, greater: str, lesser: str) -> Callable[[Record, int], float]:
    """The cost of one way to train over that of another: the seconds of a round, or the bytes kept for the backward pass."""

    def of(record: Record, way: str, turn: int) -> float:
        found = section(record.cost, way, what="cost")
        return found.seconds[turn] if seconds else float(found.saved_bytes)

    return lambda record, turn: of(record, greater, turn) / of(record, lesser, turn)


def cost_part(label: str, seconds: bool, greater: str, lesser: str, excess: float) -> Part:
    """The cost of one way to train over that of another, minus ``excess``; seconds in rounds, bytes as a count."""
    ratio, text = cost_ratio(seconds, greater, lesser), f"{label}: {greater} over {lesser}, minus {excess:g}"
    return Part(text, lambda r, turn: ratio(r, turn) - excess, "times", over="rounds" if seconds else "count")


def cost_between(label: str, seconds: bool, greater: str, lesser: str, least: float, most: float) -> Part:
    """How far the cost of one way to train over that of another lies between two limits; negative outside."""
    ratio = cost_ratio(seconds, greater, lesser)
    measure = lambda record, turn: min(ratio(record, turn) - least, most - ratio(record, turn))
    text = f"{label}: {greater} over {lesser}, distance to the nearer of {least:g} and {most:g}, positive between them"
    return Part(text, measure, "times", over="rounds" if seconds else "count")


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
