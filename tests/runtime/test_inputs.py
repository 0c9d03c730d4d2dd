"""Inputs: a tensor, or a dict of tensors with one first dimension, block by block and put together again."""

from __future__ import annotations

import inspect

import pytest
import torch

from tangent_lib.kernels import local_energy, localisation, ntk
from tangent_lib.runtime.errors import InputError
from tangent_lib.runtime.inputs import (
    blocks,
    count,
    device_of,
    in_float64,
    joined,
    on_each,
    same,
    tensors_of,
    where_float64_is,
)

TENSOR = torch.arange(10).view(5, 2)
DICT = {"ids": torch.arange(15).view(5, 3), "mask": torch.ones(5, 3, dtype=torch.bool)}
BOTH = pytest.mark.parametrize("x", [TENSOR, DICT], ids=["tensor", "dict"])


@BOTH
@pytest.mark.parametrize("size, lengths", [(1, [1] * 5), (2, [2, 2, 1]), (5, [5]), (9, [5])])
def test_blocks_are_all_points_in_order_and_joined_they_are_the_whole(x, size, lengths):
    parts = blocks(x, size)
    assert [count(part) for part in parts] == lengths and same(joined(parts), x)


@BOTH
def test_without_points_there_is_no_block(x):
    assert blocks(on_each(lambda part: part[:0], x), 2) == []


@BOTH
def test_all_tensors_are_found_and_changed(x):
    doubled = on_each(lambda part: 2 * part, x)
    assert all(torch.equal(a, 2 * b) for a, b in zip(tensors_of(doubled), tensors_of(x), strict=True))
    assert type(doubled) is type(x) and len(tensors_of(x)) == (2 if isinstance(x, dict) else 1)
    assert device_of(x) == torch.device("cpu")


def test_same_sees_values_names_and_kind():
    assert same(TENSOR, TENSOR.clone()) and same(DICT, {name: part.clone() for name, part in DICT.items()})
    assert not same(TENSOR, TENSOR + 1) and not same(TENSOR, TENSOR[:4])
    assert not same(DICT, DICT | {"ids": DICT["ids"] + 1}) and not same(DICT, {"ids": DICT["ids"]})
    assert not same(TENSOR, {"x": TENSOR}) and not same({"x": TENSOR}, TENSOR)


@pytest.mark.parametrize("x, sizes", [({"a": TENSOR, "b": TENSOR[:3]}, r"\[3, 5\]"), ({}, r"\[\]")])
def test_numbers_of_points_must_agree(x, sizes):
    with pytest.raises(ValueError, match=f"first dimensions of {sizes}: all must have one number of points"):
        count(x)


@pytest.mark.parametrize(
    "x, given", [((TENSOR, TENSOR), "tuple"), (None, "NoneType"), ({"ids": TENSOR, "mask": None}, "a dict with NoneType")]
)
def test_other_inputs_are_refused(x, given):
    with pytest.raises(InputError, match=rf"the inputs are {given}: give a tensor, or a dict .* of tensors alone"):
        inspect.unwrap(tensors_of)(x)  # without the checks of types that tests have


def test_an_empty_dict_is_on_no_device_and_a_number_is_no_point():
    with pytest.raises(InputError, match="the inputs are an empty dict"):
        device_of({})
    assert count(torch.tensor(1.0)) == 0


# -- a device without float64 --------------------------------------------------------------------------------------------
def test_what_a_device_has_no_float64_for_goes_to_the_processor(on_mps):
    x = on_mps(torch.ones(2, 2))
    with pytest.raises(TypeError, match="MPS"):
        x.double()
    for moved in (where_float64_is(x), in_float64(x), in_float64({"w": x})["w"], in_float64(x > 0)):
        assert type(moved) is torch.Tensor and moved.device.type == "cpu" and moved.eq(1).all()
    assert in_float64(x).dtype == torch.float64 and where_float64_is(x).dtype == torch.float32
    assert where_float64_is(TENSOR) is TENSOR


def test_kernels_and_their_energy_work_there_or_are_refused(on_mps):
    kernel = torch.tensor([[3.0, 1.0, 0.0], [0.0, 2.0, 0.0]])
    energy = local_energy(on_mps(kernel))
    assert torch.equal(energy, local_energy(kernel))
    assert localisation(on_mps(energy.float()), 1) == localisation(energy.float(), 1)
    with pytest.raises(InputError, match=r"summed in float64, which mps.* has not: give params and points on the cpu"):
        ntk(lambda params, x: x @ params["w"], {"w": on_mps(torch.ones(2))}, on_mps(torch.ones(3, 2)))
