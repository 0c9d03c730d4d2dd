"""Verdicts follow the recorded files: alter a file and the verdict turns. All files here are made up."""

import json
import random
import re

import pytest

from tangent_lib.experiments.records import typed_record
from tangent_lib.modes import ABLATION_MODES
from tangent_lib.report import ledger_page
from tangent_lib.report.claims import CLAIMS, TITLES
from tangent_lib.report.ledger import VERDICTS, checks, counts, judge, keep_seeds, ledger, read_records, weigh
from tangent_lib.runtime.disk import ROOT
from tangent_lib.runtime.errors import InputError

REPRODUCED, PARTLY, NOT, UNTESTED = VERDICTS
MODEL, LARGE = "ViT-Mini-8", "ViT-Mini-L-8"
TASKS, PAIR = ("Signs", "Digits"), "Signs-Digits"
BY_NAME = {claim.name: claim for claim in CLAIMS}
MEASURED = [claim.name for claim in CLAIMS if claim.parts]
NUMBERS = {  # single, absolute, normalised, target, xi, curve, cosine
    "non-linear": (0.90, 0.70, 0.77, 0.24, 1.0, 0.50, 0.05),
    "post-hoc": (0.70, 0.57, 0.82, 0.15, 0.6, 0.45, 0.05),
    "linear": (0.85, 0.76, 0.85, 0.11, 0.5, 0.55, 0.04),
    "attention-only": (0.89, 0.78, 0.87, 0.20, 0.4, 0.60, 0.02),
    "attention post-hoc": (0.85, 0.75, 0.88, 0.20, 0.3, 0.60, 0.02),
}
RANDOM = {"non-linear": (0.50, 0.06, 0.12, 0.0, 2.0, 0.06, 0.05), "linear": (0.30, 0.06, 0.20, 0.0, 1.8, 0.05, 0.04)}


def summary(numbers, seed, noise):
    draw = random.Random(f"{numbers} {seed}").uniform
    single, absolute, normalised, target, xi, curve, cosine = (x * (1 + draw(-noise, noise)) for x in numbers)
    return {
        "single": dict.fromkeys(TASKS, single),
        "addition": {
            "alpha": 0.3,
            "absolute": absolute,
            "normalised": normalised,
            "test": dict.fromkeys(TASKS, absolute),
            "curve": [curve] * 21,
        },
        "negation": {task: {"alpha": 0.2, "target": target, "control": 0.607} for task in TASKS},
        "xi": {PAIR: [xi * alpha for alpha in (0.2, 0.4, 0.6, 0.8, 1.0)]},
        "kl": {PAIR: [0.01 * xi * alpha for alpha in (0.2, 0.4, 0.6, 0.8, 1.0)]},
        "cosine": cosine,
    }


def made_up(numbers=NUMBERS, seeds=5, noise=0.001):
    """The JSON values of a recorded file: tests alter them before they are read."""
    of = lambda table: {mode: {str(s): summary(n, s, noise) for s in range(seeds)} for mode, n in table.items()}
    three = lambda share: {PAIR: {"control": share, "unseen": share - 0.05, "leading": share}}
    shares = lambda share: {str(s): three(share + 0.001 * s) for s in range(seeds)}
    return {
        "configuration": {},
        "zero_shot": {},
        "seeds": list(range(seeds)),
        "summaries": of(numbers),
        "untrained": of(RANDOM),
        "untrained_zero_shot": {str(s): {task: {"val": 0.05, "test": 0.05} for task in TASKS} for s in range(seeds)},
        "ablation": of(dict.fromkeys(ABLATION_MODES, NUMBERS["attention-only"])),
        "ntk": {"pretrained": shares(0.8), "untrained": shares(0.6)},
        "cost": {
            way: {"seconds": [s * (1 + 0.01 * turn) for turn in range(5)], "saved_bytes": int(100 * s)}
            for way, s in (("non-linear", 1.0), ("linear, Listing 1", 2.0), ("attention-only", 0.8), ("linear", 0.1))
        },
        "provenance": {"tangent": {"commit": "abc", "date": "today", "machine": "none"}},
    }


@pytest.fixture
def files():
    closer = {
        "non-linear": (0.90, 0.80, 0.9, 0.2, 0.5, 0.5, 0.05),
        "post-hoc": (0.85, 0.75, 0.9, 0.15, 0.3, 0.5, 0.05),
        "linear": (0.89, 0.82, 0.9, 0.11, 0.3, 0.5, 0.04),
    }
    return {MODEL: made_up(), LARGE: made_up(closer)}


def read(files):
    return {model: typed_record(values) for model, values in files.items()}


def verdict(name, files):
    return judge(BY_NAME[name], read(files), MODEL).verdict


def swap(left, right, section="summaries"):
    def alter(files):
        part = files[MODEL][section]
        part[left], part[right] = part[right], part[left]

    return alter


def put(mode, section="summaries", **values):
    def alter(files):
        for found in files[MODEL][section][mode].values():
            for key, value in values.items():
                if key in ("single", "xi"):
                    found[key] = {name: value for name in found[key]}
                else:
                    found["addition"][key] = value

    return alter


def both(*alterations):
    return lambda files: [alter(files) for alter in alterations]


def swap_files(files):
    files[MODEL], files[LARGE] = files[LARGE], files[MODEL]


def low_control(files):
    for found in files[MODEL]["summaries"]["linear"].values():
        found["negation"]["Signs"]["control"] = 0.5


def no_localisation(files):
    for by_pair in files[MODEL]["ntk"]["pretrained"].values():
        by_pair[PAIR] = {"control": 0.45, "unseen": 0.46, "leading": 0.4}


def error_as_success(files):
    for section in ("summaries", "untrained"):
        for by_seed in files[MODEL][section].values():
            for found in by_seed.values():
                found["addition"]["normalised"] = found["xi"][PAIR][0]


BACKWARDS = [
    ("S1-nonlinear-advantage", swap("non-linear", "post-hoc"), NOT),
    ("S1-ntk-addition", swap("non-linear", "post-hoc"), NOT),
    ("S1-posthoc-normalised", swap("non-linear", "post-hoc"), NOT),
    ("S1-posthoc-negation", swap("non-linear", "post-hoc"), NOT),
    ("S1-linearised-xi", swap("non-linear", "post-hoc"), PARTLY),
    ("S1-linearised-xi", swap("non-linear", "attention-only"), NOT),
    ("S1-small-region", put("non-linear", xi=[0.5, 0.4, 0.3, 0.2, 0.1]), PARTLY),
    ("S1-small-region", put("non-linear", xi=[0.5, 0.4, 0.3, 0.2, 0.1], alpha=1.0), NOT),
    ("S1-crucial", error_as_success, NOT),
    ("S1-linear-over-posthoc", swap("linear", "post-hoc"), NOT),
    ("S1-linear-gap", swap("linear", "post-hoc"), NOT),
    ("S1-linear-disentangled", swap("linear", "post-hoc"), NOT),
    ("S1-linear-addition", swap("linear", "non-linear"), NOT),
    ("S1-linear-normalised", swap("linear", "non-linear"), NOT),
    ("S1-linear-negation", swap("linear", "non-linear"), PARTLY),
    ("S1-linear-negation", both(swap("linear", "non-linear"), low_control), NOT),
    ("S1-scale-gap", swap_files, NOT),
    ("S1-scale-xi", swap_files, NOT),
    ("S1-cost", swap("linear, Listing 1", "non-linear", "cost"), NOT),
    ("S1-ntk-localised", no_localisation, NOT),
    ("S1-ntk-random", swap("pretrained", "untrained", "ntk"), NOT),
    ("S1-random-addition", put("linear", "untrained", absolute=0.3), PARTLY),
    ("S1-random-xi", put("non-linear", "untrained", xi=[0.0] * 5), NOT),
    ("S2-kernel", put("attention post-hoc", single=0.3), NOT),
    ("S2-linear-drawback", swap("non-linear", "linear"), NOT),
    ("S2-single", swap("attention-only", "linear"), NOT),
    ("S2-no-compromise", put("attention-only", single=0.8), NOT),
    ("S2-addition-nonlinear", swap("attention-only", "non-linear"), NOT),
    ("S2-addition-linear", swap("attention-only", "linear"), NOT),
    ("S2-normalised", swap("attention-only", "non-linear"), NOT),
    ("S2-xi", swap("attention-only", "non-linear"), NOT),
    ("S2-robust", swap("attention-only", "non-linear"), NOT),
    ("S2-cost", swap("attention-only", "linear, Listing 1", "cost"), NOT),
    ("S2-cosine", swap("attention-only", "non-linear"), NOT),
    ("S2-ablation", put("attention + MLP", "ablation", absolute=0.1, normalised=0.1), NOT),
]


def test_every_measured_claim_holds_in_the_file_made_to_hold(files):
    assert {name: verdict(name, files) for name in MEASURED} == dict.fromkeys(MEASURED, REPRODUCED)
    assert counts(ledger(read(files), MODEL)) == dict(zip(VERDICTS, (len(MEASURED), 0, 0, len(CLAIMS) - len(MEASURED))))
    assert all(checks(read(files), MODEL).values())


@pytest.mark.parametrize(("name", "alter", "expected"), BACKWARDS, ids=[f"{name}: {e}" for name, _, e in BACKWARDS])
def test_verdicts_turn_when_a_file_is_turned(name, alter, expected, files):
    alter(files)
    assert verdict(name, files) == expected


def test_every_measured_claim_is_turned_once():
    assert {name for name, *_ in BACKWARDS} == set(MEASURED)


def test_an_outlier_takes_the_significance(files):
    next(reversed(files[MODEL]["summaries"]["linear"].values()))["addition"]["absolute"] = 0.50
    assert verdict("S1-linear-addition", files) == PARTLY


def test_four_seeds_are_too_few_and_the_ledger_says_so(files):
    entry = judge(BY_NAME["S1-linear-addition"], {MODEL: keep_seeds(read(files)[MODEL], 4)}, MODEL)
    assert entry.verdict == UNTESTED and entry.reason == "4 seeds recorded, 5 are needed"
    assert entry.weighed[0].mean is not None


def test_seeds_of_a_comparison_of_models_are_those_of_both(files):
    records = read(files)
    records[LARGE] = keep_seeds(records[LARGE], 3)
    assert "3 seeds recorded" in judge(BY_NAME["S1-scale-xi"], records, MODEL).reason


def test_a_single_timing_is_no_test(files):
    for cost in files[MODEL]["cost"].values():
        cost["seconds"] = cost["seconds"][:1]
    entry = judge(BY_NAME["S1-cost"], read(files), MODEL)
    assert entry.reason == "1 round recorded, 5 are needed" and entry.weighed[1].verdict == REPRODUCED


@pytest.mark.parametrize(
    ("section", "names"),
    [
        ("ntk", {"S1-ntk-localised", "S1-ntk-random"}),
        ("cost", {"S1-cost", "S2-cost"}),
        ("ablation", {"S2-ablation"}),
        ("untrained", {"S1-crucial", "S1-random-addition", "S1-random-xi"}),
        ("summaries", set(MEASURED) - {"S1-ntk-localised", "S1-ntk-random", "S1-cost", "S2-cost"}),
    ],
)
def test_claims_lose_their_verdict_with_their_section(section, names, files):
    del files[MODEL][section]
    kept = {name for name in MEASURED if verdict(name, files) == REPRODUCED}
    assert set(MEASURED) - kept == names - ({"S1-random-addition"} if section == "summaries" else set())
    for name in set(MEASURED) - kept:
        entry = judge(BY_NAME[name], read(files), MODEL)
        assert entry.verdict == UNTESTED and entry.reason.startswith(f"not recorded: {section}")


def test_without_a_file_nothing_is_tested():
    assert counts(ledger({}, MODEL))[UNTESTED] == len(CLAIMS)


def test_a_damaged_file_is_an_error_not_a_verdict(files):
    files[MODEL]["summaries"]["linear"]["0"]["addition"]["absolute"] = float("nan")
    with pytest.raises(InputError, match="finite"):
        ledger(read(files), MODEL)
    files[MODEL]["summaries"]["linear"]["0"]["negation"]["Signs"] = {}
    with pytest.raises(InputError, match=r"damaged at .*Signs\.alpha"):
        read(files)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.01, 0.02, 0.03, 0.02, 0.01], REPRODUCED),
        ([-0.01, -0.02, -0.03, -0.02, -0.01], NOT),
        ([0.05, -0.04, 0.05, -0.04, 0.01], PARTLY),
        ([1.0, 2.0, -1.0, 2.5, 0.5], PARTLY),  # t = 1.63, p = 0.089: not significant at 0.05
        ([0.05, -0.05, 0.05, -0.05, 0.0], NOT),
        ([0.02] * 5, REPRODUCED),
        ([0.0] * 5, NOT),
        ([-0.02] * 5, NOT),
        ([0.02] * 4, UNTESTED),
    ],
)
def test_the_rule(values, expected):
    assert weigh(values)[1] == expected


def test_the_p_value_is_that_of_a_one_sided_t_test():
    p, _ = weigh([1.0, 2.0, 3.0, 4.0, 0.0])  # t = 2 / (sqrt(2.5) / sqrt(5)) = 2.828, four degrees of freedom
    assert p == pytest.approx(0.02371, abs=2e-5)
    less, verdict = weigh([-1.0, -2.0, -3.0, -4.0, 0.0])  # t = -2.828: the other tail
    assert less == pytest.approx(1 - 0.02371, abs=2e-5) and verdict == NOT


def test_claims_are_complete():
    assert len(BY_NAME) == len(CLAIMS)
    for claim in CLAIMS:
        assert not re.search("[A-Z]+_[A-Z]+", f"{claim.statement} {claim.quote} {claim.note} {claim.cause}")  # a name of code
        assert claim.paper in TITLES and claim.name.startswith(f"{claim.paper}-")
        assert claim.statement and claim.quote and claim.printed and claim.where
        assert bool(claim.parts) == bool(claim.cause) != bool(claim.untested)
        assert not claim.parts or (claim.page and claim.anchor)


@pytest.mark.parametrize("page", sorted({claim.page for claim in CLAIMS if claim.page}))
def test_claims_lead_to_figures_that_exist(page):
    notebook = json.loads((ROOT / "notebooks" / f"{page}.ipynb").read_text())
    names = {cell["metadata"].get("mystnb", {}).get("figure", {}).get("name") for cell in notebook["cells"]}
    assert {claim.anchor for claim in CLAIMS if claim.page == page} <= names


def test_the_page_keeps_every_claim_and_explains_what_fails(files):
    swap("linear", "non-linear")(files)
    entries = ledger(read(files), MODEL)
    table, text = ledger_page.show_table(entries, MODEL).data, ledger_page.paragraphs(entries).data
    for entry in entries:
        claim = entry.claim
        assert f'href="#{claim.name}"' in table and f'<details id="{claim.name}"' in text
        assert f'href="{claim.page}.html#{claim.anchor}"' in table or not claim.page
    part = {name: text.split(f'id="{name}"')[1].split("</details>")[0] for name in BY_NAME}
    assert "Likely cause" in part["S1-linear-addition"] and " open>" in part["S1-linear-addition"]
    assert "Likely cause" not in part["S2-cosine"] and " open>" not in part["S2-cosine"]
    assert "Why it is not tested" in part["S2-representation"]


def test_the_data_of_the_page_hold_every_number(files):
    data = json.loads(json.dumps(ledger_page.as_data(ledger(read(files), MODEL), read(files))))
    by_name = {each["claim"]: each for each in data["claims"]}
    values = by_name["S1-linear-addition"]["parts"][0]["values"]
    summaries = files[MODEL]["summaries"]
    assert len(by_name) == len(CLAIMS) and values == {
        seed: summaries["linear"][seed]["addition"]["absolute"] - summaries["non-linear"][seed]["addition"]["absolute"]
        for seed in "01234"
    }
    assert ledger_page.count_table(ledger(read(files), MODEL)).loc["both"].sum() == len(CLAIMS)


def test_the_committed_files_can_be_read_whatever_sections_they_have():
    records = read_records(MODEL)
    assert MODEL in records and len(ledger(records, MODEL)) == len(CLAIMS)
    assert len(ledger_page.record_origins(records)) >= 1
