"""Checkpoints from the hub: asked for under the true names, found in its true cache without a network."""

from __future__ import annotations

import shutil
from unittest.mock import create_autospec

import httpx2
import huggingface_hub
import pytest
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError, RepositoryNotFoundError
from published import TASKS

from tangent_lib.checkpoints.families import FAMILIES
from tangent_lib.checkpoints.imported import import_family, open_imported
from tangent_lib.checkpoints.sources import Folder, Hub
from tangent_lib.runtime.errors import InputError

NOT_FOUND = httpx2.Response(404, request=httpx2.Request("GET", "https://huggingface.co"))
COMMIT = "c8d352f0000000000000000000000000000000ab"


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """What the hub is asked for; ``answers`` says what it does, by path: an error, or an empty file."""
    answers = {}

    def answer(repository, path, revision=None):
        if path in answers:
            raise answers[path]
        file = tmp_path / f"models--{repository.replace('/', '--')}" / "snapshots" / (revision or COMMIT) / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"")
        return str(file)

    download = create_autospec(huggingface_hub.hf_hub_download, side_effect=answer)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    download.answers = answers
    return download


def names(found):
    return {task: source.name for task, source in found.items()}


@pytest.mark.parametrize(
    ("family", "model", "expected"),
    [
        ("tall_masks", "ViT-B-32", "nik-dim/tall_masks/single_task/ViT-B-32/CarsVal/nonlinear_finetuned.pt"),
        ("tall_masks", "ViT-B-16", "nik-dim/tall_masks/single_task/VIT-B-16/CarsVal/nonlinear_finetuned.pt"),
        ("atlas", "ViT-L-14", "fredzzhang/atlas/ViT-L-14/CarsVal/finetuned.pt"),
        ("tanganke", "ViT-B-32", "tanganke/clip-vit-base-patch32_stanford-cars/model.safetensors"),
        ("tanganke", "ViT-L-14", "tanganke/clip-vit-large-patch14_stanford-cars/model.safetensors"),
    ],
)
def test_files_are_asked_for_under_their_own_names(asked, family, model, expected):
    found = Hub(FAMILIES[family], model).finetuned(["Cars"])
    assert names(found) == {"Cars": expected} and found["Cars"].revision == COMMIT


def test_a_revision_is_passed_on_and_noted(asked):
    found = Hub(FAMILIES["tanganke"], "ViT-B-16", revision="a" * 40).finetuned(["SUN397", "SVHN"])
    assert names(found) == {
        "SUN397": "tanganke/clip-vit-base-patch16_sun397/model.safetensors",
        "SVHN": "tanganke/clip-vit-base-patch16_svhn/model.safetensors",
    }
    assert {source.revision for source in found.values()} == {"a" * 40}


def test_a_second_place_is_tried_where_the_first_has_nothing(asked):
    asked.answers["ViT-B-32/CarsVal/finetuned.pt"] = EntryNotFoundError("404")
    hub = Hub(FAMILIES["atlas"], "ViT-B-32")
    assert names(hub.finetuned(["Cars"])) == {"Cars": "fredzzhang/atlas/checkpoints/ViT-B-32/CarsVal/finetuned.pt"}
    asked.answers["checkpoints/ViT-B-32/CarsVal/finetuned.pt"] = EntryNotFoundError("404")
    with pytest.raises(InputError, match=r"hub has no ViT-B-32/CarsVal/finetuned\.pt in fredzzhang/atlas.*--from FOLDER"):
        hub.finetuned(["Cars"])


def test_zero_shot_weights_that_are_out_of_reach_are_none(asked):
    hub = Hub(FAMILIES["tall_masks"], "ViT-B-32")
    assert hub.zero_shot(TASKS).name == "nik-dim/tall_masks/single_task/ViT-B-32/zeroshot.pt"
    for error in (EntryNotFoundError("404"), LocalEntryNotFoundError("offline")):
        for path in ("single_task/ViT-B-32/zeroshot.pt", "single_task/ViT-B-32/CarsVal/nonlinear_zeroshot.pt"):
            asked.answers[path] = error
        assert hub.zero_shot(TASKS) is None
    assert Hub(FAMILIES["tanganke"], "ViT-B-32").zero_shot(TASKS) is None


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (LocalEntryNotFoundError("offline"), "neither in the hub's cache nor to be had from the network"),
        (RepositoryNotFoundError("404 Client Error\nmore", response=NOT_FOUND), r"could not be downloaded \(404"),
        (OSError(28, "No space left on device"), "No space left"),
        (ConnectionError("no route to host"), "no route to host"),
    ],
)
def test_what_goes_wrong_names_the_file_and_the_ways_out(asked, error, message):
    asked.answers["model.safetensors"] = error
    with pytest.raises(InputError, match=rf"tanganke/clip-vit-base-patch32_mnist/model\.safetensors .*{message}.*HF_HOME"):
        Hub(FAMILIES["tanganke"], "ViT-B-32").finetuned(["MNIST"])


def test_what_is_not_on_the_hub(asked):
    with pytest.raises(InputError, match=r"ilharco is not on the hub.*github.*--from FOLDER"):
        Hub(FAMILIES["ilharco"], "ViT-B-32")
    with pytest.raises(InputError, match=r"model of atlas 'RN50'.*Allowed: ViT-B-32, ViT-B-16, ViT-L-14"):
        Hub(FAMILIES["atlas"], "RN50")
    assert not asked.called


def test_the_hubs_own_cache_is_enough_without_a_network(monkeypatch, publish, random_clip, starred, tmp_path):
    """huggingface_hub itself, offline, on a cache laid out as it lays it out."""
    repository = tmp_path / "cache" / "models--nik-dim--tall_masks"
    shutil.copytree(publish("tall_masks"), repository / "snapshots" / COMMIT)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(FAMILIES["tall_masks"].models, "ViT-Mini-8", "ViT-Mini-8")
    record = import_family("tall_masks", random_clip, "hub", TASKS, tmp_path / "to")
    assert record.zero_shot.origin.revision == COMMIT == record.tasks["Cars"].origin.revision
    assert record.tasks["Cars"].origin.file == "nik-dim/tall_masks/single_task/ViT-Mini-8/CarsVal/nonlinear_finetuned.pt"
    theta = open_imported(tmp_path / "to" / "tall_masks" / "ViT-Mini-8", random_clip).tensors("Cars")
    assert all(theta[name].equal(value) for name, value in starred("Cars").items())
    with pytest.raises(InputError, match=r"DTDVal.*neither in the hub's cache"):
        import_family("tall_masks", random_clip, "hub", ["DTD"], tmp_path / "to")


@pytest.mark.parametrize("spelling", ["VIT-B-16", "ViT-B-16"])
def test_a_folder_may_use_either_spelling_of_a_model(tmp_path, spelling):
    file = tmp_path / spelling / "MNISTVal" / "nonlinear_finetuned.pt"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"")
    found = Folder(FAMILIES["tall_masks"], "ViT-B-16", tmp_path).finetuned(["MNIST"])["MNIST"]
    assert found.path.samefile(file) and found.revision is None
