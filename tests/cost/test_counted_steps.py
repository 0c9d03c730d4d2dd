"""Counts without arithmetic against closed forms, and against real steps of the miniature."""

from functools import cache

import open_clip
import pytest
import torch

from tangent_lib.cost import counted_steps
from tangent_lib.cost.counted_steps import (
    CLASSES,
    ShapesOnly,
    StepCount,
    count_step,
    kept_for_backward,
    largest_micro_batch,
    shapes_only,
)
from tangent_lib.cost.measured_steps import WAYS, step_costs
from tangent_lib.runtime.errors import InputError
from tangent_lib.runtime.private_doors import shapes_without_content

pytestmark = pytest.mark.slow

# width, layers, patch, dim
SHAPES = {"ViT-B-32": (768, 12, 32, 512), "ViT-B-16": (768, 12, 16, 512), "ViT-L-14": (1024, 24, 14, 768)}


@pytest.fixture(scope="module")
def miniature():
    return shapes_only("ViT-Mini-8")


@cache
def base(linear=False, selection="all"):
    return count_step(shapes_only("ViT-B-32"), linear, selection)


def layer(pixels, dim):
    """One matrix from pixels to features."""
    with shapes_without_content() as shapes:
        weight = torch.empty(dim, 3 * pixels**2)
    return ShapesOnly("layer", lambda params, x: x.flatten(1) @ params["w"].T, {"w": weight}, pixels, dim, 0, shapes)


def test_the_bytes_are_those_of_real_steps(miniature, random_clip):
    head, x, y = torch.randn(CLASSES, 128), torch.randn(3, 3, 32, 32), torch.arange(3)
    real = step_costs(random_clip.f, random_clip.theta_0, head, x, y, repeats=1)
    for way, selection in WAYS.items():
        counted = count_step(miniature, way == "linear", selection)
        assert counted.saved_bytes(3) == real[way].saved_bytes
        assert (counted.parameters, counted.trainable) == (real[way].parameters, real[way].trainable)


def test_the_operations_of_a_linear_layer():
    tower = layer(pixels=4, dim=5)
    matrix, head = 2 * 48 * 5, 2 * 5 * CLASSES  # a product of an image with either
    f, f_lin = count_step(tower), count_step(tower, linear=True)
    # f_lin: the value and the term of the matrix's tangent; images have none, so that the other term is left out
    assert (f.forward_operations, f_lin.forward_operations) == (matrix + head, 2 * matrix + head)
    # backward: the gradients of the matrix and of the features, as f's
    assert (f.operations, f_lin.operations) == (2 * matrix + 2 * head, 3 * matrix + 2 * head)


def test_the_operations_of_two_linear_layers():
    first, second = 2 * 48 * 5, 2 * 5 * 4  # products with the matrix of each layer
    head = 2 * 4 * CLASSES
    with shapes_without_content() as shapes:
        theta_0 = {"v": torch.empty(5, 48), "w": torch.empty(4, 5)}
    f = lambda params, x: torch.nn.functional.linear(torch.tanh(x.flatten(1) @ params["v"].T), params["w"])
    tower = ShapesOnly("layers", f, theta_0, size=4, dim=4, numbers=0, shapes=shapes)
    plain, linear = count_step(tower), count_step(tower, linear=True)
    # what enters the second layer has a value and a tangent: both terms of its product rule
    assert (plain.forward_operations, linear.forward_operations) == (
        first + second + head,
        2 * first + 3 * second + head,
    )
    # backward is f's own: the second layer's gradients of matrix and input, the first one's of its matrix
    assert plain.operations - plain.forward_operations == first + 2 * second + head
    assert linear.operations - linear.forward_operations == plain.operations - plain.forward_operations


def test_f_lin_keeps_the_bytes_of_f_and_takes_two_thirds_more_operations():
    f, f_lin = base(), base(linear=True)
    assert 1.6 < f_lin.operations / f.operations < 1.7
    assert (f_lin.image_bytes, f_lin.parameters) == (f.image_bytes, 2 * f.parameters)


def test_a_linear_layer_keeps_its_input():
    few, more = count_step(layer(4, 5)), count_step(layer(6, 5))
    assert more.image_bytes - few.image_bytes == 4 * 3 * (6**2 - 4**2)


@pytest.mark.parametrize("name", SHAPES)
def test_the_forward_pass_of_a_vision_transformer(name):
    width, layers, patch, dim = SHAPES[name]
    tower, patches = shapes_only(name), (224 // patch) ** 2
    tokens = patches + 1
    blocks = layers * tokens * (24 * width**2 + 4 * tokens * width)  # 12 d^2 weights; scores and values of attention
    ends = patches * 2 * 3 * patch**2 * width + 2 * width * dim + 2 * dim * CLASSES
    assert count_step(tower, selection="attention weights").forward_operations == blocks + ends


def test_what_is_held():
    whole, image, attention = 151_277_313, 87_849_216, 12 * 4 * 768**2
    # theta_0 beside the loaded model; theta, gradient and two moments of what is trained; tau for f_lin
    assert base().held_bytes == 4 * (whole + 5 * image)
    assert base(linear=True).held_bytes == 4 * (whole + 5 * image)
    assert base(selection="attention weights").held_bytes == 4 * (whole + image + 4 * attention)
    assert base(selection="attention weights").trainable == attention


def test_bytes_grow_by_the_same_number_with_each_image(miniature, monkeypatch):
    counted = count_step(miniature, linear=True)
    monkeypatch.setattr(counted_steps, "BATCHES", (5, 17))
    assert count_step(miniature, linear=True) == counted
    assert counted.memory_bytes(9) == counted.held_bytes + counted.constant_bytes + 9 * counted.image_bytes


def test_bf16_keeps_about_half_of_an_image_and_a_copy_of_the_weights(miniature):
    single, half = count_step(miniature), count_step(miniature, precision="bf16")
    assert half.operations == single.operations and half.held_bytes == single.held_bytes
    assert 0.45 < half.image_bytes / single.image_bytes < 0.6
    assert half.constant_bytes > 1.9 * half.parameters


def test_the_activation_function_is_that_of_the_weights():
    plain = shapes_only("ViT-B-32", "none")  # GELU keeps its input; OpenAI's QuickGELU what it multiplies too
    assert base().image_bytes > count_step(plain).image_bytes


def test_nothing_is_downloaded_or_filled(monkeypatch):
    monkeypatch.setattr(open_clip.factory, "download_pretrained", lambda *a, **k: pytest.fail("weights were asked for"))
    weights = shapes_only("ViT-L-14").theta_0.values()
    assert {value.untyped_storage().device.type for value in weights} == {"meta"}


def test_a_model_with_buffers_is_counted():
    count = count_step(shapes_only("RN50", "none"))
    assert 2.9 < count.operations / count.forward_operations < 3


def test_a_storage_is_noted_once_and_weights_are_not():
    weight = torch.ones(4, 4, requires_grad=True)
    x = torch.ones(2, 4)
    with kept_for_backward([weight]) as kept:
        x[:1] @ weight + x[1:] @ weight
    assert sum(kept.values()) == x.nbytes


def test_the_largest_micro_batch_is_the_largest():
    count = base(linear=True)
    for gigabytes in (3, 4, 6, 8, 12):
        found = largest_micro_batch(count, gigabytes)
        assert not found or count.memory_bytes(found) <= 0.9e9 * gigabytes
        assert found == 128 or count.memory_bytes(2 * found or 1) > 0.9e9 * gigabytes
    assert largest_micro_batch(count, 2) == 0 and largest_micro_batch(count, 1000, batch_size=96) == 64


@pytest.mark.parametrize(("gigabytes", "batch"), [(0, 128), (-1, 128), (16, 0)])
def test_no_memory_or_no_batch_is_refused(gigabytes, batch):
    with pytest.raises(InputError, match="more than 0 of both"):
        largest_micro_batch(StepCount(*[0] * 7), gigabytes, batch)


def test_unknown_names_are_refused(miniature):
    with pytest.raises(InputError, match="did you mean 'ViT-B-32'"):
        shapes_only("ViT-B32")
    with pytest.raises(InputError, match="unknown selection 'atention'"):
        count_step(miniature, selection="atention")
