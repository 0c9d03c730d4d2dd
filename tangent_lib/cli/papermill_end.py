"""How papermill ends where a page refuses its parameters: in the refusal, not in the tracebacks of two programs.

papermill imports what packages register as its engines, and this is registered as one in ``pyproject.toml``. It runs pages as
papermill's own engine does; it is there so that this file is imported.
"""

from __future__ import annotations

import sys
from types import TracebackType

from papermill.engines import NBClientEngine


class TangentEngine(NBClientEngine):
    """papermill's own engine, by another name."""


def end_in_one_line(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """``sys.excepthook``: what a page shows in one line, such as an ``InputError``, is the last line; all else as before."""
    shown = getattr(error, "traceback", ()) if kind.__name__ == "PapermillExecutionError" else ()
    if len(shown) == 1 and shown[0].startswith(f"{error.ename}: "):
        print(f"\nerror: {shown[0].removeprefix(f'{error.ename}: ')}", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


sys.excepthook = end_in_one_line
