"""Illustrations show what they say: the example is disentangled, the plane is tangent, only what is trained is coloured."""

from itertools import combinations

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.patches import FancyBboxPatch

from tangent_lib.report import illustrations
from tangent_lib.report.plots import COLOURS

ALL = [illustrations.weight_disentanglement, illustrations.tangent_space, illustrations.paradigms]
X = np.linspace(0, 10, 1001)


@pytest.fixture(params=ALL, ids=lambda draw: draw.__name__)
def figure(request):
    figure = request.param()
    figure.canvas.draw()
    yield figure
    plt.close(figure)


def drawn(figure):
    """Every text that is drawn, with its box in pixels."""
    found = [*figure.texts, *(text for axis in figure.axes for text in (*axis.texts, axis.title))]
    return [(text, text.get_window_extent()) for text in found if text.get_text()]


def test_each_is_labelled_as_an_illustration(figure):
    assert any("illustration, no data" in t.get_text() for t, _ in drawn(figure))


def test_no_text_is_cut_off_or_covers_another(figure):
    width, height = figure.canvas.get_width_height()
    for text, box in drawn(figure):
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height, text.get_text()
    for (a, box_a), (b, box_b) in combinations(drawn(figure), 2):
        assert not box_a.shrunk(0.9, 0.7).overlaps(box_b.shrunk(0.9, 0.7)), (a.get_text(), b.get_text())


def test_letters_are_legible_at_the_width_of_a_page(figure):
    """At 700 pixels, no letter below ten pixels of font size."""
    pixels = 700 / figure.get_size_inches()[0] / 72
    assert min(t.get_fontsize() for t, _ in drawn(figure)) * pixels >= 10


def test_figures_are_white_in_any_style(figure):
    assert to_hex(figure.get_facecolor()) == "#ffffff"


def test_the_example_is_disentangled():
    in_1, in_2 = ((low <= X) & (high >= X) for low, high in illustrations.REGIONS)
    before, two, one, both = (illustrations.example(X, (a, b)) for a in (False, True) for b in (False, True))
    assert not (in_1 & in_2).any() and (one != before).any() and (two != before).any()
    assert (both[in_1] == one[in_1]).all() and (both[in_2] == two[in_2]).all()
    assert (both[~in_1 & ~in_2] == before[~in_1 & ~in_2]).all()


def test_the_four_models_drawn_are_the_examples():
    figure = illustrations.weight_disentanglement()
    lines = [line for axis in figure.axes for line in axis.lines if line.get_label().find("f(x") >= 0]
    expected = [illustrations.example(lines[0].get_xdata(), (a, b)) for b in (False, True) for a in (False, True)]
    assert len(lines) == 4 and all((line.get_ydata() == y).all() for line, y in zip(lines, expected))
    plt.close(figure)


def test_the_plane_touches_the_surface_where_training_starts():
    step, zero = 1e-6, np.zeros(1)
    assert illustrations.surface(zero, zero) == 0
    for dx, dy in ((step, 0), (0, step)):
        assert abs(illustrations.surface(zero + dx, zero + dy)) < 1e-10


def test_only_what_is_trained_is_coloured():
    figure = illustrations.paradigms()
    boxes = [to_hex(p.get_facecolor()).upper() for p in figure.axes[0].patches if isinstance(p, FancyBboxPatch)]
    parts = 9  # embeddings, two norms, q, k, v, o, MLP, the last norm with the projection
    assert [boxes.count(c.upper()) for c in (COLOURS["non-linear"], COLOURS["linear"])] == [parts, parts]
    assert boxes.count(illustrations.ATTENTION_COLOUR.upper()) == 4 and boxes.count(illustrations.FROZEN.upper()) == parts - 4
    plt.close(figure)
