"""Fixtures of the tests of datasets: a web server on this machine that is the hub too, and no waiting."""

from __future__ import annotations

import pytest
from file_server import FileServer
from huggingface_hub import constants
from prepared import arrays_of, items_of

from tangent_lib.data import resume
from tangent_lib.data.packed import write_split


@pytest.fixture
def server(monkeypatch, tmp_path):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(resume, "WAITS", (0, 0, 0))
    with FileServer() as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.address)
        template = server.address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        yield server


@pytest.fixture
def root(tmp_path):
    return tmp_path / "data"


@pytest.fixture
def arrays():
    return arrays_of()


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "prepared" / "Cars"


@pytest.fixture
def written(folder, arrays):
    """The folder, in which ``val`` was written from the arrays."""
    write_split(folder, "val", items_of(arrays))
    return folder
