"""What tables and claims read off the summary of one mode and seed, and how numbers are written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tangent_lib.experiments.records import Summaries, Summary

MISSING, NONE = "not recorded", "–"  # in place of a number: there could be one; there is none
# how differences are written; ξ sums over two tasks and lies between 0 and 2
UNITS = {"points": "+.1f", "ξ": "+.3f", "nats": "+.2g", "cosine": "+.3f", "α": "+.2f"}
UNITS |= {"rank": "+.2f", "share": "+.3f", "times": "+.2f"}


class NotRecorded(LookupError):
    """A result lacks what is asked of it; the message says what."""


@dataclass(frozen=True)
class Quantity:
    """One number of a summary.

    Attributes:
        name: in words.
        read: from the summary; None where it was not computed.
        unit: a key of ``UNITS``.
    """

    name: str
    read: Callable[[Summary], float | None]
    unit: str = "points"

    def __call__(self, summary: Summary) -> float:
        """The number; ``NotRecorded`` where it was not computed."""
        found = self.read(summary)
        if found is None:
            raise NotRecorded(self.name)
        return found


def mean_of(values: Iterable[float]) -> float:
    """The mean over tasks, or over task pairs."""
    return float(np.mean(list(values)))


def mean_over_pairs(values: Mapping[str, Sequence[float]]) -> float:
    """The mean over task pairs and over the recorded alphas, 0.2 to 1."""
    return mean_of(np.mean(each) for each in values.values())


SINGLE = Quantity("single-task accuracy", lambda s: mean_of(s.single.values()) if s.single else None)
ABSOLUTE = Quantity("addition, absolute accuracy", lambda s: s.addition.absolute if s.addition else None)
NORMALISED = Quantity("addition, normalised accuracy", lambda s: s.addition.normalised if s.addition else None)
ALPHA = Quantity("chosen α of addition", lambda s: s.addition.alpha if s.addition else None, "α")
CURVE = Quantity("addition, accuracy averaged over all α", lambda s: mean_of(s.addition.curve) if s.addition else None)
TARGET = Quantity("negation, target", lambda s: mean_of(each.target for each in s.negation.values()) if s.negation else None)
CONTROL = Quantity(
    "negation, control", lambda s: mean_of(each.control for each in s.negation.values()) if s.negation else None
)
XI = Quantity("ξ, averaged over pairs and α", lambda s: mean_over_pairs(s.xi) if s.xi else None, "ξ")
KL = Quantity("KL of representations, averaged over pairs and α", lambda s: mean_over_pairs(s.kl) if s.kl else None, "nats")
COSINE = Quantity("|cosine| between task vectors", lambda s: s.cosine, "cosine")


def measured(summaries: Summaries, mode: str, quantity: Quantity) -> dict[str, float]:
    """A quantity by seed, for the seeds that have it: not every record has every mode, nor negation."""
    found = {seed: quantity.read(summary) for seed, summary in summaries.get(mode, {}).items()}
    return {seed: value for seed, value in found.items() if value is not None}


def mean_and_spread(values: Sequence[float]) -> tuple[float, float | None]:
    """The mean and the sample standard deviation; no spread for a single value."""
    values = np.asarray(values, float)
    return float(values.mean()), (float(values.std(ddof=1)) if len(values) > 1 else None)


def percent(values: Sequence[float]) -> str:
    """Shares as a mean in percent, with the standard deviation over seeds where there are several.

    Example:
        >>> percent([0.5]), percent([0.5, 0.52])
        ('50.0', '51.0 ± 1.4')
    """
    mean, spread = mean_and_spread([100 * value for value in values])
    return f"{mean:.1f}" if spread is None else f"{mean:.1f} ± {spread:.1f}"


def over_seeds(summaries: Summaries, mode: str, quantity: Quantity) -> str:
    """A quantity of a mode in percent, over the seeds that have it."""
    values = list(measured(summaries, mode, quantity).values())
    return percent(values) if values else MISSING


def with_unit(values: Sequence[float], unit: str) -> str:
    """Differences as a mean with its sign, the spread where there are several, and the unit."""
    if not len(values):
        return MISSING
    factor, form = 100 if unit == "points" else 1, UNITS[unit]  # shares are recorded
    mean, spread = mean_and_spread(values)
    deviation = "" if spread is None else f" ± {factor * spread:{form.removeprefix('+')}}"
    return f"{factor * mean:{form}}{deviation} {unit}"
