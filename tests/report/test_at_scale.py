"""The tables of the page on running at scale, from made-up counts and made-up records."""

import copy
import json

import pandas as pd
import pytest

from tangent_lib.cost.both_papers import kind_of
from tangent_lib.cost.counted_steps import StepCount
from tangent_lib.cost.measured_steps import WAYS
from tangent_lib.data.manifests import load_manifest
from tangent_lib.experiments import records
from tangent_lib.finetuning import Protocol
from tangent_lib.miniature import read_card
from tangent_lib.modes import PAPER, TRAININGS
from tangent_lib.report import at_scale
from tangent_lib.report.at_scale import GPUS, PAPERS, hours, paper_hours
from tangent_lib.runtime.errors import InputError

SHARES = {"fp32": 0.5, "bf16": 0.25}


def one_count(linear, selection):
    scale = 2 if linear else 1
    trained = 10**8 if selection == "all" else 4 * 10**7
    return StepCount(scale * 10**10, scale * 4 * 10**9, 10**9, 0, scale * 10**8, scale * 10**8, trained)


@pytest.fixture
def counts():
    return {"ViT-B-32": {kind_of(training): one_count(*kind_of(training)) for training in TRAININGS}}


def record(model, single, machine, seeds=2, card=None):
    summary = {
        "single": {"a": single},
        "addition": {"alpha": 0.3, "absolute": 0.7, "normalised": 0.8, "test": {"a": 0.7}, "curve": [0.7]},
    }
    origin = {"commit": "abc123", "date": "2026-11-22T09:24:17+00:00", "machine": machine}
    return {
        "configuration": {
            "model": model,
            "card": card,
            "protocol": {"steps": 2000, "batch_size": 128, "precision": "bf16"},
        },
        "provenance": {"linear": origin},
        "zero_shot": {},
        "summaries": {"linear": {str(seed): copy.deepcopy(summary) for seed in range(seeds)}},
    }


def look_in(folder, monkeypatch):
    """Take recorded files from there."""
    for module in (records, at_scale):
        monkeypatch.setattr(module, "RECORDED", folder)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    card = read_card("ViT-Mini-8")["sha256"]
    files = {
        "ViT-B-32": record("ViT-B-32", 0.9, "A100, 64 cores"),
        "ViT-Mini-8": record("ViT-Mini-8", 0.75, "2 cores", seeds=1, card=card),
        "ViT-Mini-4": record("ViT-Mini-4", 0.6, "2 cores", card="of other weights"),
        "grids": {"configuration": {}, "provenance": {}, "zero_shot": {}},
    }
    for name, content in files.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    look_in(tmp_path, monkeypatch)


def test_the_steps(counts):
    table = at_scale.step_table(counts, batch_size=100)
    assert list(table.index) == [("ViT-B-32", way) for way in WAYS]
    assert table.loc[("ViT-B-32", "linear")].tolist() == ["200.0", "100.0", "2.00", "2.00", "20.0", "2.00"]


def test_the_memory(counts):
    table = at_scale.memory_table({"ViT-B-32": {"fp32": counts["ViT-B-32"]}}, 128, memories=(1, 4))
    assert table.loc[("ViT-B-32", "linear")].tolist() == ["1.0", "200", "none", "8"]  # 3.6 GB: 1 held, 0.2 an image


def test_hours_are_operations_over_what_the_gpu_does():
    assert hours(36 * 10**14, teraflops=10, share=0.1) == 1.0
    for share in (0, -0.1, 1.1):
        with pytest.raises(InputError, match="share"):
            hours(1, 1.0, share)


def test_in_bf16_only_fine_tuning_is_faster(counts):
    of = lambda precision, shares: paper_hours(counts, ["attention-only"], Protocol(), GPUS["A100"], precision, shares)
    tuning = sum(8 * 2000 * 128 * one_count(*kind_of(each)).operations for each in PAPERS["attention-only"].trainings)
    saved = hours(tuning, 19.5, 0.5) - hours(tuning, 312.0, 0.25)
    assert of("fp32", SHARES) - of("bf16", SHARES) == pytest.approx(saved)
    with pytest.raises(InputError, match="no bf16"):
        paper_hours(counts, ["attention-only"], Protocol(), GPUS["V100"], "bf16", SHARES)


def test_the_parts_add_up(counts):
    table = at_scale.part_table(counts, Protocol(), GPUS["A100"], 0.5).astype(float)
    whole = paper_hours(counts, list(PAPERS), Protocol(), GPUS["A100"], "fp32", SHARES)
    assert table.loc["in all", "all models"] == pytest.approx(whole, abs=0.1)
    assert table["all models"][:-1].sum() == pytest.approx(whole, abs=0.05 * len(table))


def test_the_papers_figures_stand_where_they_were_measured(counts):
    table = at_scale.gpu_table(counts, Protocol(), SHARES, price=2.0)
    printed = table.map(lambda cell: "it says" in cell)
    assert printed.loc[("V100", "fp32"), "hours, tangent-space"]
    assert printed.loc[("RTX 3090", "fp32"), "hours, attention-only"]
    assert printed.to_numpy().sum() == 2 and ("V100", "bf16") not in table.index
    row = table.loc[("A100", "fp32")]
    assert float(row["hours, 5 seeds"]) == pytest.approx(5 * float(row["hours, both"]), abs=3)
    assert float(row["price, 5 seeds"]) == pytest.approx(2 * float(row["hours, 5 seeds"]), abs=1)


def test_at_the_implied_share_a_paper_takes_its_own_hours(counts):
    share = at_scale.implied_share(counts, "tangent-space", Protocol())
    assert paper_hours(counts, ["tangent-space"], Protocol(), GPUS["V100"], "fp32", {"fp32": share}) == pytest.approx(350)


def test_disk_of_data_and_store(counts, monkeypatch):
    table = at_scale.disk_table(counts)
    stated = [load_manifest(name).gigabytes for name in (*PAPER.tasks, PAPER.control)]
    assert {"Cars", "ImageNet"} <= set(table.index) and all(stated)
    # four trainings of all weights, and one of each of four selections
    assert table.loc["store, ViT-B-32, a seed", "GB, prepared"] == f"{4 * 8 * (4 * 0.1 + 4 * 0.04):.0f}"
    bare = lambda name, root: load_manifest(name).model_copy(update={"gigabytes": None, "sizes": None})
    monkeypatch.setattr(at_scale, "load_manifest", bare)
    table = at_scale.disk_table(counts)
    assert set(table.loc["Cars"]) == {"not stated"} and "0 data sets that state it" in table.index


def test_a_record_made_elsewhere_stands_beside_the_miniature_and_the_papers(folder):
    found = at_scale.read_all()
    assert list(found) == ["ViT-Mini-8", "ViT-B-32"]
    table = at_scale.results_table(found)
    ours = table.loc[("CLIP", "ViT-B-32", "linear")]
    accuracies, origin = ["90.0 ± 0.0", "70.0 ± 0.0", "80.0 ± 0.0"], ["abc123", "A100, 64 cores", "2026-11-22"]
    assert ours.tolist() == [*accuracies, "2", "2000 of 128, bf16", *origin]
    assert table.loc[("miniature", "ViT-Mini-8", "linear"), "single-task"] == "75.0"
    printed = table.loc[("CLIP, paper 1", "ViT-B/32", "linear")]
    assert printed["addition, absolute"] == "76.5" and printed["commit"] == printed["single-task"] == "–"
    assert table.loc[("CLIP, paper 2", "ViT-L/14", "attention-only"), "addition, normalised"] == "93.7"


def test_without_records_there_are_the_papers_numbers(tmp_path, monkeypatch):
    look_in(tmp_path, monkeypatch)
    table = at_scale.results_table(at_scale.read_all())
    assert {scale for scale, _, _ in table.index} == {"CLIP, paper 1", "CLIP, paper 2"}
    assert isinstance(table, pd.DataFrame) and len(table) == 18
