"""Several processes that train one model, one a GPU: started by ``accelerate launch``, one alone otherwise."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType, InitProcessGroupKwargs, broadcast_object_list
from torch import Tensor

from tangent_lib.runtime.errors import InputError
from tangent_lib.runtime.private_doors import accelerate_started
from tangent_lib.runtime.store import Entry, Store

PATIENCE = timedelta(days=7)  # for as long others may wait while the first waits for what another job computes
TOGETHER = (DistributedType.NO, DistributedType.MULTI_CPU, DistributedType.MULTI_GPU)


def accelerator(device: torch.device) -> Accelerator:
    """The processes that train together, and what this one's part is.

    Precision is the protocol's alone: what accelerate's own configuration says of it would change results under one key.

    Raises:
        InputError: if accelerate is configured to divide the model, and not the images, among processes.

    Example:
        >>> accelerator(torch.device("cpu")).num_processes
        1
    """
    found = Accelerator(
        cpu=device.type == "cpu" and not accelerate_started(),
        mixed_precision="no",
        dynamo_backend="no",
        kwargs_handlers=[InitProcessGroupKwargs(timeout=PATIENCE)],
    )
    if found.distributed_type not in TOGETHER:
        raise InputError(
            f"accelerate's configuration asks for {found.distributed_type.value}: launch with --multi_gpu, or on processors "
            "with torchrun"
        )
    return found


def own_device(device: str) -> str:
    """The device of this process: of several GPUs, that with the process's own number.

    Raises:
        InputError: if there are more processes on this machine than GPUs.

    Example:
        >>> own_device("cpu")
        'cpu'
    """
    number, processes = (int(os.environ.get(name, default)) for name, default in (("LOCAL_RANK", 0), ("LOCAL_WORLD_SIZE", 1)))
    if device != "cuda" or processes == 1:
        return device
    if processes > torch.cuda.device_count():
        raise InputError(
            f"{processes} processes for {torch.cuda.device_count()} GPUs: one process a GPU. Lower --num_processes of "
            "accelerate launch, or set CUDA_VISIBLE_DEVICES to as many GPUs"
        )
    return f"cuda:{number}"


def fetch_together(
    store: Store,
    kind: str,
    config: dict,
    compute: Callable[[], tuple[dict[str, Tensor], dict]],
    device: torch.device,
) -> Entry:
    """``store.fetch`` where all processes take part in the computation and the first of them reads and writes.

    Example:
        >>> import tempfile
        >>> fetch_together(Store(tempfile.mkdtemp()), "sum", {"a": 1}, lambda: ({}, {"sum": 1}), torch.device("cpu")).values
        {'sum': 1}
    """
    processes = accelerator(device)
    if processes.num_processes == 1:
        return store.fetch(kind, config, compute)
    needed = [False]

    def together() -> tuple[dict[str, Tensor], dict]:
        needed[0] = True
        broadcast_object_list(needed)
        return compute()

    if processes.is_main_process:
        store.fetch(kind, config, together)
        if not needed[0]:
            broadcast_object_list(needed)
    else:
        broadcast_object_list(needed)
        if needed[0]:
            compute()
    processes.wait_for_everyone()
    found = store.find(kind, config)
    if found is None:
        raise InputError(f"process {processes.process_index} does not see the store '{store.root}': it must be shared by all")
    return found
