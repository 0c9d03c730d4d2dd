"""Sources of a dataset, on the server of the tests: two archives and a plain file, or a hub repository."""

from __future__ import annotations

import hashlib

from archives import NOISE, TREE, files_of, tarred, zipped

from tangent_lib.data.manifests import Manifest

COMMIT = "a" * 40
SHARDS = {f"data/{split}-0000{i}-of-00002.parquet": NOISE[i:] for split in ("train", "test") for i in range(2)}
REPO = {"README.md": b"# read me", "data/contrast-00000-of-00001.parquet": b"not wanted", **SHARDS}
HUB = {"hub": "tanganke/dtd", "patterns": ["data/train-*.parquet", "data/test-*.parquet"], "layout": "parquet"}


def manifest(*downloads, **more):
    return Manifest(
        name="DTD", kind="images", description="textures", source="Cimpoi et al.", licence="research only",
        folders=["dtd", "textures"], layouts=["parquet", "dtd"], downloads=list(downloads), templates=["{}"], **more,
    )  # fmt: skip


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def archives(server, tmp_path, checked=True):
    """Two archives and a plain file, as some originals come."""
    images = tarred(tmp_path / "dtd.tar.gz").read_bytes()
    more = zipped(tmp_path / "more.zip", {"dtd/images/cracked/1.jpg": NOISE, "splits/1.txt": b"1"}).read_bytes()
    files = []
    for name, data, to in (
        ("dtd.tar.gz", images, ""),
        ("labels/meta%20data.mat", b"meta", "devkit"),
        ("more.zip", more, ""),
    ):
        url = server.url(name, None) + "?download=1"
        server.files[f"/{name}"] = data
        files.append({"url": url, "to": to, **({"sha256": sha256(data)} if checked else {})})
    for name in ("dtd.tar.gz", "more.zip"):
        (tmp_path / name).unlink()
    return {"files": files, "layout": "dtd"}


WHOLE = {**TREE, "dtd/images/cracked/1.jpg": NOISE, "splits/1.txt": b"1", "devkit/meta data.mat": b"meta"}


def fetched_files(root):
    found = files_of(root / "dtd")
    assert set(found.pop("fetched.json", b"")) and not [name for name in found if name.startswith(".")]
    return found


def in_sight(root):
    """What a reader of layouts could see."""
    return [path for path in root.rglob("*") if path.is_file() and ".fetch" not in path.as_posix()]
