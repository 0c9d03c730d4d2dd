"""Counted numbers of the page on cost: against the library's own counts and against a real step."""

import matplotlib.pyplot as plt
import pytest
import torch

from tangent_lib.cost import both_papers
from tangent_lib.cost.both_papers import PAPERS, kind_of
from tangent_lib.cost.counted_steps import CLASSES, StepCount, shapes_only
from tangent_lib.cost.measured_steps import LISTING_1, step_costs
from tangent_lib.finetuning import Protocol
from tangent_lib.kernels import NUMBERS_HELD_ELSEWHERE
from tangent_lib.modes import ALPHAS, PAPER, TRAININGS
from tangent_lib.report import at_scale, counted_costs
from tangent_lib.report.counted_costs import F_LIN, F


@pytest.fixture(scope="module")
def counts():
    kinds = {kind_of(each): StepCount(30, 10, 0, 0, 4, 10**6, 0) for each in TRAININGS}
    return kinds | {F_LIN: StepCount(50, 29, 0, 0, 4, 2 * 10**6, 0)}


def test_the_bytes_of_listing_1_are_those_of_real_steps(random_clip):
    tower, x = shapes_only("ViT-Mini-8"), torch.randn(4, 3, 32, 32)
    real = [
        step_costs(random_clip.f, random_clip.theta_0, torch.randn(CLASSES, 128), x[:n], torch.arange(n), 1, (LISTING_1,))
        for n in (2, 4)
    ]
    few, more = (each[LISTING_1].saved_bytes for each in real)
    image = x[0].nbytes  # without content, jvp copies the images once more
    assert counted_costs.kept_by_listing_1(tower) - (more - few) // 2 in (0, image)


def test_models_are_compared_with_f(counts):
    row = counted_costs.model_table({"ViT-B-32": counts}, {"ViT-B-32": 8}).loc["ViT-B-32"]
    assert row.tolist() == ["1.0", "3e-08", "1.667", "2.900", "4e-06", "1.000", "2.00"]


def test_growth_is_that_of_the_workload(counts):
    panels, forward = counted_costs.growth(counts, outputs=3), counts[F].forward_operations
    at = lambda title, name, where: panels[title]["series"][name][panels[title]["at"].index(where)]
    assert at("a sweep", "f_lin, here", 21) * forward == pytest.approx(29 * both_papers._sweep(True))
    assert at("a sweep", "f, here", len(ALPHAS)) == both_papers._sweep(False)
    assert at("a sweep", "f_lin, anew", 21) * forward == pytest.approx(21 * 29)
    for vectors in (1, 8):
        here = at("negation, on the control", "f_lin, here", vectors)
        assert here * forward == pytest.approx(both_papers._passes(counts, vectors))
    points = both_papers._grids(counts, False, 1) / forward / 2
    for linear, name in ((True, "f_lin, here"), (False, "f, here")):
        assert at("a grid of ξ", name, 20) * forward * points == pytest.approx(both_papers._grids(counts, linear, 20))
    kernels = panels["kernels of 3 logits"]["series"]
    assert kernels["Jacobian"][0] == pytest.approx(4 * (16 * 3 * 10**6 + 3 * 16**2) / 1e9)
    assert kernels["here, the limit"][-1] == pytest.approx(4 * (NUMBERS_HELD_ELSEWHERE + 3 * 4096**2) / 1e9)


def test_the_figure_draws_every_line(counts):
    panels = counted_costs.growth(counts)
    figure = counted_costs.growth_figure(panels)
    assert [len(axis.lines) for axis in figure.axes] == [len(panel["series"]) for panel in panels.values()]
    assert [line.get_linestyle() for line in figure.axes[0].lines] == ["--", "-", "--", "-"]
    plt.close(figure)


def test_anew_only_evaluation_takes_more(counts):
    anew, here = (count(counts, PAPERS, Protocol(steps=10)) for count in (counted_costs.work_anew, both_papers.work))
    shared = {"addition", "negation", "disentanglement error"}
    assert set(anew) == set(here) and {part for part in here if anew[part] > here[part]} >= shared
    assert {part for part in here if anew[part] != here[part]} <= shared | {"NTK"}
    images = sum(len(ALPHAS) * val + test for val, test in map(both_papers.split_sizes, PAPER.tasks))
    only = counted_costs.work_anew(counts, ["attention-only"], Protocol())
    modes = [10, 29, 29, 10, 29, 10, 10, 10]  # forward passes of the eight modes, five of f and three of f_lin
    assert only["addition"] == sum(modes) * images and only["NTK"] == 0
    points = both_papers._grids(counts, False, 1) // 20
    assert only["disentanglement error"] == 2 * 15**2 * points * (10 + 29 + 29 + 10 + 29)


def test_hours_are_of_the_gpu_that_the_paper_names(counts):
    table = counted_costs.hours_table({"ViT-B-32": counts}, Protocol(), 1.0)
    column = ("attention-only paper, RTX 3090", "here")
    assert table.loc["in all", ("tangent-space paper, V100", "the paper's figure")] == "less than 350"
    assert table.loc["zero-shot", ("tangent-space paper, V100", "the paper's figure")] == "–"
    big = {kind: StepCount(10**12, 10**12, 0, 0, 4, 1, 0) for kind in counts}
    whole = at_scale.paper_hours({"m": big}, ["attention-only"], Protocol(), at_scale.GPUS["RTX 3090"], "fp32", {"fp32": 1.0})
    assert float(counted_costs.hours_table({"m": big}, Protocol(), 1.0).loc["in all", column]) == pytest.approx(
        whole, abs=0.05
    )
