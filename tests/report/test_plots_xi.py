"""Heat maps draw what they are given: the right way round, on one scale, with the box; areas are exact counts."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.patches import Rectangle

from tangent_lib.disentanglement import XiGrid
from tangent_lib.report.plots_xi import Grid, area_below, grid_of, heatmaps
from tangent_lib.runtime.errors import InputError

ALPHAS = np.linspace(-2, 2, 5)


def grid(function, alphas=ALPHAS):
    return Grid(list(alphas), [[function(a, b) for b in alphas] for a in alphas])


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def panels(figure):
    return [axis for axis in figure.axes if axis.images]


def at(axis, alpha_1, alpha_2):
    """The value drawn at a point of the plane, found as a reader's eye would: by the axes' coordinates."""
    (image,) = axis.images
    left, right, bottom, top = image.get_extent()
    values = image.get_array()
    assert image.origin == "lower" and left < right and bottom < top
    column = int((alpha_1 - left) / (right - left) * values.shape[1])
    return values[int((alpha_2 - bottom) / (top - bottom) * values.shape[0]), column]


def test_alpha_1_runs_to_the_right():
    (axis,) = panels(heatmaps({"linear": {"a-b": grid(lambda a, b: 2 + a)}}))
    assert [at(axis, a, 0) for a in ALPHAS] == [0, 1, 2, 3, 4]
    assert len({at(axis, 0, b) for b in ALPHAS}) == 1
    assert axis.get_xlabel() == r"$\alpha_1$" and not axis.yaxis_inverted() and not axis.xaxis_inverted()


def test_alpha_2_runs_upward():
    (axis,) = panels(heatmaps({"linear": {"a-b": grid(lambda a, b: 2 + b)}}))
    assert [at(axis, 0, b) for b in ALPHAS] == [0, 1, 2, 3, 4]
    assert len({at(axis, a, 0) for a in ALPHAS}) == 1
    assert r"$\alpha_2$" in axis.get_ylabel()


def test_a_cell_is_centred_on_its_alphas():
    (axis,) = panels(heatmaps({"linear": {"a-b": grid(lambda a, b: abs(a))}}))
    assert axis.images[0].get_extent() == [-2.5, 2.5, -2.5, 2.5]


def test_all_panels_share_one_scale_and_one_bar():
    small, large = grid(lambda a, b: 0.1), grid(lambda a, b: 1.7)
    grids = {"non-linear": {"a-b": large, "c-d": small}, "linear": {"a-b": small, "c-d": small}}
    figure = heatmaps(grids, label="error")
    assert len(panels(figure)) == 4 and len(figure.axes) == 5
    assert {axis.images[0].get_clim() for axis in panels(figure)} == {(0, 1.7)}
    assert figure.axes[-1].get_ylabel() == "error"
    figure = heatmaps({"linear": {"a-b": small}}, vmax=2)
    assert panels(figure)[0].images[0].get_clim() == (0, 2)


def test_light_is_a_small_error_and_grey_keeps_the_order():
    (axis,) = panels(heatmaps({"linear": {"a-b": grid(lambda a, b: a + 2)}}))
    colours = axis.images[0].get_cmap()(np.linspace(0, 1, 20))[:, :3]
    assert (np.diff(colours @ [0.299, 0.587, 0.114]) < 0).all()


def test_the_box_is_outlined_in_every_panel():
    figure = heatmaps({"linear": {"a-b": grid(lambda a, b: 1.0), "c-d": grid(lambda a, b: 0.0)}}, box=(0, 1))
    for axis in panels(figure):
        (box,) = [patch for patch in axis.patches if isinstance(patch, Rectangle)]
        assert (box.get_xy(), box.get_width(), box.get_height()) == ((0, 0), 1, 1)
        assert not box.get_fill() and box.get_linewidth() > 1 and box.get_path_effects()
    assert not panels(heatmaps({"linear": {"a-b": grid(lambda a, b: 1.0)}}, box=None))[0].patches


def test_a_level_draws_a_line_where_the_grid_crosses_it():
    figure = heatmaps({"linear": {"a-b": grid(lambda a, b: abs(a)), "c-d": grid(lambda a, b: 0.0)}}, level=0.5)
    assert [len(axis.collections) for axis in panels(figure)] == [1, 0]
    lines = panels(figure)[0].collections[0].get_paths()[0].vertices
    assert set(np.abs(lines[:, 0]).round(6)) == {0.5}


def test_a_missing_panel_says_so():
    one = grid(lambda a, b: 0.0)
    figure = heatmaps({"non-linear": {"a-b": one, "c-d": one}, "linear": {"c-d": one}})
    assert [[text.get_text() for text in axis.texts] for axis in figure.axes[:4]] == [[], [], ["not recorded"], []]
    nothing = heatmaps({"linear": {"a-b": None}})
    assert [text.get_text() for axis in nothing.axes for text in axis.texts] == ["not recorded"]


def test_the_area_below_a_level_is_a_count():
    ramp = grid(lambda a, b: abs(a) / 10)  # 0.2, 0.1, 0, 0.1, 0.2
    assert area_below(ramp, 0.1) == pytest.approx(1 / 5)
    assert area_below(ramp, 0.15) == pytest.approx(3 / 5)
    assert area_below(ramp, 1) == 1
    assert area_below(ramp, 0.1, box=(0, 1)) == 1 / 2
    assert area_below(ramp, 0.1, box=(1, 2)) == 0


def test_a_distance_is_taken_out_of_a_result():
    result = XiGrid((0.0,), (1, 1), ((0.0,),), ((0.2,),))
    assert grid_of(result, "KL divergence") == Grid((0.0,), ((0.2,),))
    with pytest.raises(InputError, match=r"unknown distance 'hamming'.*prediction error, KL divergence"):
        grid_of(result, "hamming")


@pytest.mark.parametrize(
    "grids, message",
    [
        ({}, "no grid to draw"),
        ({"linear": {}}, "no grid to draw"),
        ({"linear": {"a-b": Grid([], [])}}, "the grid is empty"),
        ({"linear": {"a-b": Grid([0, 1], [[0, 1]])}}, r"shape \(1, 2\), but 2 alphas need \(2, 2\)"),
        ({"linear": {"a-b": grid(lambda a, b: 0, [0, 1, 3])}}, "equal steps"),
    ],
)
def test_bad_grids_are_refused(grids, message):
    with pytest.raises(InputError, match=message):
        heatmaps(grids)


def test_a_box_off_the_grid_is_refused():
    with pytest.raises(InputError, match="-2 to 2, lies in the box"):
        area_below(grid(lambda a, b: 0.0), 0.1, box=(5, 6))
