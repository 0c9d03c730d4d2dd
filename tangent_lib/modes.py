"""Modes: which model is fine-tuned, which of its weights, and how its task vectors are used.

The tangent-space paper has three (Sections 3 and 5); the attention-only paper adds a selection of the weights (Section 3).
"""

from __future__ import annotations

from dataclasses import dataclass

from tangent_lib.errors import unknown


@dataclass(frozen=True)
class Mode:
    """How task vectors are made (f or f_lin, which weights) and how they are used (in f or in f_lin)."""

    name: str
    linear_training: bool
    linear_evaluation: bool
    symbol: str
    selection: str = "all"


def _by_name(*modes: Mode) -> dict[str, Mode]:
    return {mode.name: mode for mode in modes}


MODES = _by_name(
    Mode("non-linear", False, False, "f(.; theta_0 + tau)"),
    Mode("post-hoc", False, True, "f_lin(.; theta_0 + tau)"),
    Mode("linear", True, True, "f_lin(.; theta_0 + tau_lin)"),
)
ATTENTION_MODES = _by_name(
    Mode("attention-only", False, False, "f(.; theta_0 + tau_attn)", "attention weights"),
    Mode("attention post-hoc", False, True, "f_lin(.; theta_0 + tau_attn)", "attention weights"),
)
ABLATION_MODES = _by_name(
    ATTENTION_MODES["attention-only"],
    Mode("attention + biases", False, False, "f(.; theta_0 + tau_attn)", "attention"),
    Mode("attention + MLP", False, False, "f(.; theta_0 + tau_attn)", "attention and MLP weights"),
    Mode("attention + MLP + biases", False, False, "f(.; theta_0 + tau_attn)", "attention and MLP"),
)
ALL_MODES = MODES | ATTENTION_MODES | ABLATION_MODES


def mode_named(name: str) -> Mode:
    """A mode by name.

    Raises:
        InputError: for an unknown mode.

    Example:
        >>> mode_named("post-hoc").linear_training, mode_named("post-hoc").linear_evaluation
        (False, True)
    """
    if name not in ALL_MODES:
        raise unknown("mode", name, ALL_MODES)
    return ALL_MODES[name]
