"""A page prints functions as they stand in the library, without their docstrings."""

import inspect

from tangent_lib.linearization import listing_1
from tangent_lib.report.sources import show_source
from tangent_lib.task_vectors import apply


def test_every_function_is_printed_with_its_module_and_without_its_docstring():
    text = show_source(listing_1, apply).data
    assert text.startswith("```python\n# tangent_lib.linearization\ndef listing_1(") and text.endswith("\n```")
    assert "\n\n# tangent_lib.task_vectors\ndef apply(" in text and '"""' not in text
    code = [line for line in inspect.getsource(inspect.unwrap(apply)).splitlines() if "return" in line][-1]
    assert code in text.splitlines()


def double(x):
    return 2 * x


def test_a_function_without_a_docstring_is_printed_whole():
    assert show_source(double).data == f"```python\n# {__name__}\ndef double(x):\n    return 2 * x\n```"
