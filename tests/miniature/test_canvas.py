"""Signed distances in closed form, and the drawing of shapes."""

from __future__ import annotations

import numpy as np
import pytest

from tangent_lib.miniature.canvas import Canvas, both, bow, box, circle, cut, polygon, regular, segment, stroke, union

WHITE = np.ones((1, 3, 1, 1), np.float32)


@pytest.fixture
def canvas():
    return Canvas(1, np.random.default_rng(0))


@pytest.mark.parametrize(
    "distance, expected",
    [
        (circle(3.0, 4.0, 2.0), 3.0),
        (circle(0.0, 0.0, 2.0), -2.0),
        (box(2.0, 0.5, 1.0, 1.0), 1.0),
        (box(0.25, 0.5, 1.0, 1.0), -0.5),
        (segment(0.5, 2.0, (0, 0), (1, 0), 0.5), 1.5),
        (segment(4.0, 4.0, (0, 0), (1, 0), 0.5), 4.5),
        (segment(3.0, 4.0, (0, 0), (0, 0), 1.0), 4.0),
        (stroke(2.0, 3.0, [(0, 0), (2, 0), (2, 2)], 0.25), 0.75),
        (bow(0.0, 3.0, 1.0, 0.0, np.pi, 0.5), 1.5),
        (bow(1.0, -2.0, 1.0, 0.0, np.pi, 0.5), 1.5),
        (regular(0.0, -3.0, 4, 1.0), 2.0),
        (regular(0.0, 0.0, 8, 1.0), -1.0),
        (polygon(2.0, 0.5, [(0, 0), (1, 0), (1, 1), (0, 1)]), 1.0),
        (polygon(0.75, 0.5, [(0, 0), (1, 0), (1, 1), (0, 1)]), -0.25),
        (union(3.0, -1.0, 2.0), -1.0),
        (both(3.0, -1.0, 2.0), 3.0),
        (cut(-2.0, -1.0), 1.0),
        (cut(-2.0, 5.0), -2.0),
    ],
)
def test_distances_in_closed_form(distance, expected):
    assert distance == pytest.approx(expected, abs=1e-6)


def test_coordinates_run_from_left_to_right_and_from_bottom_to_top(canvas):
    edge = 1 - 1 / 32
    assert (canvas.x[0, 5, 0], canvas.x[0, 5, -1]) == (-edge, edge)
    assert (canvas.y[0, 0, 5], canvas.y[0, -1, 5]) == (edge, -edge)


def test_a_frame_turns_counter_clockwise_enlarges_and_moves(canvas):
    u, v = canvas.place(np.pi / 2, 2.0, 1.0, 0.0, x=np.ones(1), y=np.full(1, 4.0))
    assert (*u, *v) == pytest.approx((2.0, 0.0), abs=1e-12)


def test_a_shape_covers_its_area(canvas):
    canvas.paint(circle(canvas.x, canvas.y, 0.5), WHITE)
    assert canvas.image.sum(axis=(2, 3)) / 32**2 == pytest.approx(np.full((1, 3), np.pi * 0.25 / 4), rel=0.01)
    assert canvas.image[0, 0, 16, 16] == 1 and canvas.image[0, 0, 0, 0] == 0


def test_half_a_plane_is_painted_at_the_bottom_and_opacity_mixes(canvas):
    canvas.paint(canvas.y, WHITE, 0.25)
    assert (canvas.image[0, :, 17:] == 0.25).all() and (canvas.image[0, :, :15] == 0).all()


def test_blend_mixes_by_weight_within_0_and_1(canvas):
    canvas.fill(0.5 * WHITE)
    canvas.blend(np.float32(4) * (canvas.x > 0) - 2 * (canvas.x <= 0), WHITE)
    assert (canvas.image[..., :16] == 0.5).all() and (canvas.image[..., 16:] == 1).all()


def test_colours_have_the_hue_saturation_and_value_asked_for(canvas):
    exact = lambda h, s, v: canvas.colour((h, h), (s, s), (v, v)).flatten()
    assert exact(0.0, 1.0, 1.0) == pytest.approx([1, 0, 0], abs=1e-6)
    assert exact(1 / 3, 1.0, 0.5) == pytest.approx([0, 0.5, 0], abs=1e-6)
    assert exact(2 / 3, 0.5, 1.0) == pytest.approx([0.5, 0.5, 1], abs=1e-6)
    assert exact(0.4, 0.0, 0.3) == pytest.approx([0.3, 0.3, 0.3], abs=1e-6)


def test_random_numbers_are_one_per_image_and_in_range():
    canvas = Canvas(500, np.random.default_rng(0))
    numbers, colours, noise = canvas.uniform(2.0, 3.0), canvas.colour(), canvas.noise(5)
    assert numbers.shape == (500, 1, 1) and 2 <= numbers.min() < 2.05 and 2.95 < numbers.max() <= 3
    assert set(canvas.choice([1, 5]).flatten()) == {1, 5}
    assert colours.shape == (500, 3, 1, 1) and noise.shape == (500, 32, 32)
    assert all(0 <= each.min() < each.max() <= 1 for each in (colours, noise))


def test_a_finished_image_is_of_bytes_and_repeats_with_the_seed():
    images = []
    for seed in (0, 0, 1):
        canvas = Canvas(3, np.random.default_rng(seed))
        canvas.fill(0.5 * WHITE)
        images.append(canvas.finish())
    assert images[0].dtype == np.uint8 and images[0].shape == (3, 3, 32, 32)
    assert (images[0] == images[1]).all() and (images[0] != images[2]).any()
