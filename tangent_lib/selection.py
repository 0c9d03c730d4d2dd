"""Which parameters are fine-tuned (attention-only paper, Sections 3 and 3.4, Table 5).

A selection is a rule over parameter names of open_clip's vision transformers; what it does not name stays as it was, bit
for bit.
"""

from __future__ import annotations

import re

import torch  # noqa: F401, used by the examples

from tangent_lib.errors import InputError, unknown
from tangent_lib.task_vectors import Params

ATTENTION_WEIGHTS = r"\.attn\.(in_proj_weight|out_proj\.weight)$"
ATTENTION_BIASES = r"\.attn\.(in_proj_bias|out_proj\.bias)$"
MLP_WEIGHTS = r"\.mlp\.\w+\.weight$"
MLP_BIASES = r"\.mlp\.\w+\.bias$"

SELECTIONS = {
    "all": ("",),
    "attention weights": (ATTENTION_WEIGHTS,),  # W_q, W_k, W_v (one tensor, in_proj_weight) and W_o: the paper's method
    "attention": (ATTENTION_WEIGHTS, ATTENTION_BIASES),
    "attention and MLP weights": (ATTENTION_WEIGHTS, MLP_WEIGHTS),
    "attention and MLP": (ATTENTION_WEIGHTS, ATTENTION_BIASES, MLP_WEIGHTS, MLP_BIASES),
}


def select(theta_0: Params, selection: str) -> tuple[str, ...]:
    """The names of the parameters that a selection trains, in the order of theta_0.

    Args:
        theta_0: the weights of an image tower.
        selection: a key of ``SELECTIONS``.

    Raises:
        InputError: for an unknown selection, or one that trains nothing in this model.

    Example:
        >>> theta_0 = {"blocks.0.attn.in_proj_weight": torch.zeros(3), "blocks.0.mlp.c_fc.weight": torch.zeros(2)}
        >>> select(theta_0, "attention weights")
        ('blocks.0.attn.in_proj_weight',)
    """
    if selection not in SELECTIONS:
        raise unknown("selection", selection, SELECTIONS)
    rules = SELECTIONS[selection]
    chosen = tuple(name for name in theta_0 if any(re.search(rule, name) for rule in rules))
    idle = [rule for rule in rules if not any(re.search(rule, name) for name in theta_0)]
    if idle:
        share = "only a part" if chosen else "nothing"
        raise InputError(
            f"the selection '{selection}' trains {share} in this model: none of its {len(theta_0)} parameters, such as "
            f"'{next(iter(theta_0), '')}', matches {idle[0]}. Take a vision transformer, such as ViT-B-16, or the "
            "selection 'all'."
        )
    return chosen
