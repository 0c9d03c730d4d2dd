"""The code of a displayed equation, printed from its source. Imported by notebooks alone."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable

from IPython.display import Markdown


def show_source(*functions: Callable) -> Markdown:
    """Functions as they stand in the library, without their docstrings, and the module of each.

    Example:
        >>> from tangent_lib.task_vectors import negate
        >>> print(show_source(negate).data)
        ```python
        # tangent_lib.task_vectors
        def negate(tau: Params) -> Params:
            return scale(tau, -1.0)
        ```
    """
    blocks = [f"# {function.__module__}\n{_without_docstring(function)}" for function in functions]
    return Markdown("```python\n" + "\n\n".join(blocks) + "\n```")


def _without_docstring(function: Callable) -> str:
    lines = inspect.getsource(inspect.unwrap(function)).rstrip().split("\n")
    first = ast.parse("\n".join(lines)).body[0].body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
        del lines[first.lineno - 1 : first.end_lineno]
    return "\n".join(lines)
