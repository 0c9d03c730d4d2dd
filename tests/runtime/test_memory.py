"""Out of memory becomes advice; nothing else is touched."""

from __future__ import annotations

import pytest
import torch

from tangent_lib.runtime.errors import InputError
from tangent_lib.runtime.memory import enough_memory


def test_the_work_the_points_and_the_first_line_are_named():
    first = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB\nlong explanation")
    with pytest.raises(InputError) as error, enough_memory("evaluation", 125):
        raise first
    said = (
        "evaluation does not fit into the GPU's memory with 125 points at a time "
        "(CUDA out of memory. Tried to allocate 2 GiB)"
    )
    assert (str(error.value), error.value.setting, error.value.__cause__) == (said, "micro_batch", first)


@pytest.mark.parametrize("other", [RuntimeError("shapes differ"), MemoryError(), KeyboardInterrupt()], ids=repr)
def test_other_errors_stay_as_they_are(other):
    with pytest.raises(type(other)) as error, enough_memory("evaluation", 125):
        raise other
    assert error.value is other


def test_without_an_error_nothing_happens():
    with enough_memory("evaluation", 125):
        done = True
    assert done
