"""The commands of ``tangent``, put together. What takes long to import is imported inside the commands, not here."""

from __future__ import annotations

from cyclopts import App, Parameter

from tangent_lib.cli.check import check
from tangent_lib.cli.checkpoints import app as checkpoints
from tangent_lib.cli.data import app as data
from tangent_lib.cli.finetune import dry_run, finetune
from tangent_lib.cli.gpus import gpus
from tangent_lib.cli.pretrain import pretrain
from tangent_lib.cli.record import record

app = App(
    name="tangent",
    help="Task arithmetic in the tangent space: datasets, fine-tuning, results, and the pages that show them.",
    help_format="plaintext",
    version_flags=[],  # it would be looked for in the command that ``tangent gpus`` starts, too
    default_parameter=Parameter(negative=()),
    print_error=False,  # ``cli.main`` does
    exit_on_error=False,
)
for command in (data, checkpoints, finetune, dry_run, record, pretrain, check, gpus):
    app.command(command)
app.register_install_completion_command(help="Install completion for bash, zsh or fish, and exit.", version_flags=[])
