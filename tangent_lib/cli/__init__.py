"""The command ``tangent``, and what the Snakemake workflow reads. No other part of the library imports this folder."""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Sequence
from io import TextIOWrapper

from tangent_lib.runtime.errors import InputError, NotFinite, in_full

DONE, FAULTS, REFUSED, INTERRUPTED, UNREAD = 0, 1, 2, 130, 141  # exit statuses; 141 is a shell's for a closed pipe


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Example:
        >>> main(["finetune", "--task", "Digits", "--training", "lineer"])
        2
    """
    from cyclopts import CycloptsError

    from tangent_lib.cli.app import app

    given = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):  # what a terminal or a file cannot show is written as its code
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        command, bound, _ = app.parse_args(given)
        if command == app.help_print and not {*app.help_flags} & {*given}:  # no command, and no help asked for
            app.help_print(given, console=app.error_console)
            return REFUSED
        status = command(*bound.args, **bound.kwargs) or DONE
        sys.stdout.flush()
        return status
    except (InputError, NotFinite) as error:
        complain(error)
    except CycloptsError as error:
        called = " ".join(("tangent", *(error.command_chain or ())))
        refused = error.__cause__  # over the value of an option
        complain(refused if isinstance(refused, InputError) else InputError(f"{error} See '{called} --help'."))
    except BrokenPipeError:
        output = select.poll()
        output.register(sys.stdout.fileno(), 0)
        if not output.poll(0):  # it was another pipe
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python still writes as it ends
        return UNREAD  # such as head, which has read enough
    except KeyboardInterrupt:
        print("interrupted; run the same command again: what is complete is kept", file=sys.stderr)
        return INTERRUPTED
    return REFUSED


def complain(error: InputError | NotFinite) -> None:
    """One line on what cannot be used, and the way out."""
    print(f"error: {in_full(error)}", file=sys.stderr)
