"""What came of the gauntlet, for its page: read from the file that ``make gauntlet`` writes. Imported by notebooks alone."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pandas as pd

from tangent_lib.runtime.disk import ROOT
from tangent_lib.runtime.errors import InputError

GAUNTLET = ROOT / "tests" / "gauntlet" / "results.json"


@dataclass(frozen=True)
class Gauntlet:
    """All cases of one run: kind, name, verdict (right, refused, wrong), and what the refusal said.

    Attributes:
        cases: a row each, with these columns.
        seconds: what all took together.
        provenance: commit, date, machine.
    """

    cases: pd.DataFrame
    seconds: float
    provenance: dict[str, str]


def read_gauntlet() -> Gauntlet:
    """The last run that was written.

    Raises:
        InputError: if there is none.
    """
    if not GAUNTLET.is_file():
        raise InputError(f"{GAUNTLET} is not there: make gauntlet writes it")
    found = json.loads(GAUNTLET.read_text())
    return Gauntlet(pd.DataFrame(found["cases"]), found["seconds"], found["provenance"])


def by_kind(cases: pd.DataFrame) -> pd.DataFrame:
    """How many cases of each kind were tried, and what came of them."""
    counts = pd.crosstab(cases["kind"], cases["verdict"]).reindex(columns=["right", "refused", "wrong"], fill_value=0)
    counts = counts.loc[cases["kind"].unique()]
    counts.insert(0, "cases", counts.sum(axis=1))
    return pd.concat([counts, counts.sum().rename("all").to_frame().T]).rename_axis("what people bring")


def refusals(cases: pd.DataFrame) -> pd.DataFrame:
    """The cases that are refused, with what is said."""
    refused = cases[cases["verdict"] == "refused"]
    return refused.set_index("case")[["kind", "said"]].rename_axis("input").rename(columns={"said": "the refusal"})
