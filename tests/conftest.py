"""Fixtures that all tests share: models and tasks, opened once a session, and a store in a temporary folder."""

from __future__ import annotations

from copy import copy
from functools import cache

import open_clip
import pytest
import torch

from tangent_lib.data.tasks import ImageArray, load_task
from tangent_lib.models.clip import load_clip
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


@pytest.fixture
def no_model(monkeypatch):
    """Fail where a model is built: what is to be refused must be refused before."""

    def refuse(*args, **kwargs):
        pytest.fail("a model was built before the input was checked")

    monkeypatch.setattr(open_clip, "create_model_and_transforms", refuse)


@pytest.fixture
def rng():
    return torch.Generator().manual_seed(0)
