"""Operations and bytes of one training step, counted from shapes alone: no GPU, no weights, no arithmetic.

Tensors here have a shape and no content ("fake tensors" of PyTorch). A step is taken with them as it would be with real
ones, forward and backward, while one counter adds up the operations and another the bytes kept for the backward pass.
Tangent-space paper, Appendix B (computational complexity).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import open_clip
import torch
from torch import Tensor
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode

from tangent_lib.evaluation import classify
from tangent_lib.linearization import linearize
from tangent_lib.models.clip import check_model
from tangent_lib.modes import Precision, select
from tangent_lib.runtime.errors import InputError
from tangent_lib.runtime.private_doors import shapes_without_content, storage_number
from tangent_lib.task_vectors import Function, Params

CLASSES = 100  # rows of the head; the count hardly depends on them
BATCHES = (2, 4)  # at which bytes are counted; they grow by the same number with each image
NUMBER = 4  # bytes of a number in fp32, in which weights, gradients and moments are kept
FREE = 0.1  # of a GPU's memory, left for what is not counted: CUDA's own, work space, gaps


@dataclass(frozen=True)
class ShapesOnly:
    """An image tower of shapes without content.

    Attributes:
        f: the image tower, ``f(params, x)``.
        theta_0: its parameters.
        size: images are ``size`` x ``size`` pixels.
        dim: of its features.
        numbers: parameters of the whole model, text tower included, which stays on the device beside it.
        shapes: the mode in which tensors are made without content.
    """

    name: str
    f: Function
    theta_0: Params
    size: int
    dim: int
    numbers: int
    shapes: AbstractContextManager


@dataclass(frozen=True)
class StepCount:
    """One way to fine-tune one model, counted.

    Operations are the multiplications and additions of matrix products, convolutions and attention. What passes over each
    activation once (norms, GELU, sums) is not among them, nor is the optimiser.

    Attributes:
        operations: of a training step, an image.
        forward_operations: of the forward pass alone, an image.
        held_bytes: weights, a gradient and AdamW's two moments for each trained number; whatever the micro-batch.
        constant_bytes: kept for the backward pass, whatever the micro-batch.
        image_bytes: kept for the backward pass, for each image of the micro-batch.
        parameters: numbers of the image tower that are held; f_lin holds theta beside theta_0.
        trainable: numbers trained.
    """

    operations: int
    forward_operations: int
    held_bytes: int
    constant_bytes: int
    image_bytes: int
    parameters: int
    trainable: int

    def saved_bytes(self, images: int) -> int:
        """Kept for the backward pass of so many images at a time."""
        return self.constant_bytes + images * self.image_bytes

    def memory_bytes(self, images: int) -> int:
        """All that is counted together, with so many images at a time: less than a measured peak."""
        return self.held_bytes + self.saved_bytes(images)


def shapes_only(name: str, pretrained: str = "auto") -> ShapesOnly:
    """The image tower of an open_clip model, without weights, with the activation function of the tag's weights.

    Raises:
        InputError: for an unknown model or tag.

    Example:
        >>> tower = shapes_only("ViT-B-32")
        >>> tower.size, tower.dim, sum(value.numel() for value in tower.theta_0.values())
        (224, 512, 87849216)
    """
    tag = check_model(name, pretrained)
    config = open_clip.get_model_config(name)
    known = tag in open_clip.list_pretrained_tags_by_model(name)
    quick_gelu = known and open_clip.get_pretrained_cfg(name, tag).get("quick_gelu", False)
    with torch.device("meta"):
        model = open_clip.create_model(name, load_weights=False, force_quick_gelu=quick_gelu, device="meta")
    visual = model.visual.eval()
    with shapes_without_content() as shapes:
        empty = lambda tensors: {key: torch.empty(value.shape, dtype=value.dtype) for key, value in tensors}
        theta_0, buffers = empty(visual.named_parameters()), empty(visual.named_buffers())
    size = config["vision_cfg"].get("image_size", 224)
    return ShapesOnly(
        name,
        lambda params, x: functional_call(visual, {**params, **buffers}, (x,)),
        theta_0,
        size,
        config["embed_dim"],
        sum(value.numel() for value in model.parameters()),
        shapes,
    )


@contextmanager
def kept_for_backward(weights: Iterable[Tensor]) -> Iterator[dict[int, int]]:
    """Inside, the bytes of every tensor that is kept for a backward pass are noted, once for each storage; weights are not.

    Works for real tensors and for those without content, which have no address that could tell them apart.

    Example:
        >>> weight, x = torch.ones(3, requires_grad=True), torch.ones(2, 3)
        >>> with kept_for_backward([weight]) as kept:
        ...     y = (x * weight).exp()
        >>> sum(kept.values())  # x and the result of exp, six numbers of four bytes each
        48
    """
    known = {storage_number(value) for value in weights}
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        number = storage_number(tensor)
        if number not in known:
            kept[number] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        yield kept


def count_step(tower: ShapesOnly, linear: bool = False, selection: str = "all", precision: Precision = "fp32") -> StepCount:
    """Count a training step of f, or of f_lin, with all weights trained or a selection of them.

    f_lin is counted as it is trained, by ``linearize``. ``bf16`` follows the rules of autocast on a processor;
    CUDA's keep the inputs of layer norms in fp32, a little more. Operations of grouped convolutions (ConvNeXt) are
    overstated by PyTorch's counter.

    Args:
        tower: as ``shapes_only`` gives it.
        linear: of f_lin (Section 5) instead of f.
        selection: a key of ``modes.SELECTIONS``.
        precision: ``fp32`` or ``bf16``.

    Raises:
        InputError: for an unknown selection, or one that trains nothing.

    Example:
        >>> tower = shapes_only("ViT-Mini-8")
        >>> f, f_lin = count_step(tower), count_step(tower, linear=True)
        >>> f_lin.parameters == 2 * f.parameters, round(f_lin.operations / f.operations, 2)
        (True, 1.66)
    """
    trained = select(tower.theta_0, selection)
    with tower.shapes:
        with FlopCounterMode(display=False) as counter:
            loss, few = _forward(tower, trained, linear, BATCHES[0], precision)
            forward = counter.get_total_flops()
            loss.backward()
        _, more = _forward(tower, trained, linear, BATCHES[1], precision)
    image_bytes = (more - few) // (BATCHES[1] - BATCHES[0])
    every = sum(value.numel() for value in tower.theta_0.values())
    trainable = sum(tower.theta_0[name].numel() for name in trained)
    # the model as it was loaded, theta_0, for each trained number theta, its gradient and two moments
    held = tower.numbers + every + 4 * trainable
    return StepCount(
        operations=counter.get_total_flops() // BATCHES[0],
        forward_operations=forward // BATCHES[0],
        held_bytes=NUMBER * held,
        constant_bytes=few - BATCHES[0] * image_bytes,
        image_bytes=image_bytes,
        parameters=(1 + linear) * every,
        trainable=trainable,
    )


def _forward(
    tower: ShapesOnly, trained: Iterable[str], linear: bool, images: int, precision: Precision
) -> tuple[Tensor, int]:
    """The loss of so many images at once, without content, and the bytes kept for its backward pass."""
    theta_0 = tower.theta_0
    moving = {name: torch.empty_like(theta_0[name], requires_grad=True) for name in trained}
    x, y = torch.empty(images, 3, tower.size, tower.size), torch.zeros(images, dtype=torch.long)
    head = torch.empty(CLASSES, tower.dim)
    model = linearize(tower.f, theta_0) if linear else tower.f
    with kept_for_backward((*moving.values(), *theta_0.values())) as kept:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            features = model(theta_0 | moving, x)
        loss = torch.nn.functional.cross_entropy(classify(features, head), y)
    return loss, sum(kept.values())


def largest_micro_batch(count: StepCount, gigabytes: float | int, batch_size: int = 128) -> int:
    """How many images at a time fit into a GPU: a power of two, at most the batch; 0 where not even one does.

    Args:
        count: of the way to fine-tune.
        gigabytes: of the GPU's memory, of which a tenth is left free.

    Raises:
        InputError: for no memory or no batch.

    Example:
        >>> count = StepCount(0, 0, held_bytes=10**9, constant_bytes=0, image_bytes=10**8, parameters=0, trainable=0)
        >>> [largest_micro_batch(count, gigabytes) for gigabytes in (1, 4, 80)]
        [0, 16, 128]
    """
    if gigabytes <= 0 or batch_size < 1:
        raise InputError(f"{gigabytes} GB for a batch of {batch_size}: give more than 0 of both")
    sizes = [2**power for power in range(batch_size.bit_length()) if 2**power <= batch_size]
    limit = (1 - FREE) * gigabytes * 1e9
    return max((size for size in sizes if count.memory_bytes(size) <= limit), default=0)
