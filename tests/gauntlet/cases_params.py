"""Parameters and paths as people write them, in notebooks, on command lines and in the workflow's configuration."""

from __future__ import annotations

import contextlib
import io
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from cases import Case
from PIL import Image

from tangent_lib.cli import main
from tangent_lib.cli.workflow_config import read_config
from tangent_lib.cli.workflow_parts import read_parts
from tangent_lib.data.tasks import random_points
from tangent_lib.parameters import check_parameters, read_parameters
from tangent_lib.runtime.disk import ROOT, given_path
from tangent_lib.runtime.errors import InputError

NUMBERS = "numbers among the parameters"
PATHS = "paths in parameters and on command lines"
EARLY = "refusals of parameters, in one line"
POINTS = "as many random points as there are"
OWN = "tasks of one's own on the page of the miniature"


def given(name: str, **values: object) -> Callable[[Path], object]:
    """The parameter of this name that comes of these values."""
    return lambda folder: getattr(check_parameters(**values), name)


@contextlib.contextmanager
def environment(**values: str) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def path(value: object, **variables: str) -> Callable[[Path], str]:
    def run(folder: Path) -> str:
        with environment(HOME="/home/me", SCRATCH="/scratch/me", **variables):
            return str(given_path("store", value))

    return run


def store_with(value: str) -> str:
    with environment(HOME="/home/me", TANGENT_STORE=value):
        return str(check_parameters().store)


def command(*arguments: str) -> Callable[[Path], str]:
    """What a command prints; a refusal of its line is raised again as one."""

    def run(folder: Path) -> str:
        out, err, here = io.StringIO(), io.StringIO(), Path.cwd()
        os.chdir(folder)  # a path must not mean another place there
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                status = main([each.format(folder=folder) for each in arguments])
        finally:
            os.chdir(here)
        if status:
            raise InputError(err.getvalue().removeprefix("error: ").removesuffix("\n"))
        return out.getvalue()

    return run


def relative_data_root(folder: Path) -> bool:
    """The same relative path on a command line, in a parameter and in the workflow's configuration."""
    place = os.path.relpath(folder, ROOT)
    (folder / "manifests").mkdir()
    (folder / "manifests" / "Mine.yaml").write_text(
        "{name: Mine, kind: images, description: d, source: s, licence: l, folders: [mine], templates: ['a {}.']}"
    )
    listed = "Mine" in command("data", "list", "Mine", "--data-root", place)(folder)
    part = read_parts(read_config({"common": f"-p data_root '{place}'"}))["book", "ViT-Mini-8"]
    return listed and part.data_root.samefile(folder) and check_parameters(data_root=place).data_root.samefile(folder)


def jobs(pages: str) -> Callable[[Path], object]:
    return lambda folder: read_parts(read_config({"pages": pages}))["book", "ViT-Mini-8"].seeds


def notebook(injected: str, **values: object) -> Callable[[Path], object]:
    return lambda folder: read_parameters({"In": ["", f"# Parameters\n{injected}\n"], **values}).tasks


def halves(folder: Path) -> tuple[int, int]:
    """How many of four classes stand in each half of a set that is sorted by class, all of it drawn."""
    data = torch.utils.data.TensorDataset(torch.zeros(40), torch.arange(4).repeat_interleave(10))
    labels = [int(y) for _, y in random_points(data, 40, 1)]
    return len(set(labels[:20])), len(set(labels[20:]))


def page_01(control: str) -> Callable[[Path], bool]:
    """The page run on a dataset of one's own beside one of the miniature's: whether the latter is as on the card."""

    def run(folder: Path) -> bool:
        rng = np.random.default_rng(0)
        for split in ("train", "test"):
            for i, name in enumerate(["cat", "dog"] * 6):
                (folder / "mine" / split / name).mkdir(parents=True, exist_ok=True)
                pixels = rng.integers(0, 256, (40, 40, 3), np.uint8)
                Image.fromarray(pixels).save(folder / "mine" / split / name / f"{i}.png")
        (folder / "manifests").mkdir()
        (folder / "manifests" / "Mine.yaml").write_text(
            "{name: Mine, kind: images, description: d, source: s, licence: l, folders: [mine], templates: ['a {}.']}"
        )
        tasks = "Digits" if control == "Mine" else "Mine,Digits"
        names = {"tasks": tasks, "control": control, "store": str(folder / "store"), "data_root": str(folder)}
        cells = json.loads((ROOT / "notebooks" / "01_miniature.ipynb").read_text())["cells"]
        for cell in [each for each in cells if each["cell_type"] == "code"][1:]:
            with contextlib.redirect_stdout(io.StringIO()):
                exec("".join(cell["source"]), names)
        return names["checks"]["as on the card, within half a point"]

    return run


BIG = 2**64
CASES = [
    Case(NUMBERS, "the largest seed", given("seeds", seeds=str(BIG - 1)), right=(BIG - 1,)),
    Case(NUMBERS, "a seed beyond it", given("seeds", seeds=str(BIG)), refused=f"seeds {BIG} .* from 0 to {BIG - 1}$"),
    Case(NUMBERS, "a seed beyond it in the workflow", jobs(f"-p seeds {BIG}"), refused=f"seeds {BIG} .* from 0 to"),
    Case(NUMBERS, "steps beyond it", given("protocol", steps=10**400), refused="steps 1000.* from 1 to .*, or epochs"),
    Case(NUMBERS, "a seed of 0", given("seeds", seeds="0"), right=(0,)),
    Case(NUMBERS, "an automatic seed", given("seeds", seeds="auto"), refused="seeds 'auto' .* give one from 0 up$"),
    Case(NUMBERS, "a seed with a fraction", given("seeds", seeds=1e3), refused="seeds '1000.0' .* give one from 0 up$"),
    Case(NUMBERS, "one seed in two spellings", given("seeds", seeds="1,01"), refused="several different ones"),
    Case(NUMBERS, "the same in the workflow", jobs("-p seeds 1,01"), refused="several different ones"),
    Case(NUMBERS, "a learning rate of 0", given("protocol", learning_rate=0), refused="a finite number above 0, or auto"),
    Case(NUMBERS, "an infinite learning rate", given("protocol", learning_rate="inf"), refused="a finite number above 0"),
    Case(NUMBERS, "a learning rate in words", given("protocol", learning_rate="x"), refused="give one above 0, or auto"),
    Case(NUMBERS, "steps in words", given("protocol", steps="many"), refused="from 1 up, or auto, or epochs"),
    Case(NUMBERS, "no points", given("points", points=0), refused="points 0 .* from 1 up, or auto"),
    Case(NUMBERS, "true for a number", given("micro_batch", micro_batch=True), refused="micro_batch 'True' is not a whole"),
    Case(NUMBERS, "a number in a pair", given("pairs", pairs=[["Digits", 3]]), refused="unknown task in a pair '3'"),
    Case(NUMBERS, "a number for a pair", given("pairs", pairs=[5]), refused="pair '5': give two tasks"),
    Case(PATHS, "relative", path("runs/mine"), right=f"{ROOT}/runs/mine"),
    Case(PATHS, "absolute", path("/big/mine"), right="/big/mine"),
    Case(PATHS, "in the home", path("~/mine"), right="/home/me/mine"),
    Case(PATHS, "a variable", path("$SCRATCH/mine"), right="/scratch/me/mine"),
    Case(PATHS, "a variable in braces", path("/big/${WHO}/mine", WHO="me"), right="/big/me/mine"),
    Case(PATHS, "a variable that is not set", path("$NOT_SET/mine"), refused=r"variable \$NOT_SET is not set"),
    Case(PATHS, "a variable that is empty", path("$EMPTY/mine", EMPTY=""), refused=r"variable \$EMPTY is not set"),
    Case(PATHS, "nothing", path(""), refused="store '' is not a path"),
    Case(PATHS, "spaces", path("  "), refused="store '  ' is not a path"),
    Case(PATHS, "the repository", path("."), refused="is the repository itself"),
    Case(PATHS, "what holds the repository", path(".."), refused="is the repository itself, or holds it"),
    Case(PATHS, "an address", path("s3://bucket/runs"), refused="store 's3://bucket/runs' is an address"),
    Case(PATHS, "a variable with the home in it", path("$V/mine", V="~/x"), right="/home/me/x/mine"),
    Case(PATHS, "a brace that is not closed", path("${SCRATCH/mine"), refused="close the brace"),
    Case(PATHS, "a name of 300 letters", path("a" * 300), refused="is not a path"),
    Case(PATHS, "weights of 300 letters", given("pretrained", pretrained="x" * 300), refused="unknown pretrained 'xxx"),
    Case(
        PATHS,
        "--receipt below a device, before training",
        command("finetune", "--task", "Digits", "--training", "linear", "--receipt", "/dev/null/x"),
        refused=r"'/dev/null/x' cannot be written \(Not a directory\): name a file elsewhere",
    ),
    Case(
        PATHS,
        "--receipt on a device",
        command("record", "--receipt", "/dev/null"),
        refused="it is a folder, a pipe or a device",
    ),
    Case(PATHS, "no weights", given("pretrained", pretrained=""), refused="unknown pretrained ''"),
    Case(PATHS, "another's home", path("~no-such-user/x"), refused="there is no such home"),
    Case(PATHS, "a number", path(7), refused="store 7 is no path: .*-r store"),
    Case(PATHS, "a line break", path("a\nb"), refused="store 'a b' is not a path"),
    Case(PATHS, "a terminal's code", path("\x1b[31mx"), refused=r"store '\\x1b\[31mx' is not a path"),
    Case(PATHS, "one relative data root in all places", relative_data_root, right=True),
    Case(PATHS, "--data-root of nothing", command("data", "list", "--data-root", ""), refused="--data-root '' is not a path"),
    Case(PATHS, "--from an unset variable", command("data", "prepare", "all", "--from", "$NOT_SET"), refused="NOT_SET is"),
    Case(PATHS, "--to of nothing", command("checkpoints", "import", "atlas", "--to", ""), refused="--to '' is not a path"),
    Case(PATHS, "--receipt of nothing", command("record", "--receipt", ""), refused="--receipt '' is not a path"),
    Case(PATHS, "an empty TANGENT_STORE", lambda folder: store_with(""), right=f"{ROOT}/runs/store"),
    Case(PATHS, "TANGENT_STORE in the home", lambda folder: store_with("~/s"), right="/home/me/s"),
    Case(EARLY, "an unknown name", notebook("tassk = 'Digits'", tassk="Digits"), refused="'tassk': did you mean 'tasks'"),
    Case(EARLY, "a line break in a task", given("tasks", tasks="Si\ngns"), refused="unknown task 'Si gns'"),
    Case(EARLY, "a terminal's code in a control", given("control", control="\x1b[2J"), refused=r"control '\\x1b\[2J'"),
    Case(EARLY, "a device by number", given("device", device="cuda:1"), refused="device 'cuda:1'.*auto, cpu, cuda, mps"),
    Case(EARLY, "a control by number", given("control", control=3), refused="unknown control '3'"),
    Case(POINTS, "of a set sorted by class", halves, right=(4, 4)),
    Case(OWN, "beside one of the miniature's", page_01("Objects"), right=True, slow=True),
    Case(OWN, "as control", page_01("Mine"), right=True, slow=True),
]
