"""One file by HTTP: a broken download is continued where it stopped, and what came is checked before it gets its name.

While it comes, ``name.part`` holds the first bytes and ``name.part.json`` says of which version of the file: it is
continued only while the server still has that version.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from pathlib import Path

import requests
import urllib3
from tqdm import tqdm

from tangent_lib.data.unpack import BYTES_BAR
from tangent_lib.runtime.disk import free_bytes, full_disk, in_words, is_full
from tangent_lib.runtime.errors import InputError

BYTES_AT_A_TIME = 1 << 16
HTTP_TIMEOUTS = (10, 60)  # seconds to connect, seconds without a byte
WAITS = (1, 2, 4, 8)  # seconds before each new try; more bytes than ever before start the count anew
PASSING = (429, 500, 502, 503, 504)  # what a server answers when a later try may do


class _Broken(Exception):
    """The connection broke off; ``answered`` says whether the server had answered."""

    def __init__(self, reason: str, answered: bool = True):
        super().__init__(reason)
        self.answered = answered


def fetch_file(url: str, path: Path, md5: str | None = None, sha256: str | None = None) -> str:
    """Bring one file to ``path``, unless it is there with the right checksum."""
    expected = {"md5": md5, "sha256": sha256}
    if path.is_file():
        found = _digests(path)
        if not _wrong(found, expected):
            return found["sha256"]
    part = path.with_name(f"{path.name}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    _bring(url, part)
    found = _digests(part)
    for name in _wrong(found, expected):
        part.unlink()
        _notes(part).unlink()
        raise InputError(
            f"{path.name} from {url} has the {name} checksum {found[name]}, not {expected[name]}: it was removed. "
            "Either the file has changed there, or the manifest is mistaken"
        )
    os.replace(part, path)
    _notes(part).unlink()
    return found["sha256"]


def _digests(path: Path) -> dict[str, str]:
    hashers = {"md5": hashlib.md5(usedforsecurity=False), "sha256": hashlib.sha256()}
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            for hasher in hashers.values():
                hasher.update(chunk)
    return {name: hasher.hexdigest() for name, hasher in hashers.items()}


def _wrong(found: dict[str, str], expected: dict[str, str | None]) -> list[str]:
    return [name for name, value in expected.items() if value is not None and value.lower() != found[name]]


def _bring(url: str, part: Path) -> None:
    """Ask again, from where it broke off, until all is there or several tries in a row bring nothing more."""
    most, waits, answered = -1, iter(WAITS), False
    with requests.Session() as session:
        while True:
            try:
                return _ask(session, url, part)
            except _Broken as error:
                answered = answered or error.answered
                if not answered:
                    raise InputError(f"the server cannot be reached ({error})") from error
                size = part.stat().st_size if part.exists() else 0
                if size > most:
                    most, waits = size, iter(WAITS)
                wait = next(waits, None)
                if wait is None:
                    raise InputError(
                        f"the connection broke off again and again, at last after {size} bytes ({error}); what came "
                        "is kept, and is continued when this is run again"
                    ) from error
                time.sleep(wait)


def _ask(session: requests.Session, url: str, part: Path) -> None:
    """One request, and all bytes that it brings."""
    version = _version(url, part)
    have = part.stat().st_size if version else 0
    if version and version["total"] == have:
        return
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
        if version["validator"]:
            headers["If-Range"] = version["validator"]  # "the rest if it is still this version, else all of it"
    try:
        response = session.get(url, headers=headers, stream=True, timeout=HTTP_TIMEOUTS)
    except requests.RequestException as error:
        raise _Broken(_reason(error), answered=False) from error
    with response:
        status = response.status_code
        if status in PASSING:
            raise _Broken(f"it answers {status} {response.reason}")
        if status == 200:
            return _write(response, part, 0, _new_version(response, url, part))
        if status not in (206, 416) or not have:
            raise InputError(f"the server answers {status} {response.reason}")
        start, total = _range(response)
        if version["total"] in (None, total):
            if status == 416 and total == have:
                return
            if status == 206 and start == have:
                return _write(response, part, have, {**version, "total": total})
    part.unlink()  # of another version than the server has
    _ask(session, url, part)


def _notes(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _version(url: str, part: Path) -> dict | None:
    """What is known of the file whose first bytes lie there, or None if they cannot be used."""
    try:
        version = json.loads(_notes(part).read_text())
        return version if part.is_file() and version["url"] == url else None
    except (FileNotFoundError, ValueError):
        return None


def _new_version(response: requests.Response, url: str, part: Path) -> dict:
    if response.headers.get("Content-Type", "").startswith("text/html") and ".htm" not in part.name:
        raise InputError("the server sends a web page in place of the file")
    etag = response.headers.get("ETag", "")
    validator = etag if etag.startswith('"') else response.headers.get("Last-Modified")  # weak tags are not for ranges
    return {"url": url, "validator": validator, "total": _length(response)}


def _length(response: requests.Response) -> int | None:
    length = response.headers.get("Content-Length", "")
    return int(length) if length.isdecimal() else None


def _range(response: requests.Response) -> tuple[int | None, int | None]:
    """The first byte and the size of the whole file, as far as the answer says."""
    match = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)", response.headers.get("Content-Range", "").strip())
    start, total = match.groups() if match else (None, None)
    return (int(start) if start else None), (int(total) if total and total != "*" else None)


def _write(response: requests.Response, part: Path, have: int, version: dict) -> None:
    """Write the bytes as they come, undecoded: an archive labelled as gzip-encoded must stay an archive."""
    name, total = part.name.removesuffix(".part"), version["total"]
    if total is not None and total - have > free_bytes(part):
        raise full_disk(f"{name}, of which {in_words(have)} are there,", total - have, part.parent)
    try:
        with part.open("ab" if have else "wb") as file, tqdm(total=total, initial=have, desc=name, **BYTES_BAR) as bar:
            _notes(part).write_text(json.dumps(version))  # after the old bytes are gone
            while chunk := response.raw.read(BYTES_AT_A_TIME, decode_content=False):
                have += file.write(chunk)
                bar.update(len(chunk))
    except urllib3.exceptions.HTTPError as error:
        raise _Broken(_reason(error)) from error
    except OSError as error:
        if is_full(error):
            missing = BYTES_AT_A_TIME if total is None else total - have
            raise full_disk(f"the rest of {name} (what came is kept)", missing, part.parent) from error
        raise InputError(f"{part} cannot be written ({error.strerror})") from error
    if total is not None and have < total:
        raise _Broken("the server ended it early")


def _reason(error: Exception) -> str:
    """The innermost cause, without addresses of objects and the like."""
    inner = error.args[0] if error.args else error
    inner = getattr(inner, "reason", inner)
    return str(inner).split(">: ")[-1].split("): ", 1)[-1]
