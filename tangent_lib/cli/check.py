"""Check parameters before any work: ``tangent check -p NAME VALUE ...``."""

from __future__ import annotations

from collections.abc import Mapping

from tangent_lib.cli.options import Given, given_parameters
from tangent_lib.modes import MINIATURE, MINIATURES, PARAMETERS


def check_values(parameters: Mapping[str, str]) -> None:
    """Refuse values that cannot be used. Real data and a GPU may not be there yet, so neither is asked for.

    Example:
        >>> check_values({"steps": "many"})
        Traceback (most recent call last):
        tangent_lib.runtime.errors.InputError: steps 'many' is not a whole number: give one from 1 up, or auto
    """
    from tangent_lib.models.clip import check_model
    from tangent_lib.parameters import check_parameters

    small = parameters.get("model", PARAMETERS["model"]) in MINIATURES
    there = {"tasks": MINIATURE.tasks, "control": MINIATURE.control, "pairs": "auto", "device": "auto"}
    checked = check_parameters(**{**parameters, **({} if small else there)})
    check_model(checked.model, checked.pretrained)


def check(*, parameters: Given = ()) -> None:
    """Check parameters, and that the model can be built and linearised, before any work."""
    check_values(given_parameters(parameters))
