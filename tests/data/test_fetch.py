"""Datasets are fetched whole or not at all, from whichever source works."""

from __future__ import annotations

import hashlib
import json
import logging
import threading
import time

import pytest
from archives import contents, zipped
from huggingface_hub import constants
from sources import COMMIT, HUB, REPO, WHOLE, archives, fetched_files, in_sight, manifest, sha256

from tangent_lib.data import fetch as fetching
from tangent_lib.data.fetch import fetch, recorded
from tangent_lib.runtime.errors import InputError


# -- files -------------------------------------------------------------------------------------------------------------
def test_archives_are_unpacked_and_files_put_where_the_manifest_says(server, root, tmp_path):
    source = archives(server, tmp_path)
    got = fetch(manifest(source), root)
    assert fetched_files(root) == WHOLE
    assert got.folder == root / "dtd" and got.origin == ", ".join(file["url"] for file in source["files"])
    assert f"devkit/meta data.mat sha256:{sha256(b'meta')}" in got.revision
    assert got == recorded(root / "dtd") and recorded(root) is None


def test_without_checksums_what_came_is_said(server, root, tmp_path, caplog):
    got = fetch(manifest(archives(server, tmp_path, checked=False)), root)
    assert fetched_files(root) == WHOLE
    for digest in (sha256(server.files[name]) for name in ("/dtd.tar.gz", "/more.zip", "/labels/meta%20data.mat")):
        assert digest in got.revision and digest in caplog.text


def test_nothing_is_in_sight_until_all_is_there_and_nothing_comes_twice(server, root, tmp_path):
    source = archives(server, tmp_path)
    gone = server.files.pop("/more.zip")
    with pytest.raises(InputError, match=r"more.zip: the server answers 404"):
        fetch(manifest(source), root)
    assert in_sight(root) == []
    server.asked.clear()
    server.files["/more.zip"] = gone
    fetch(manifest(source), root)
    assert server.asked == [("/more.zip", 0)] and fetched_files(root) == WHOLE


def test_a_broken_download_goes_on_in_the_next_run(server, root, tmp_path):
    source = archives(server, tmp_path)
    server.drops = [10_000] + [0] * 5
    with pytest.raises(InputError, match=r"(?s)dtd.tar.gz: the connection broke off .* run it again"):
        fetch(manifest(source), root)
    server.asked.clear()
    server.drops = []
    fetch(manifest(source), root)
    assert server.asked[0] == ("/dtd.tar.gz", 10_000) and fetched_files(root) == WHOLE


def test_files_that_lie_there_are_kept_and_never_replaced(server, root, tmp_path):
    mine = root / "dtd/dtd/labels/train1.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    source = archives(server, tmp_path)
    with pytest.raises(InputError, match=r"train1.txt is there already and differs"):
        fetch(manifest(source), root)
    assert in_sight(root) == [mine] and mine.read_text() == "mine"
    mine.unlink()
    server.asked.clear()
    fetch(manifest(source), root)
    assert not server.asked and fetched_files(root) == WHOLE


def test_a_damaged_archive_without_checksum_comes_anew(server, root, tmp_path):
    source = archives(server, tmp_path, checked=False)
    whole = server.files["/more.zip"]
    server.files["/more.zip"] = whole[:-100]
    with pytest.raises(InputError, match=r"more.zip cannot be unpacked"):
        fetch(manifest(source), root)
    assert in_sight(root) == []
    (half,) = root.glob("dtd/.fetch/*/unpacked/dtd/labels/train1.txt")
    half.write_text("half")  # nothing of what was unpacked before is trusted
    server.files["/more.zip"] = whole
    fetch(manifest(source), root)
    assert fetched_files(root) == WHOLE


def test_an_archive_that_climbs_out_is_refused(server, root, tmp_path):
    url = server.url("evil.zip", zipped(tmp_path / "e.zip", {"../../evil": b"1"}).read_bytes())
    with pytest.raises(InputError, match=r"its entry '../../evil' would leave the target folder"):
        fetch(manifest({"files": [{"url": url}], "layout": "dtd"}), root)
    assert in_sight(root) == [] and not list(tmp_path.rglob("evil"))


@pytest.mark.parametrize("to, url", [("../x", "a.mat"), ("/x", "a.mat"), ("", ""), ("", "%2e%2e"), ("", "..")])
def test_a_manifest_cannot_name_places_outside(server, root, to, url):
    with pytest.raises(InputError, match="mend the manifest"):
        fetch(manifest({"files": [{"url": server.url(url), "to": to}], "layout": "dtd"}), root)
    assert not server.asked and in_sight(root) == []


def test_two_files_of_one_name_are_refused(server, root):
    files = [{"url": server.url("1/a.mat", b"1")}, {"url": server.url("2/a.mat", b"2")}]
    with pytest.raises(InputError, match=r"two files would be called a.mat"):
        fetch(manifest({"files": files, "layout": "dtd"}), root)


def test_a_damaged_record_is_as_good_as_none(tmp_path):
    for text in ("{", "[]", json.dumps({"origin": "x"})):
        (tmp_path / "fetched.json").write_text(text)
        assert recorded(tmp_path) is None


# -- one source after the other ----------------------------------------------------------------------------------------
def test_the_next_source_is_tried_and_the_failure_said(server, root, tmp_path, caplog):
    bad = {"files": [{"url": server.url("old.zip", b"changed"), "md5": "0" * 32}], "layout": "dtd"}
    server.serve_hub("tanganke/dtd", COMMIT, REPO)
    with caplog.at_level(logging.WARNING):
        got = fetch(manifest(bad, archives(server, tmp_path), HUB), root)
    assert got.origin.endswith("more.zip?download=1") and fetched_files(root) == WHOLE
    assert "old.zip" in caplog.text and "md5" in caplog.text


def test_only_one_source_on_request(server, root, tmp_path):
    server.serve_hub("tanganke/dtd", COMMIT, REPO)
    both = manifest(archives(server, tmp_path), HUB)
    assert fetch(both, root, only=1).revision == COMMIT
    for number in (2, -1):
        with pytest.raises(InputError, match=f"DTD has no source number {number}: allowed are 0 to 1"):
            fetch(both, root, only=number)


def test_all_reasons_and_ways_out_are_listed_and_no_folder_is_left(server, root, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    sums = {"md5": "0" * 32}
    files = [{"files": [{"url": server.url(f"{i}.zip"), **sums}], "layout": "dtd"} for i in range(2)]
    server.files["/1.zip"] = b"changed"
    with pytest.raises(InputError) as error:
        fetch(manifest(*files, HUB), root)
    said = str(error.value)
    for reason in ("0.zip: the server answers 404", f"1.zip has the md5 checksum {hashlib.md5(b'changed').hexdigest()}",
                   "0" * 32, "HF_HUB_OFFLINE is set", "HF_ENDPOINT", f"{root}/dtd or {root}/textures",
                   "layouts parquet, dtd", f"copy {root}/prepared/DTD"):  # fmt: skip
        assert reason in said
    assert said.isprintable() and list(contents(root)) == [".dtd.fetch.lock"]


def test_a_dataset_without_sources_says_where_to_put_the_files(root):
    with pytest.raises(InputError, match=f"no source .*copy the files to {root}/dtd or {root}/textures by hand"):
        fetch(manifest(), root)
    assert not root.exists()


def test_without_a_network_all_fails_at_once(root, monkeypatch, tmp_path):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    start = time.perf_counter()
    said = r"(?s)the hub cannot be reached.*refused.*the server cannot be reached.*refused.*run it again"
    with pytest.raises(InputError, match=said):
        fetch(manifest(HUB, {"files": [{"url": "http://127.0.0.1:9/x.zip"}], "layout": "dtd"}), root)
    assert time.perf_counter() - start < 5 and list(contents(root)) == [".dtd.fetch.lock"]


def test_a_folder_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "data").write_text("a file")
    with pytest.raises(InputError, match=r"data/dtd cannot be written .*: give another data root"):
        fetch(manifest(HUB), tmp_path / "data")


def test_a_second_process_waits_and_takes_what_the_first_brought(server, root, tmp_path, monkeypatch):
    source, got, looked = manifest(archives(server, tmp_path)), [], threading.Semaphore(0)

    def looking(folder):
        looked.release()
        return recorded(folder)

    monkeypatch.setattr(fetching, "recorded", looking)
    server.gate.clear()
    threads = [threading.Thread(target=lambda: got.append(fetch(source, root))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for _ in range(3):  # the first looks before the lock and behind it, the second only before
        assert looked.acquire(timeout=10)
    server.gate.set()
    for thread in threads:
        thread.join()
    assert got[0] == got[1] and len(server.asked) == 3


def test_an_archive_that_holds_more_than_the_manifest_allows_is_not_unpacked(server, root, tmp_path):
    source = archives(server, tmp_path)
    with pytest.raises(InputError, match=r"dtd.tar.gz holds more than 20.0 kB, unpacked, .*`gigabytes` in the manifest"):
        fetch(manifest(source, gigabytes={"download": 0.00001, "prepared": 0}), root)
    assert in_sight(root) == []
    fetch(manifest(source, gigabytes={"download": 0.00002, "prepared": 0.00001}), root)
    assert fetched_files(root) == WHOLE
