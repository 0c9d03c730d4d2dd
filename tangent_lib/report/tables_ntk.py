"""Tables of the kernel's eigenfunctions: how much of the local energy lies on a task. Imported by notebooks alone."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from tangent_lib.experiments.records import Record
from tangent_lib.kernels import SupportShares
from tangent_lib.report.quantities import MISSING, percent

SHARES = {"control": lambda s: s.control, "unseen": lambda s: s.unseen, "leading": lambda s: s.leading}
_KINDS = {"pre-trained": "pretrained", "random": "untrained"}  # to the names in a record


def shares_table(shares: Mapping[str, Mapping[str, SupportShares]], recorded: Record | None) -> pd.DataFrame:
    """The three shares of ``kernels.support_shares`` in percent, this run's beside recorded ones: a row a pair and start."""
    rows = {}
    for pair in shares["random"]:
        for name, kind in _KINDS.items():
            by_seed = recorded.ntk.get(kind, {}) if recorded else {}
            past = [each[pair] for each in by_seed.values() if pair in each]
            cell = lambda read, past=past: f"{percent([read(s) for s in past])} ({len(past)} seeds)" if past else MISSING
            rows[(pair, name)] = {
                (what, source): text
                for what, read in SHARES.items()
                for source, text in (("this run", percent([read(shares[name][pair])])), ("recorded", cell(read)))
            }
    return pd.DataFrame.from_dict(rows, orient="index")


def localisations(recorded: Record | None) -> pd.DataFrame | None:
    """The recorded localisation of the NTK's eigenfunctions against the control, by start; None where none is recorded.

    See ``kernels.support_shares``: the share of the local energy on the trained points, in percent. A random kernel is above
    50 too, since trained points have rows of their own.
    """
    if not recorded or not {"pretrained", "untrained"} <= set(recorded.ntk):
        return None
    by_name = {"Pre-trained θ₀": recorded.ntk["pretrained"].values(), "Random init θ₀ʳᵈ": recorded.ntk["untrained"].values()}
    control = lambda seeds: {pair: percent([seed[pair].control for seed in seeds]) for pair in next(iter(seeds))}
    rows = {name: control(seeds) for name, seeds in by_name.items()}
    return pd.DataFrame.from_dict(rows, orient="index")
