"""Figures of the attention-only paper draw what they are given, and its tables change with a result."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from tangent_lib.cost.measured_steps import LISTING_1, WAYS, StepCost
from tangent_lib.disentanglement import XiGrid
from tangent_lib.experiment import Cosines
from tangent_lib.experiments.records import AdditionSummary, Summary
from tangent_lib.finetuning import Protocol, finetune
from tangent_lib.modes import select
from tangent_lib.report import paper, tables, tables_attention
from tangent_lib.report.plots_attention import against, cosine_matrices, xi_by_distance
from tangent_lib.report.quantities import ABSOLUTE, NORMALISED, SINGLE
from tangent_lib.runtime.errors import InputError

ALPHAS = (-2.0, -1.0, 0.0, 1.0, 2.0)
COLOURS = {"linear": "#CC3311", "attention-only": "#009E73"}


def grid(kl, prediction):
    square = lambda function: tuple(tuple(float(function(a, b)) for b in ALPHAS) for a in ALPHAS)
    return XiGrid(ALPHAS, (5, 5), square(prediction), square(kl))


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def drawn(axis):
    """The colour values of a panel, a row an alpha_2 from below, a column an alpha_1 from the left."""
    return np.asarray(axis.collections[0].get_array()).reshape(len(ALPHAS), len(ALPHAS))


# -- figures ----------------------------------------------------------------------------------------------------------
def test_alpha_1_runs_to_the_right_and_alpha_2_upward():
    figure = xi_by_distance({"linear": grid(lambda a, b: a + 2, lambda a, b: b + 2)})
    above, below = [axis for axis in figure.axes if axis.get_ylabel().endswith(r"$\alpha_2$")]
    assert drawn(above)[0].tolist() == [0, 1, 2, 3, 4] and drawn(below)[:, 0].tolist() == [0, 1, 2, 3, 4]
    assert below.get_xlabel() == r"$\alpha_1$" and not below.xaxis_inverted() and not below.yaxis_inverted()
    assert above.get_xlim() == (-2.5, 2.5) == above.get_ylim()


def test_every_distance_has_a_scale_of_its_own_and_modes_share_it():
    low, high = grid(lambda a, b: 0.1, lambda a, b: 1.0), grid(lambda a, b: 7.0, lambda a, b: 0.5)
    figure = xi_by_distance({"linear": low, "attention-only": high})
    limits = [axis.collections[0].get_clim() for axis in figure.axes[:4]]
    assert limits == [(0, 7.0), (0, 7.0), (0, 1.0), (0, 1.0)]
    assert [axis.get_title() for axis in figure.axes[:2]] == ["linear", "attention-only"]


def test_the_search_box_is_outlined():
    figure = xi_by_distance({"linear": grid(lambda a, b: 1.0, lambda a, b: 1.0)})
    for axis in figure.axes[:2]:
        (box,) = axis.patches
        assert (box.get_xy(), box.get_width(), box.get_height()) == ((0, 0), 1, 1)


def test_accuracies_are_drawn_in_percent_with_their_average():
    points = {"Signs": (0.9, 0.8), "Digits": (0.7, 0.6)}
    axis = against({"linear": points}, COLOURS, "x (%)", "y (%)").axes[0]
    small, large = axis.collections
    assert small.get_offsets().tolist() == pytest.approx(np.array([[90, 80], [70, 60]]))
    assert large.get_offsets().tolist() == pytest.approx(np.array([[80, 70]]))
    labels = [text.get_text() for text in axis.get_legend().get_texts()]
    assert labels == ["equal accuracy", "linear", "linear, average"]


def test_points_can_be_named_instead():
    axis = against({"linear": {"ViT-Mini-8": (0.9, 0.8)}}, COLOURS, "x", "y", name_points=True).axes[0]
    assert [text.get_text() for text in axis.texts] == ["ViT-Mini-8"] and len(axis.collections) == 1


def test_the_diagonal_of_cosines_is_empty_and_sets_no_scale():
    between = {"linear": 0.2, "attention-only": -0.1}
    matrices = {mode: Cosines(("a", "b"), ((1.0, c), (c, 1.0))) for mode, c in between.items()}
    figure = cosine_matrices(matrices)
    panels = figure.axes[:2]
    assert [axis.images[0].get_clim() for axis in panels] == [(-0.1, 0.2), (-0.1, 0.2)]
    assert [[text.get_text() for text in axis.texts] for axis in panels] == [[".20", ".20"], ["-.10", "-.10"]]
    assert panels[0].images[0].get_array().mask.tolist() == [[True, False], [False, True]]


@pytest.mark.parametrize(
    "draw, message",
    [
        (lambda: against({}, COLOURS, "x", "y"), "nothing to draw"),
        (lambda: xi_by_distance({}), "no grid"),
        (lambda: cosine_matrices({}), "no matrix"),
        (lambda: cosine_matrices({"linear": Cosines(("a", "b"), ((1.0, 0.0),))}), r"\(1, 2\) for 2 tasks"),
        (lambda: cosine_matrices({"linear": Cosines(("a",), ((1.0,),))}), "two tasks or more"),
    ],
)
def test_nothing_to_draw_is_refused(draw, message):
    with pytest.raises(InputError, match=message):
        draw()


# -- tables -----------------------------------------------------------------------------------------------------------
ALL = ("non-linear", "post-hoc", "linear", "attention-only", "attention post-hoc", *tables_attention.ABLATED)
SINGLE_TASK = dict(zip(ALL, (0.9, 0.6, 0.8, 0.85, 0.8, 0.85, 0.85, 0.85)))


def summary(mode, absolute):
    single = SINGLE_TASK[mode]
    return Summary({"a": single}, AdditionSummary(0.2, absolute, absolute / single, {"a": absolute}, (absolute,)))


@pytest.fixture
def live():
    return {mode: {"0": summary(mode, 0.7 if mode == "attention-only" else 0.6)} for mode in ALL}


def test_table_5_has_four_rows_in_the_order_of_the_paper(live):
    measures = {"Single": SINGLE, "Abs.": ABSOLUTE, "Norm.": NORMALISED}
    modes, numbers = ("attention-only", *tables_attention.ABLATED), paper.ATTENTION_TABLE_5
    assert tuple(numbers) == modes
    papers = {mode: (numbers[mode],) for mode in modes}
    table = tables.accuracy_table({"here": live}, modes, measures, papers, ["B/32"], digits=2)
    assert table[("paper: B/32", "Abs.")].tolist() == ["78.37", "77.71", "76.52", "77.80"]
    assert table[("here", "Abs.")].tolist() == ["70.0", "60.0", "60.0", "60.0"]


def test_the_megabytes_of_table_4_are_the_weights_in_single_precision():
    """Four bytes a number: the column "Computational Cost (MB)" holds no activations."""
    for held_millions, _, megabytes, _ in paper.ATTENTION_TABLE_4.values():
        assert abs(megabytes / 4 - held_millions) < 1


def test_efficiency_shows_what_was_counted():
    cost = StepCost(0.05, saved_bytes=30_000_000, gradient_bytes=1, parameters=2_000_000, trainable=1, weight_bytes=8_000_000)
    table = tables_attention.efficiency_table(dict.fromkeys((*WAYS, LISTING_1), cost), "here")
    assert table[("here", "activations (MB)")].tolist() == ["30.0"] * 4 and table[("here", "ms a gradient")].iloc[0] == "50"


def test_the_papers_linear_training_is_listing_1():
    cost = lambda seconds: StepCost(seconds, 1, 1, 1, 1, 1)
    costs = {"non-linear": cost(1.0), "linear": cost(1.5), "attention-only": cost(0.5), LISTING_1: cost(2.5)}
    table = tables_attention.efficiency_table(costs, "here")
    assert table[("paper: Flan-T5-base", "minutes")].tolist() == ["17:38", "40:59", "–", "10:15"]
    assert table[("here", "ms a gradient")].tolist() == ["1000", "2500", "1500", "500"]
    assert table.index[1].endswith("Listing 1") and table.index[2].endswith("this library")


def test_areas_are_below_a_tenth_of_the_largest_error_of_any_mode():
    small, large = grid(lambda a, b: abs(a) / 10, lambda a, b: 0.0), grid(lambda a, b: 2.0, lambda a, b: abs(b))
    table = tables_attention.areas_table({"a-b": {"linear": small, "attention-only": large}})
    assert table.loc["linear"].to_dict() == {("a-b", "prediction error"): "100", ("a-b", "KL divergence"): "60"}
    assert table.loc["attention-only"].to_dict() == {("a-b", "prediction error"): "20", ("a-b", "KL divergence"): "0"}


def test_growth_beyond_the_box_is_a_ratio_of_means():
    table = tables_attention.beyond_box_table({"a-b": {"linear": grid(lambda a, b: max(a, 0), lambda a, b: a * b > 1)}})
    assert table.loc["linear"].to_dict() == {("a-b", "prediction error"): "–", ("a-b", "KL divergence"): "4.0 times"}


def test_only_attention_weights_move(random_clip, task, few):
    data, theta_0 = few(task("Signs").split("train"), 8), random_clip.theta_0
    head = torch.randn(len(task("Signs").classes), 128)
    trained = select(theta_0, "attention weights")
    protocol = Protocol(steps=2, batch_size=4, learning_rate=1e-3)
    theta = finetune(random_clip.f, theta_0, head, data, protocol, trained=trained)
    table = tables_attention.what_moved(theta_0, theta)
    moved = table[table["tensors changed"] > 0]
    assert sorted(name.split(".attn.")[1] for name in moved.index) == ["in_proj_weight", "out_proj.weight"]
    assert (moved["tensors changed"] == moved["tensors"]).all() and moved["tensors"].sum() == len(trained)


def test_a_flipped_sign_bit_counts_as_moved():
    theta_0 = {"w": torch.zeros(2)}
    assert tables_attention.what_moved(theta_0, {"w": -torch.zeros(2)})["tensors changed"].tolist() == [1]
