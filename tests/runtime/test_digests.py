"""The code that a result depends on: an edited rule, drawing or protocol is other code, an edited page or message is not."""

from __future__ import annotations

import ast

import pytest

from tangent_lib.runtime.digests import COMPUTED_BY, NOT_FOLLOWED, PACKAGE, SOURCES, code_of, modules_of


@pytest.fixture
def edit(monkeypatch):
    """Replace text in a module, which must be there, and give the kinds of results that are other results then."""

    def outdated(module, old, new):
        before = {kind: code_of(kind) for kind in COMPUTED_BY}
        source = SOURCES[module].decode()
        assert old in source
        monkeypatch.setitem(SOURCES, module, source.replace(old, new).encode())
        code_of.cache_clear()
        return {kind for kind, code in before.items() if code_of(kind) != code}

    yield outdated
    monkeypatch.undo()
    code_of.cache_clear()


EVALUATIONS = {kind for kind, roots in COMPUTED_BY.items() if roots == ("experiment",)}


@pytest.mark.parametrize(
    ("module", "old", "new", "outdated"),
    [
        ("editing", ">=", ">", EVALUATIONS),
        ("finetuning", "step % 50", "step % 60", EVALUATIONS | {"finetuned"}),
        ("modes", '"steps": 240', '"steps": 241', EVALUATIONS | {"finetuned", "head"}),
        ("_fast.rules", "along", "along_", EVALUATIONS | {"finetuned", "head"}),
        ("_fast.kernel", "return ", "return 2 * ", EVALUATIONS),
        ("models.clip", ".mean(dim=0)", ".sum(dim=0)", EVALUATIONS | {"finetuned", "head"}),
        ("experiments.materials", "seed=seed", "seed=seed + 1", EVALUATIONS | {"finetuned"}),
        ("miniature.signs", "0.5", "0.6", {"images"}),
        ("miniature.canvas", "255", "254", {"images"}),
        ("miniature.captions", "rng", "rng_", {"pretrain"}),
        ("report.tables", "def ", "def x", set()),
        ("cli.finetune", "def ", "def x", set()),
        ("parameters", "def ", "def x", set()),
        ("runtime.errors", "def ", "def x", set()),
    ],
)
def test_an_edit_outdates_what_depends_on_it(edit, module, old, new, outdated):
    assert edit(module, old, new) == outdated


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("def finetune(", "# a comment\ndef finetune("),
        ('"""Fine-tune the model f', '"""Another description of f'),
        ("the learning rate of {protocol.learning_rate} is too high", "lower {protocol.learning_rate}"),
    ],
    ids=["comment", "docstring", "message"],
)
def test_what_is_said_outdates_nothing(edit, old, new):
    assert edit("finetuning", old, new) == set()


def test_every_kind_of_the_library_has_its_code():
    asked = {"fetch": 0, "find": 0, "beside": 0, "_kept": 0, "fetch_together": 1}
    found = set()
    for source in SOURCES.values():
        for node in ast.walk(ast.parse(source)):
            name = getattr(getattr(node, "func", None), "attr", getattr(getattr(node, "func", None), "id", ""))
            if isinstance(node, ast.Call) and name in asked and len(node.args) > asked[name] + 1:
                kind = node.args[asked[name]]
                found |= {kind.value} if isinstance(kind, ast.Constant) and isinstance(kind.value, str) else set()
    assert found == set(COMPUTED_BY)


def test_all_modules_that_are_named_exist():
    named = {*NOT_FOLLOWED, *(root for roots in COMPUTED_BY.values() for root in roots)}
    assert named <= SOURCES.keys() and SOURCES["modes"] == (PACKAGE / "modes.py").read_bytes()


def test_a_result_follows_its_imports_as_far_as_they_compute():
    found = modules_of(COMPUTED_BY["finetuned"])
    assert {"finetuning", "linearization", "_fast.dual", "data.batches", "models.clip", "runtime.operations"} <= found
    assert not [name for name in found if name.split(".")[0] in ("report", "cli", "cost", "parameters", "checkpoints")]
