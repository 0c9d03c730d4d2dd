"""The families of published checkpoints: their spellings, where their files may lie, which tasks they have."""

from __future__ import annotations

from string import Formatter

import pytest

from tangent_lib.checkpoints.families import FAMILIES, PAPER_MODELS, family_named
from tangent_lib.modes import PAPER
from tangent_lib.runtime.errors import InputError

EACH = pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)


@EACH
def test_every_family_has_the_models_and_tasks_of_the_papers(family):
    assert tuple(family.models) == PAPER_MODELS == ("ViT-B-32", "ViT-B-16", "ViT-L-14")
    assert tuple(family.tasks) == PAPER.tasks


@EACH
def test_no_two_tasks_or_models_have_one_file(family):
    place = f"{family.repository or ''}/{family.paths[0]}"
    files = {place.format(model=m, task=t) for m in family.models.values() for t in family.tasks.values()}
    assert len(files) == len(family.models) * len(family.tasks)


@EACH
def test_paths_have_the_fields_of_model_and_task_and_no_others(family):
    places = (family.repository or "", *family.paths, *family.zero_shot)
    assert {field for place in places for _, field, _, _ in Formatter().parse(place) if field} == {"model", "task"}


@EACH
def test_remarks_are_of_its_own_models_and_tasks(family):
    assert all(model in family.models and task in family.tasks for model, task in family.remarks)


@EACH
def test_a_family_says_where_it_is_from_and_how_it_was_made(family):
    assert family.page.startswith("https://") and family.licence and family.recipe and family.describes


def test_a_model_is_spelt_as_the_family_does_and_an_unknown_one_as_here():
    tall_masks = family_named("tall_masks")
    assert [tall_masks.model(name) for name in ("ViT-B-16", "ViT-B-16-quickgelu", "RN50")] == ["VIT-B-16"] * 2 + ["RN50"]


def test_a_path_without_a_task_is_looked_for_within_the_repositorys_own_folder():
    found = family_named("tanganke").local_paths(("model.safetensors",))
    assert found == ["{model}_{task}/model.safetensors"]


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        (("Cars", "Signs"), "unknown task of atlas 'Signs'"),
        ((), "name at least one of Cars"),
        (("Cars", "Cars"), "and none twice"),
    ],
)
def test_tasks_that_it_does_not_have_are_refused(tasks, message):
    with pytest.raises(InputError, match=message):
        family_named("atlas").check(tasks)


def test_an_unknown_family_is_refused():
    with pytest.raises(InputError, match="did you mean 'ilharco'"):
        family_named("ilharko")
