"""Check parameters before any work: ``python -m tangent_lib.cli -p NAME VALUE ...``."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping

from tangent_lib.cli.workflow_config import MINIATURES, defaults, read_arguments
from tangent_lib.parameters import check_parameters
from tangent_lib.runtime.errors import InputError


def check_values(parameters: Mapping[str, str]) -> None:
    """Refuse values that cannot be used. Real data and a GPU may not be there yet, so neither is asked for.

    Raises:
        InputError: as ``check_parameters`` does.

    Example:
        >>> check_values({"steps": "many"})
        Traceback (most recent call last):
        tangent_lib.runtime.errors.InputError: steps 'many' is not a whole number: give one from 1 up, or auto
    """
    small = parameters.get("model", defaults()["model"]) in MINIATURES
    drawn = {} if small else {"tasks": "Digits,Signs", "control": "Objects", "pairs": "auto", "device": "auto"}
    check_parameters(**{**parameters, **drawn})


if __name__ == "__main__":
    try:
        check_values(read_arguments(shlex.join(sys.argv[1:])))
    except InputError as error:
        sys.exit(f"error: {error}")
