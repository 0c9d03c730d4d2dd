"""Checksums of what a result depends on: named tensors, and the code that computes it.

The code of a kind of result is that of the modules in ``COMPUTED_BY`` and of all that they import, without comments,
docstrings and messages of errors. Sources are read once, with the library: what is edited later is not what runs.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

EXPERIMENT = ("experiment",)  # asks for it, and imports what computes it, fine-tuning included
COMPUTED_BY = {  # kinds of entries of the store
    "images": ("data.tasks", "miniature.tasks"),
    "pretrain": ("miniature.pretrain",),
    "head": ("models.clip",),
    "finetuned": ("experiments.materials",),
    "zero_shot": EXPERIMENT,
    "single_task": EXPERIMENT,
    "addition": EXPERIMENT,
    "negation": EXPERIMENT,
    "xi": EXPERIMENT,
    "cosines": EXPERIMENT,
    "local_energy": EXPERIMENT,
    "kernel_on_supports": EXPERIMENT,
}
NOT_FOLLOWED = {  # what they give is known by its content, which is part of every configuration,
    *("checkpoints.imported", "data.manifests", "data.packed", "data.prepare", "miniature", "miniature.tasks"),
    *("models.weights", "parameters"),  # or changes no number:
    *("runtime.digests", "runtime.disk", "runtime.errors", "runtime.memory", "runtime.provenance", "runtime.snapshots"),
    *("runtime.store", "runtime.words"),
}
PACKAGE = Path(__file__).parents[1]


def _sources() -> dict[str, bytes]:
    paths = {path: path.relative_to(PACKAGE).with_suffix("").parts for path in PACKAGE.rglob("*.py")}
    return {".".join(parts).removesuffix(".__init__"): path.read_bytes() for path, parts in paths.items()}


SOURCES = _sources()


def fingerprint(tensors: dict[str, Tensor]) -> str:
    """The first 16 hex digits of the SHA-256 of named tensors.

    Example:
        >>> import torch
        >>> fingerprint({"w": torch.zeros(2)}) == fingerprint({"w": torch.ones(2)})
        False
    """
    from torch import uint8

    digest = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name].cpu().contiguous()
        digest.update(f"{name} {tuple(value.shape)} {value.dtype} ".encode())
        digest.update(value.flatten().view(uint8).numpy())
    return digest.hexdigest()[:16]


@cache
def code_of(*kinds: str) -> str:
    """The first 16 hex digits of the SHA-256 of the code that computes these kinds of results; empty for foreign kinds.

    Example:
        >>> code_of("finetuned") == code_of("head"), code_of("xi") == code_of("negation"), code_of("sum")
        (False, True, '')
    """
    names = sorted(modules_of(root for kind in kinds for root in COMPUTED_BY.get(kind, ())))
    whole = "".join(f"{name} {_read(SOURCES[name])[1]}\n" for name in names)
    return hashlib.sha256(whole.encode()).hexdigest()[:16] if names else ""


def modules_of(roots: Iterable[str]) -> set[str]:
    """Modules and all that they import, as far as it can change a result.

    Example:
        >>> sorted(modules_of(["evaluation"]))
        ['_fast', '_fast.dual', ..., 'data.batches', 'evaluation', 'linearization', ...]
    """
    found, new = set(), set(roots)
    while new:
        found |= new
        new = {name for module in new for name in _read(SOURCES[module])[0]} - found - NOT_FOLLOWED
    return found


@cache
def _read(source: bytes) -> tuple[frozenset[str], str]:
    """What a module imports from this library, and its code without what it says."""
    tree = ast.parse(source)
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):  # a name of a module, or a module
            names |= {f"{node.module}", *(f"{node.module}.{each.name}" for each in node.names)}
        elif isinstance(node, ast.Import):
            names |= {each.name for each in node.names}
    imported = {name.removeprefix("tangent_lib.") for name in names if name.startswith("tangent_lib.")}
    return frozenset(imported & SOURCES.keys()), ast.dump(_Bare().visit(tree))


class _Bare(ast.NodeTransformer):
    """Code without docstrings and without what errors say; the parser leaves out comments and blank lines."""

    def visit_Expr(self, node: ast.Expr) -> ast.Expr | None:
        return None if isinstance(node.value, ast.Constant) else node

    def visit_Raise(self, node: ast.Raise) -> ast.Raise:
        return ast.Raise(node.exc.func if isinstance(node.exc, ast.Call) else node.exc, None)
