"""The contract of the house: which room may import which, how large the centre is, and that no name stands for two things."""

from __future__ import annotations

import ast
import sys
from collections import defaultdict

import networkx as nx
import pytest

from tangent_lib.runtime.disk import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))
import structure

PACKAGE = ROOT / "tangent_lib"
FLOORS = (  # from the ground up; a room imports from floors below its own alone
    {"runtime"},
    {"task_vectors", "modes", "miniature"},
    {"_fast", "data"},
    {"linearization"},
    {"kernels", "evaluation", "models"},
    {"ring", "editing", "disentanglement", "finetuning"},
    {"checkpoints", "parameters"},
    {"experiment"},
    {"cost"},
    {"experiments"},
    {"report"},
    {"cli"},
    {"__init__"},
)
DOORS_TO_FAST = {"linearization", "kernels"}  # the only rooms that know how f_lin and kernels are computed
HEAVY = {"open_clip", "matplotlib", "pandas", "snakemake", "IPython"}  # nothing for the centre


def floor_of(room: str) -> int:
    return next(number for number, rooms in enumerate(FLOORS) if room in rooms)


@pytest.fixture(scope="module")
def house() -> nx.DiGraph:
    return structure.house(ROOT)


def test_every_room_has_a_floor(house):
    assert set(house) == set().union(*FLOORS)


def test_no_arrow_leads_upward_and_there_is_no_circle(house):
    assert [arrow for arrow in house.edges if floor_of(arrow[0]) <= floor_of(arrow[1])] == []
    assert structure.circles(house) == []


def test_pages_and_commands_are_imported_by_nobody(house):
    assert not [*house.predecessors("report"), *house.predecessors("cli")]


def test_only_linearization_and_kernels_know_the_fast_paths(house):
    assert set(house.predecessors("_fast")) == DOORS_TO_FAST


def test_the_centre_is_small():
    modules = sorted(PACKAGE.glob("*.py"))
    assert len(modules) <= 14 and structure.lines_of(modules) <= 2500


def test_the_centre_knows_neither_models_of_open_clip_nor_pages():
    for path in PACKAGE.glob("*.py"):
        tree = ast.parse(path.read_text())
        found = {each.name.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import) for each in node.names}
        found |= {node.module.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
        assert not found & HEAVY, path.name


def test_no_file_is_longer_than_one_subject_may_be():
    assert [path.name for path in PACKAGE.rglob("*.py") if len(path.read_text().splitlines()) > 450] == []


def names_of(node: ast.AST) -> set[str]:
    """The names that a statement at a module's top leaves there, other than by importing; blocks included."""
    if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        return {node.name}
    inner = (names_of(each) for each in ast.iter_child_nodes(node) if not isinstance(each, ast.comprehension | ast.Lambda))
    own = {node.id} if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) else set()
    return own.union(*inner) if not isinstance(node, ast.For) else own.union(*map(names_of, node.body))


def test_public_names_are_unique():
    homes = defaultdict(set)
    for path in PACKAGE.rglob("*.py"):
        commands = path.parent.name == "cli"  # its functions are called what a person types; an app holds some
        for node in ast.parse(path.read_text()).body:
            for name in () if commands and isinstance(node, ast.FunctionDef) else names_of(node):
                if not name.startswith("_") and (name, commands) != ("app", True):
                    homes[name].add(str(path.relative_to(PACKAGE)))
    assert {name: places for name, places in homes.items() if len(places) > 1} == {}


def test_private_doors_of_other_packages_stand_in_one_file():
    doors = ("torch._C", "torch._subclasses", "torch.utils._pytree", "_linear_pointwise")
    doors += ("_PRETRAINED", "_shared_state", "._cdata")
    for path in PACKAGE.rglob("*.py"):
        if path.name != "private_doors.py":
            assert not [door for door in doors if door in path.read_text()], path.name
