"""Importing a family: the same tensors, a record of their origin, and nothing written when anything is amiss."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil

import pytest
import torch
from published import TASKS, encoder_state
from safetensors.torch import load_file

from tangent_lib.checkpoints import staging
from tangent_lib.checkpoints.families import FAMILIES
from tangent_lib.checkpoints.imported import import_family, open_imported
from tangent_lib.runtime.digests import fingerprint
from tangent_lib.runtime.errors import InputError


@pytest.fixture
def to(tmp_path):
    return tmp_path / "checkpoints"


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# -- what is imported --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("family", FAMILIES)
def test_a_checkpoint_of_each_family_imports_to_the_same_tensors(family, publish, random_clip, starred, to):
    record = import_family(family, random_clip, publish(family), TASKS, to)
    imported = open_imported(to / family / "ViT-Mini-8", random_clip, TASKS)
    assert imported.record == record and sorted(os.listdir(to / family / "ViT-Mini-8")) == [
        "Cars.safetensors",
        "MNIST.safetensors",
        "record.json",
    ]
    for task in TASKS:
        theta, expected = imported.tensors(task), starred(task)
        if family == "tanganke":
            expected["proj"] = random_clip.theta_0["proj"]
        assert theta.keys() == random_clip.theta_0.keys()
        for name, value in theta.items():
            assert value.dtype == torch.float32 and torch.equal(value, expected[name]), name


@pytest.mark.parametrize("family", FAMILIES)
def test_the_record_says_where_it_comes_from(family, publish, random_clip, to):
    root = publish(family)
    import_family(family, random_clip, root, TASKS, to)
    record = json.loads((to / family / "ViT-Mini-8" / "record.json").read_text())
    assert record["family"] == family and record["licence"] == FAMILIES[family].licence
    assert record["recipe"] == FAMILIES[family].recipe and record["theta_0"] == fingerprint(random_clip.theta_0)
    assert {"commit", "date", "machine"} <= record["provenance"].keys()
    for task in TASKS:
        each = record["tasks"][task]
        source = root / each["origin"]["file"]
        assert each["origin"]["sha256"] == hashlib.sha256(source.read_bytes()).hexdigest()
        assert each["taken"] and 0 < each["distance"] < 0.1 and each["cast"] == []
        assert bool(each["kept"]) == (family == "tanganke") and each["left"]
    if family == "tanganke":
        assert record["zero_shot"] is None
    else:
        assert record["zero_shot"]["difference"] == 0 and "zeroshot" in record["zero_shot"]["origin"]["file"]


def test_the_miniatures_of_one_noise_have_its_distance(publish, random_clip, starred, to):
    record = import_family("tall_masks", random_clip, publish("tall_masks"), ["Cars"], to)
    theta, theta_0 = (torch.cat([v.flatten() for v in each.values()]) for each in (starred("Cars"), random_clip.theta_0))
    assert record.tasks["Cars"].distance == pytest.approx(float((theta - theta_0).norm() / theta_0.norm()), rel=1e-4)


def test_a_bare_pickle_of_ilharco_is_read(encoder, publish, random_clip, starred, to):
    root = publish("ilharco")
    save = lambda value, path: path.write_bytes(pickle.dumps(value))
    encoder(starred("Cars"), root / "ViT-Mini-8/Cars/finetuned.pt", save)
    import_family("ilharco", random_clip, root, TASKS, to)
    theta = open_imported(to / "ilharco" / "ViT-Mini-8", random_clip).tensors("Cars")
    assert all(torch.equal(theta[name], value) for name, value in starred("Cars").items())


def test_half_precision_is_cast_and_told(publish, random_clip, starred, to):
    root = publish("tall_masks")
    path = root / "single_task/ViT-Mini-8/CarsVal/nonlinear_finetuned.pt"
    torch.save({name: value.half() for name, value in torch.load(path).items()}, path)
    record = import_family("tall_masks", random_clip, root, TASKS, to)
    assert record.tasks["Cars"].cast == ["torch.float16"] and record.tasks["MNIST"].cast == []
    theta = open_imported(to / "tall_masks" / "ViT-Mini-8", random_clip).tensors("Cars")
    assert all(torch.equal(theta[name], value.half().float()) for name, value in starred("Cars").items())


@pytest.mark.parametrize("inner", ["single_task", "single_task/ViT-Mini-8"])
def test_a_folder_is_found_from_any_level(publish, random_clip, to, inner):
    root = publish("tall_masks")
    assert import_family("tall_masks", random_clip, root / inner, TASKS, to).zero_shot is not None


def test_a_family_without_its_zero_shot_weights_is_imported_and_says_so(publish, random_clip, to):
    root = publish("tall_masks")
    (root / "single_task/ViT-Mini-8/zeroshot.pt").unlink()
    assert import_family("tall_masks", random_clip, root, TASKS, to).zero_shot is None


def test_tasks_are_added_to_an_earlier_import(publish, random_clip, to):
    root = publish("tall_masks")
    import_family("tall_masks", random_clip, root, ["Cars"], to)
    cars = open_imported(to / "tall_masks" / "ViT-Mini-8", random_clip, ["Cars"])
    assert set(import_family("tall_masks", random_clip, root, ["MNIST"], to).tasks) == set(TASKS)
    again = lambda *tasks: open_imported(to / "tall_masks" / "ViT-Mini-8", random_clip, tasks)
    assert again("Cars").digest == cars.digest != again("MNIST").digest
    assert again().digest == again(*TASKS).digest == again(*TASKS[::-1]).digest != cars.digest


# -- what is refused, with nothing written -----------------------------------------------------------------------------
def remove_a_weight(state):
    del state["model.visual.ln_pre.bias"]


def add_a_weight(state):
    state["model.visual.ln_pre.scale"] = torch.ones(2)


def change_a_shape(state):
    state["model.visual.class_embedding"] = torch.ones(129)


def spoil_a_number(state):
    state["model.visual.class_embedding"][5] = float("nan")


def put_a_number(state):
    state["epoch"] = 3


@pytest.mark.parametrize("spoil", [remove_a_weight, add_a_weight, change_a_shape, spoil_a_number, put_a_number])
def test_one_bad_file_and_nothing_is_written(publish, random_clip, to, spoil):
    root = publish("tall_masks")
    path = root / "single_task/ViT-Mini-8/MNISTVal/nonlinear_finetuned.pt"
    state = dict(torch.load(path))
    spoil(state)
    torch.save(state, path)
    with pytest.raises(InputError, match=r"MNISTVal/nonlinear_finetuned\.pt"):
        import_family("tall_masks", random_clip, root, TASKS, to)
    assert not to.exists() or not files(to)


def test_an_earlier_import_survives_a_failed_one(publish, random_clip, to):
    root = publish("tall_masks")
    import_family("tall_masks", random_clip, root, TASKS, to)
    before = files(to)
    (root / "single_task/ViT-Mini-8/MNISTVal/nonlinear_finetuned.pt").write_bytes(b"PK\x03\x04 broken")
    with pytest.raises(InputError, match="cannot be read as a checkpoint"):
        import_family("tall_masks", random_clip, root, TASKS, to)
    assert files(to) == before


def test_other_pre_trained_weights_are_refused_before_any_checkpoint_is_read(publish, random_clip, to):
    root = publish("tall_masks")
    changed = {name: value + 2e-6 for name, value in random_clip.theta_0.items()}
    torch.save(encoder_state(random_clip, changed), root / "single_task/ViT-Mini-8/zeroshot.pt")
    for task in TASKS:
        (root / f"single_task/ViT-Mini-8/{task}Val/nonlinear_finetuned.pt").write_bytes(b"never read")
    with pytest.raises(InputError, match=r"pre-trained weights of tall_masks.*differ .* by up to 2e-06"):
        import_family("tall_masks", random_clip, root, TASKS, to)
    assert not to.exists()


def test_pre_trained_weights_stored_in_half_precision_are_the_same_weights(publish, random_clip, to):
    root = publish("tall_masks")
    path = root / "single_task/ViT-Mini-8/zeroshot.pt"
    torch.save({name: value.half() for name, value in torch.load(path).items()}, path)
    zero_shot = import_family("tall_masks", random_clip, root, TASKS, to).zero_shot
    assert zero_shot.difference > 1e-6 and zero_shot.difference_fp16 == 0


def test_a_model_with_other_weights_cannot_open_or_extend_an_import(publish, random_clip, clip, to):
    import_family("tall_masks", random_clip, publish("tall_masks"), TASKS, to)
    with pytest.raises(InputError, match=r"fine-tuned from ViT-Mini-8, none, not from ViT-Mini-8, captions"):
        open_imported(to / "tall_masks" / "ViT-Mini-8", clip)
    with pytest.raises(InputError, match=r"other pre-trained weights.*--to"):
        import_family("tall_masks", clip, to, TASKS, to)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"family": "tall_mask"}, "did you mean 'tall_masks'"),
        ({"tasks": ["Cars", "Digits"]}, r"task of tall_masks 'Digits'.*Cars, DTD"),
        ({"tasks": []}, "name at least one"),
        ({"tasks": ["Cars", "Cars"]}, "none twice"),
        ({"tasks": ["Cars", "SVHN", "DTD"]}, r"no checkpoint of SVHN, DTD.*single_task/ViT-Mini-8/SVHNVal.*huggingface"),
        ({"family": "ilharco"}, r"ViT-Mini-8/Cars/finetuned\.pt"),
        ({"family": "tanganke"}, r"ViT-Mini-8_stanford-cars/model\.safetensors"),
    ],
)
def test_bad_arguments(publish, random_clip, to, arguments, message):
    given = {"family": "tall_masks", "origin": publish("tall_masks"), "tasks": TASKS, **arguments}
    with pytest.raises(InputError, match=message):
        import_family(given["family"], random_clip, given["origin"], given["tasks"], to)
    assert not to.exists()


def test_a_folder_that_is_not_there(random_clip, to, tmp_path):
    with pytest.raises(InputError, match=r"no folder '.*nowhere'"):
        import_family("atlas", random_clip, tmp_path / "nowhere", TASKS, to)


def test_the_corrupt_checkpoint_is_named(encoder, publish, random_clip, starred, to, monkeypatch):
    monkeypatch.setitem(FAMILIES["ilharco"].remarks, ("ViT-Mini-8", "Cars"), FAMILIES["ilharco"].remarks["ViT-B-16", "Cars"])
    root = publish("ilharco")
    path = root / "ViT-Mini-8/Cars/finetuned.pt"
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(InputError, match=r"known as corrupt.*another family's"):
        import_family("ilharco", random_clip, root, TASKS, to)


def test_a_full_disk_or_a_folder_that_cannot_be_written(publish, random_clip, to, monkeypatch):
    root = publish("tall_masks")
    with monkeypatch.context() as patch:
        patch.setattr(staging, "free_bytes", lambda path: 1000)
        with pytest.raises(InputError, match=r"needs .* MB of disk, but only 1\.0 kB are free"):
            import_family("tall_masks", random_clip, root, TASKS, to)
    assert not to.exists()
    with monkeypatch.context() as patch:

        def full(*args):
            raise OSError(28, "No space left on device")

        patch.setattr(os, "replace", full)
        with pytest.raises(InputError, match=r"cannot be written.*No space left"):
            import_family("tall_masks", random_clip, root, TASKS, to)
    assert not files(to)
    with pytest.raises(InputError, match="cannot be written"):
        import_family("tall_masks", random_clip, root, TASKS, root / "single_task/ViT-Mini-8/zeroshot.pt")


# -- opening -----------------------------------------------------------------------------------------------------------
def test_damage_is_seen_when_an_import_is_opened_or_read(publish, random_clip, to):
    import_family("tall_masks", random_clip, publish("tall_masks"), TASKS, to)
    folder = to / "tall_masks" / "ViT-Mini-8"
    imported = open_imported(folder, random_clip)
    path = folder / "Cars.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"Cars\.safetensors' is missing or damaged.*checksum"):
        imported.tensors("Cars")
    path.unlink()
    with pytest.raises(InputError, match="import it again"):
        imported.tensors("Cars")
    assert imported.tensors("MNIST")
    with pytest.raises(InputError, match=r"imported task 'DTD'.*Allowed: Cars, MNIST.*-p tasks"):
        imported.tensors("DTD")
    with pytest.raises(InputError, match="imported task 'DTD'"):
        open_imported(folder, random_clip, ["Cars", "DTD"])
    (folder / "record.json").write_text((folder / "record.json").read_text()[:-50])
    with pytest.raises(InputError, match=r"record\.json' is damaged"):
        open_imported(folder, random_clip)
    shutil.rmtree(folder)
    with pytest.raises(InputError, match=r"make some with tangent checkpoints import"):
        open_imported(folder, random_clip)


def test_an_imported_file_is_a_plain_safetensors_file(publish, random_clip, to):
    import_family("atlas", random_clip, publish("atlas"), TASKS, to)
    theta = load_file(to / "atlas" / "ViT-Mini-8" / "Cars.safetensors")
    assert theta.keys() == random_clip.model.visual.state_dict().keys()
