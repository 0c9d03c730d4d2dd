"""The claims ledger: what the recorded files say of each claim. A verdict is computed here, from those files alone.

For each part of a claim there is one number a seed, positive where the claim holds. A one-sided t-test asks whether
their mean is above zero; it needs five seeds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import ttest_1samp

from tangent_lib.experiments.records import Record, read_record
from tangent_lib.modes import MINIATURES
from tangent_lib.report.claim_measures import Claim, Part
from tangent_lib.report.claims import CLAIMS
from tangent_lib.report.quantities import NotRecorded, mean_and_spread, with_unit
from tangent_lib.runtime.errors import InputError

LEVEL, LEAST = 0.05, 5  # of the test; seeds for a verdict
REPRODUCED, PARTLY, NOT, UNTESTED = VERDICTS = ("reproduced", "partly", "not reproduced", "not tested at this scale")

BY_SEED = ("summaries", "untrained", "ablation", "ntk")  # sections of a record
Records = Mapping[str, Record]  # by model


@dataclass(frozen=True)
class Weighed:
    """A part of a claim with its numbers.

    Attributes:
        values: by seed (or timed round), in the unit that was recorded.
        p: of the one-sided t-test; None without one.
        missing: what the files lack, where there is no number at all.
    """

    part: Part
    values: dict[str, float]
    mean: float | None
    spread: float | None
    p: float | None
    verdict: str
    missing: str = ""


@dataclass(frozen=True)
class Judgement:
    """A claim with its verdict; ``reason`` says why there is none."""

    claim: Claim
    weighed: tuple[Weighed, ...]
    verdict: str
    reason: str = ""


def read_records(model: str) -> dict[str, Record]:
    """The recorded files of a model and, for a miniature, of its siblings; those that exist."""
    names = (model, *(name for name in MINIATURES if model in MINIATURES and name != model))
    found = {name: read_record(name) for name in names}
    return {name: record for name, record in found.items() if record}


def weigh(values: Sequence[float], exact: bool = False) -> tuple[float | None, str]:
    """The p of a one-sided t-test of mean > 0, and the verdict.

    Reproduced: p < 0.05. Not reproduced: the mean is not above zero. Partly: above zero, but not significantly. Numbers
    that do not vary are decided by their sign.

    Args:
        values: one a seed, at least one.
        exact: the numbers do not vary from seed to seed, so that one is enough.

    Example:
        >>> p, verdict = weigh([0.01, 0.02, 0.03, 0.02, 0.01])
        >>> round(p, 3), verdict
        (0.004, 'reproduced')
        >>> weigh([0.01, 0.02, 0.03]), weigh([0.02], exact=True)
        ((None, 'not tested at this scale'), (None, 'reproduced'))
    """
    if not len(values) or not np.isfinite(values).all():
        given = f"values {list(values)}"
        raise InputError(f"{given}: a claim is weighed by finite numbers, at least one; see the recorded file")
    if len(values) < LEAST and not exact:
        return None, UNTESTED
    mean = float(np.mean(values))
    if exact or np.ptp(values) <= 1e-12 * max(1.0, abs(mean)):
        return None, REPRODUCED if mean > 0 else NOT
    p = float(ttest_1samp(values, 0.0, alternative="greater").pvalue)
    if mean <= 0:
        return p, NOT
    return p, REPRODUCED if p < LEVEL else PARTLY


def weigh_part(part: Part, records: Records, model: str) -> Weighed:
    """Read a part's numbers out of the recorded files and weigh them."""
    names = part.models or (model,)
    if lacking := [name for name in names if name not in records]:
        return Weighed(part, {}, None, None, None, UNTESTED, f"the file of {lacking[0]}")
    files, values, missing = [records[name] for name in names], {}, ""
    for label, sample in samples(part, files):
        try:
            values[label] = float(part.measure(*files, sample))
        except NotRecorded as lacking:
            missing = missing or str(lacking)
    if not values:
        return Weighed(part, {}, None, None, None, UNTESTED, missing or "seeds")
    numbers = list(values.values())
    p, verdict = weigh(numbers, part.over == "count")
    return Weighed(part, values, *mean_and_spread(numbers), p, verdict)


def samples(part: Part, files: Sequence[Record]) -> list[tuple[str, str | int]]:
    """What a part is measured on, with its label: seeds that all files have, timed rounds, or one count."""
    if part.over == "count":
        return [("count", 0)]
    if part.over == "rounds":
        linear = files[0].cost.get("linear")  # the measure itself says what is missing
        return [(f"round {turn}", turn) for turn in range(len(linear.seconds) if linear else 1)]
    return [(seed, seed) for seed in sorted(set.intersection(*(_seeds(file) for file in files)), key=int)]


def _seeds(record: Record) -> set[str]:
    return {seed for name in BY_SEED for by_seed in getattr(record, name).values() for seed in by_seed}


def judge(claim: Claim, records: Records, model: str) -> Judgement:
    """The verdict on a claim: as good as all its parts together.

    Reproduced if all parts are, not reproduced if none is, even partly; in between partly. Without a measure, or with a
    part that lacks its section or five seeds: not tested.
    """
    weighed = tuple(weigh_part(part, records, model) for part in claim.parts)
    verdicts = {each.verdict for each in weighed}
    if not weighed:
        return Judgement(claim, weighed, UNTESTED, claim.untested)
    if UNTESTED in verdicts:
        lacking = dict.fromkeys(_lack(each) for each in weighed if each.verdict == UNTESTED)
        return Judgement(claim, weighed, UNTESTED, "; ".join(lacking))
    return Judgement(claim, weighed, verdicts.pop() if len(verdicts) == 1 else PARTLY)


def _lack(weighed: Weighed) -> str:
    if weighed.missing:
        return f"not recorded: {weighed.missing}"
    return f"{_count(weighed)} recorded, {LEAST} are needed"


def _count(weighed: Weighed) -> str:
    n = len(weighed.values)
    return f"{n} {weighed.part.over.removesuffix('s')}{'s' if n != 1 else ''}"


def ledger(records: Records, model: str, claims: Iterable[Claim] = CLAIMS) -> list[Judgement]:
    """The verdicts on all claims, in their order."""
    return [judge(claim, records, model) for claim in claims]


def counts(entries: Iterable[Judgement]) -> dict[str, int]:
    """How many claims have each verdict."""
    found = [entry.verdict for entry in entries]
    return {verdict: found.count(verdict) for verdict in VERDICTS}


def outcome(weighed: Weighed) -> str:
    """Our number as text: mean, spread, unit."""
    return with_unit(list(weighed.values.values()), weighed.part.unit)


def sample_size(weighed: Weighed) -> str:
    """Over what the mean is taken, as text, such as ``5 seeds``."""
    return _count(weighed) if weighed.values else "–"


def significance(weighed: Weighed) -> str:
    """The p of the test as text; ``sign`` where numbers without a spread are decided by their sign."""
    if weighed.p is not None:
        return "<\N{NO-BREAK SPACE}0.0001" if weighed.p < 0.0001 else f"{weighed.p:.4f}"
    return "–" if weighed.verdict == UNTESTED else "sign"


def keep_seeds(record: Record, count: int) -> Record:
    """A record with fewer seeds: what would the ledger say, had we stopped earlier?"""
    few = lambda by_seed: dict(sorted(by_seed.items(), key=lambda item: int(item[0]))[:count])
    cut = lambda section: {name: few(by_seed) for name, by_seed in section.items()}
    return replace(record, **{name: cut(getattr(record, name)) for name in BY_SEED})


def checks(records: Records, model: str, claims: Sequence[Claim] = CLAIMS) -> dict[str, bool]:
    """What must hold of any ledger, whatever the results: it counts every claim, and it can be turned over."""
    entries = ledger(records, model, claims)
    few = ledger({name: keep_seeds(record, LEAST - 1) for name, record in records.items()}, model, claims)
    over_seeds = lambda entry: any(weighed.part.over == "seeds" for weighed in entry.weighed)
    good = [w for entry in entries for w in entry.weighed if w.verdict == REPRODUCED]
    backwards = [weigh([-value for value in w.values.values()], w.part.over == "count")[1] for w in good]
    return {
        "there are recorded files": bool(records),
        "every claim has one of the four verdicts": sum(counts(entries).values()) == len(claims),
        "with every difference reversed, nothing that was reproduced is": all(verdict == NOT for verdict in backwards),
        "with four seeds, nothing that varies between seeds is tested": all(
            entry.verdict == UNTESTED for entry in few if over_seeds(entry)
        ),
    }
