"""A page's claims are judged by recorded seeds of these very parameters alone, beside this run's own numbers."""

import json
import re

import pytest

from tangent_lib.experiments import records
from tangent_lib.experiments.records import AdditionSummary, NegationSummary, Summary, as_json, configuration
from tangent_lib.report.claims import CLAIMS
from tangent_lib.report.ledger import NOT, REPRODUCED, UNTESTED
from tangent_lib.report.ledger_page import claims_of, reproduced_here

PAGE = "03_nonlinear_advantage"
CLAIM = "S1-posthoc-normalised"


def summary(single, absolute, normalised, target):
    by_task = dict.fromkeys(("Digits", "Signs"), single)
    addition = AdditionSummary(0.3, absolute, normalised, dict.fromkeys(by_task, absolute), (absolute,))
    return Summary(by_task, addition, dict.fromkeys(by_task, NegationSummary(0.2, target, 0.6)))


def both_modes(seeds):
    """Seeds in which all that the page claims holds."""
    return {
        "non-linear": {str(s): summary(0.9, 0.7 + s / 1000, 0.75, 0.3) for s in range(seeds)},
        "post-hoc": {str(s): summary(0.7, 0.6, 0.85 + s / 1000, 0.2) for s in range(seeds)},
    }


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where recorded files are looked for; empty at first."""
    folder = tmp_path / "recorded"
    folder.mkdir()
    monkeypatch.setattr(records, "RECORDED", folder)
    return folder


def write(folder, run, summaries):
    values = {
        "configuration": configuration(run),
        "provenance": {},
        "zero_shot": {},
        "summaries": as_json(summaries),
    }
    (folder / f"{run.parameters.model}.json").write_text(json.dumps(values))


def rows(run, **here):
    """By claim, the cells of its first row: label, this run, recorded, over, p, holds, claim."""
    found = {}
    for row in re.findall(r"<tr>(<th><a .*?)</tr>", claims_of(PAGE, run, **here).data):
        cells = [re.sub("<[^>]*>", "", cell) for cell in re.findall(r"<t[hd]>(.*?)</t[hd]>", row)]
        found.setdefault(cells[0], cells[1:])
    return found


def test_every_claim_of_the_page_stands_there_and_leads_to_the_ledger(run, folder):
    found, page = rows(run(), summaries=both_modes(1)), claims_of(PAGE, run()).data
    names = [claim.name for claim in CLAIMS if claim.page == PAGE]
    assert list(found) == names
    assert all(f'<a href="09_claims.html#{name}">' in page for name in names)


def test_without_a_record_there_are_this_runs_numbers_and_no_verdict(run, folder):
    for label, _, recorded, over, p, holds, claim in rows(run(), summaries=both_modes(1)).values():
        assert (recorded, over, p, holds, claim) == ("not recorded", "–", "–", UNTESTED, f"– {UNTESTED}"), label
    assert rows(run(), summaries=both_modes(1))[CLAIM][1] == "+10.0 points"
    assert {cells[1] for cells in rows(run()).values()} == {"not recorded"}


def test_recorded_seeds_decide_beside_this_run(run, folder):
    experiment = run()
    write(folder, experiment, both_modes(5))
    _, here, recorded, over, p, holds, claim = rows(experiment, summaries=both_modes(1))[CLAIM]
    assert (here, recorded, over) == ("+10.0 points", "+10.2 ± 0.2 points", "5 seeds")
    assert (holds, claim) == (REPRODUCED, f"✓ {REPRODUCED}") and p.endswith("0.0001")


def test_a_verdict_turns_with_the_record_and_not_with_this_run(run, folder):
    experiment, turned = run(), both_modes(5)
    turned["non-linear"], turned["post-hoc"] = turned["post-hoc"], turned["non-linear"]
    write(folder, experiment, turned)
    assert rows(experiment, summaries=both_modes(1))[CLAIM][1:] == [
        "+10.0 points", "-10.2 ± 0.2 points", "5 seeds", "1.0000", NOT, f"✗ {NOT}",
    ]  # fmt: skip
    write(folder, experiment, both_modes(5))
    here = {mode: {"0": by_seed["0"]} for mode, by_seed in turned.items()}
    cells = rows(experiment, summaries=here)[CLAIM]
    assert cells[1] == "-10.0 points" and cells[5] == REPRODUCED


def test_four_seeds_are_shown_without_a_verdict(run, folder):
    experiment = run()
    write(folder, experiment, both_modes(4))
    cells = rows(experiment, summaries=both_modes(1))[CLAIM]
    assert cells[2:] == ["+10.1 ± 0.1 points", "4 seeds", "–", UNTESTED, f"– {UNTESTED}"]


@pytest.mark.parametrize(
    "other", [{"steps": 3}, {"alphas": "0,1"}, {"tasks": "Signs,Digits"}, {"learning_rate": 1e-4}, {"batch_size": 8}]
)
def test_a_verdict_is_never_shown_for_other_parameters_than_the_recorded(other, run, folder):
    write(folder, run(), both_modes(5))
    assert any(REPRODUCED in cells for cells in rows(run(), summaries=both_modes(1)).values())
    for cells in rows(run(**other), summaries=both_modes(5)).values():
        assert cells[2:] == ["not recorded", "–", "–", UNTESTED, f"– {UNTESTED}"]


def test_a_run_is_compared_with_what_recorded_seeds_reproduced_and_with_nothing_else(run, folder):
    experiment = run()
    assert reproduced_here(PAGE, experiment, summaries=both_modes(1)) == {}
    recorded = both_modes(5)
    for seed in recorded["post-hoc"]:  # one of four claims turned over: not reproduced, so not asked for
        recorded["post-hoc"][seed] = summary(0.7, 0.8, 0.85 + int(seed) / 1000, 0.2)
    write(folder, experiment, recorded)
    found = reproduced_here(PAGE, experiment, summaries=both_modes(1))
    assert len(found) == 3 and all(found.values()) and not any("absolute" in part for part in found)
    here = both_modes(1) | {"post-hoc": {"0": summary(0.7, 0.6, 0.7, 0.2)}}
    turned = {part for part, same in reproduced_here(PAGE, experiment, summaries=here).items() if not same}
    assert len(turned) == 1 and CLAIM in turned.pop()
