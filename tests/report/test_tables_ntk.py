"""Tables of the kernel: means over recorded seeds, and this run's shares beside them."""

from dataclasses import replace

import pytest

from tangent_lib.experiments.records import Record
from tangent_lib.kernels import SupportShares
from tangent_lib.report.tables_ntk import localisations, shares_table


@pytest.fixture
def recorded():
    seeds = lambda *values: {
        str(seed): {"a-b": SupportShares(control=value, unseen=0.5, leading=0.25)} for seed, value in enumerate(values)
    }
    ntk = {"pretrained": seeds(0.9, 0.9), "untrained": seeds(0.5, 0.6)}
    return Record(configuration={}, provenance={}, zero_shot={}, ntk=ntk)


def test_localisations_are_means_over_recorded_seeds(recorded):
    assert localisations(None) is None and localisations(replace(recorded, ntk={})) is None
    assert localisations(replace(recorded, ntk={"pretrained": recorded.ntk["pretrained"]})) is None
    assert localisations(recorded)["a-b"].tolist() == ["90.0 ± 0.0", "55.0 ± 7.1"]


def test_this_runs_shares_stand_beside_the_recorded(recorded):
    shares = {start: {"a-b": SupportShares(0.8, 0.7, value)} for start, value in (("pre-trained", 0.6), ("random", 0.4))}
    table = shares_table(shares, recorded)
    row = table.loc[("a-b", "pre-trained")]
    assert row[("control", "this run")] == "80.0" and row[("control", "recorded")] == "90.0 ± 0.0 (2 seeds)"
    assert table.loc[("a-b", "random"), ("leading", "this run")] == "40.0"
    assert table.loc[("a-b", "random"), ("leading", "recorded")] == "25.0 ± 0.0 (2 seeds)"


def test_what_is_not_recorded_is_said(recorded):
    shares = {start: {"a-b": SupportShares(0.8, 0.7, 0.6)} for start in ("pre-trained", "random")}
    for lacking in (None, replace(recorded, ntk={})):
        table = shares_table(shares, lacking)
        assert set(table.xs("recorded", axis=1, level=1).to_numpy().ravel()) == {"not recorded"}
