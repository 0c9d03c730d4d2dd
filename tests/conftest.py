"""Fixtures that all tests share: models and tasks, opened once a session, and a store in a temporary folder."""

from __future__ import annotations

import os
import shutil
from copy import copy
from functools import cache

import open_clip
import pytest
import torch

from tangent_lib.data.tasks import ImageArray, load_task
from tangent_lib.experiment import Experiment
from tangent_lib.experiments import materials
from tangent_lib.experiments.materials import Materials
from tangent_lib.models.clip import load_clip
from tangent_lib.parameters import check_parameters
from tangent_lib.runtime.store import Store

MODEL = "ViT-Mini-8"


def pytest_configure(config):
    """Warnings are errors, but for what other packages deprecate among themselves."""
    for line in (
        "error",
        "ignore::DeprecationWarning",
        "ignore::PendingDeprecationWarning",
        "ignore:.*has no tangent rule",
        "ignore:.torch.jit.script. is deprecated:FutureWarning",
        "error::DeprecationWarning:tangent_lib",
    ):
        config.addinivalue_line("filterwarnings", line)


@pytest.fixture(scope="session")
def clip():
    """The miniature with the weights that are shipped."""
    return load_clip(MODEL)


@pytest.fixture(scope="session")
def random_clip():
    """The miniature with random weights: enough wherever accuracy plays no part."""
    return load_clip(MODEL, "none")


@pytest.fixture(scope="session")
def store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="session")
def task(random_clip, store):
    """A miniature task by name, drawn once a session."""
    return cache(lambda name: load_task(name, random_clip, store))


@pytest.fixture(scope="session")
def few():
    """The first images of a split."""

    def first(data: ImageArray, count: int) -> ImageArray:
        part = copy(data)
        part.images, part.labels = data.images[:count], data.labels[:count]
        return part

    return first


@pytest.fixture(scope="session")
def images(task, store):
    """The images of three tasks, drawn once, to be linked into each experiment's own store."""
    for name in ("Digits", "Signs", "Objects"):
        task(name)
    return store.root / "images"


@pytest.fixture
def run(tmp_path, images):
    """Make an experiment of two tasks, two steps and three alphas on random weights; those of one test share a store."""
    root = tmp_path / "store"
    shutil.copytree(images, root / "images", copy_function=os.link)

    def make(**given):
        usual = {"tasks": "Digits,Signs", "alphas": "0,0.5,1", "steps": 2, "batch_size": 4, "pretrained": "none"}
        return Experiment(Materials(check_parameters(**usual | {"store": str(root)} | given)))

    return make


@pytest.fixture
def short(run, few, monkeypatch):
    """The same with 120 images a split, for what evaluates in earnest."""
    load = materials.load_task

    def load_few(*args):
        task = load(*args)
        task.splits.update({name: few(data, 120) for name, data in task.splits.items()})
        return task

    monkeypatch.setattr(materials, "load_task", load_few)
    return run


@pytest.fixture
def no_model(monkeypatch):
    """Fail where a model is built: what is to be refused must be refused before."""

    def refuse(*args, **kwargs):
        pytest.fail("a model was built before the input was checked")

    monkeypatch.setattr(open_clip, "create_model_and_transforms", refuse)


class OnMps(torch.Tensor):
    """A tensor that says it lies on an Apple GPU, and like one refuses float64."""

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        if function == torch.Tensor.device.__get__:
            return torch.device("mps")
        found = super().__torch_function__(function, types, args, kwargs or {})
        if function == torch.Tensor.cpu:
            return found.as_subclass(torch.Tensor)
        if isinstance(found, OnMps) and found.dtype == torch.float64:
            raise TypeError("Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64.")
        return found


@pytest.fixture
def on_mps():
    """Make a tensor one of a device without float64."""
    return lambda x: x.clone().as_subclass(OnMps)


@pytest.fixture
def rng():
    return torch.Generator().manual_seed(0)
