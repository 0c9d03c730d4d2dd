"""Each door of another package that is not public still opens. A failure says which one closed, and what it was for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import open_clip
import pytest
import torch
from torch import Tensor

from tangent_lib.runtime import private_doors as doors


@contextmanager
def open_door(name: str, package: str, door: str, purpose: str) -> Iterator[None]:
    """Fail in words, if what is inside does not work any more."""
    try:
        yield
    except Exception as error:
        pytest.fail(f"this release of {package} closed {door}, which {name} used {purpose}: {type(error).__name__}: {error}")


def test_whether_torch_func_differentiates():
    with open_door(
        "inside_func_transform",
        "torch",
        "torch._C._functorch.peek_interpreter_stack",
        "to keep oneDNN's products out of torch.func, which cannot look into them",
    ):
        seen = []
        note = lambda x: (seen.append(doors.inside_func_transform()), x.sum())[1]
        torch.func.grad(note)(torch.ones(2))
        torch.func.vmap(note)(torch.ones(2, 2))
        torch.func.jvp(note, (torch.ones(2),), (torch.ones(2),))
        assert seen == [True] * 3 and not doors.inside_func_transform()


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="PyTorch was built without oneDNN")
def test_products_by_onednn():
    a, b, bias = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0], [5.0, 6.0]]), torch.tensor([10.0, 20.0])
    purpose = "for products in fp32 that leave no half of the processor idle"
    with open_door("onednn_product", "torch", "torch.ops.mkldnn._linear_pointwise", purpose):
        assert doors.onednn_product(a, b, bias).tolist() == [[21, 37]]
        assert doors.onednn_product(a, b, None).tolist() == [[11, 17]]
    with open_door("onednn_add_product", "torch", "torch.ops.mkldnn._linear_pointwise.binary", purpose):
        assert doors.onednn_add_product(a, torch.tensor([[100.0, 200.0]]), b).tolist() == [[111, 217]]


def test_the_backward_pass_of_softmax():
    with open_door(
        "softmax_backward",
        "torch",
        "torch.ops.aten._softmax_backward_data",
        "to move tangents through the attention weights in one kernel",
    ):
        x, move = torch.tensor([[0.5, 1.0, -1.0]]), torch.tensor([[1.0, 0.0, 2.0]])
        expected = torch.func.jvp(lambda x: x.softmax(-1), (x,), (move,))[1]
        torch.testing.assert_close(doors.softmax_backward(move, x.softmax(-1)), expected)


def test_tensors_without_content_of_their_own():
    class Empty(Tensor):
        @classmethod
        def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
            raise AssertionError(f"{func} looked for content")

    with open_door(
        "wrapper", "torch", "Tensor._make_wrapper_subclass", "for tensors that carry tangents, or note how weights are used"
    ):
        made = doors.wrapper(Empty, torch.ones(2, 3).double())
        assert type(made) is Empty and made.shape == (2, 3) and made.dtype == torch.float64


def test_numbers_of_storages():
    with open_door(
        "storage_number",
        "torch",
        "UntypedStorage._cdata",
        "to count the bytes that are kept for the backward pass once, also where tensors have no content",
    ):
        x = torch.ones(4)
        assert doors.storage_number(x) == doors.storage_number(x[2:]) != doors.storage_number(torch.ones(4))
        with doors.shapes_without_content():
            y = torch.empty(4)
            assert doors.storage_number(y) == doors.storage_number(y[2:]) != doors.storage_number(torch.empty(4))


def test_numbers_of_versions():
    with open_door(
        "version_number",
        "torch",
        "Tensor._version",
        "to notice what is overwritten before the kernel has used it",
    ):
        x = torch.ones(2)
        before = doors.version_number(x)
        assert doors.version_number(x) == before
        x.add_(1)
        assert doors.version_number(x) == before + 1


def test_shapes_without_numbers():
    with open_door(
        "shapes_without_content",
        "torch",
        "torch._subclasses.fake_tensor.FakeTensorMode",
        "to count the operations of models that no machine here could hold",
    ):
        with doors.shapes_without_content():
            product = torch.empty(2**20, 2**20) @ torch.empty(2**20, 3)
        assert product.shape == (2**20, 3)


def test_checkpoints_switched_off():
    purpose = "to compute nothing anew in the backward pass, when a module has other weights again"
    with open_door("without_checkpoints", "torch", "torch.utils.checkpoint._checkpoint_hook", purpose):
        calls, x = [], torch.ones(2, requires_grad=True)
        note = lambda x: (calls.append(1), x.sin().sin())[1]
        with doors.without_checkpoints():
            kept = torch.utils.checkpoint.checkpoint(note, x, use_reentrant=False).sum()
        kept.backward()
        assert len(calls) == 1
        torch.utils.checkpoint.checkpoint(note, x, use_reentrant=False).sum().backward()
        assert len(calls) == 3


def test_trees():
    purpose = "to find the tensors in the arguments of an operation, in the form that torch.func has them"
    for name in ("tree_flatten", "tree_leaves", "tree_unflatten"):
        with open_door(name, "torch", f"torch.utils._pytree.{name}", purpose):
            tree = ([1, (2,)], {"a": 3})
            leaves, form = doors.tree_flatten(tree)
            assert leaves == doors.tree_leaves(tree) == [1, 2, 3]
            assert doors.tree_unflatten([each + 1 for each in leaves], form) == ([2, (3,)], {"a": 4})


def test_the_state_of_accelerate():
    with open_door(
        "accelerate_started",
        "accelerate",
        "PartialState._shared_state",
        "to ask whether processes were started, which asking in a public way would do",
    ):
        from accelerate import PartialState

        assert doors.accelerate_started() == bool(PartialState._shared_state)
        PartialState(cpu=True)
        assert doors.accelerate_started()


def test_tags_of_weights():
    with open_door(
        "add_pretrained_tag",
        "open_clip",
        "open_clip.pretrained._PRETRAINED",
        "to make the weights of the miniatures known, as their configs are",
    ):
        doors.add_pretrained_tag("Own-door", "opened", {"file": "weights.safetensors", "mean": (0.5, 0.5, 0.5)})
        assert open_clip.list_pretrained_tags_by_model("Own-door") == ["opened"]
        assert open_clip.pretrained.get_pretrained_cfg("Own-door", "opened")["file"] == "weights.safetensors"
        del open_clip.pretrained._PRETRAINED["Own-door"]


def test_every_door_has_a_test():
    source = Path(__file__).read_text()
    assert [name for name in doors.__all__ if f"doors.{name}" not in source] == []


def test_a_closed_door_is_said_in_words(monkeypatch):
    monkeypatch.delattr(torch._C._functorch, "peek_interpreter_stack")
    with pytest.raises(pytest.fail.Exception) as said:
        test_whether_torch_func_differentiates()
    for part in ("torch", "peek_interpreter_stack", "inside_func_transform", "oneDNN's products"):
        assert part in str(said.value)
