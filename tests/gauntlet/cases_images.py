"""Bit depths, colours and formats of images: 64 levels from black upwards, in 8 x 8 points, or a refusal."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from cases import Case
from cases_trees import tree
from PIL import Image

from tangent_lib.data.pictures import decode
from tangent_lib.data.prepare import prepare

DEPTH, FORMATS = "bit depths and colours of images", "image files that are something else"

GREY = (np.arange(64, dtype=np.uint16) * 1024).reshape(8, 8)
LEVELS = (GREY >> 8).astype(np.uint8)


def saved(image: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png(values: np.ndarray, colour: int) -> bytes:
    """A PNG of 16 bits a channel."""
    chunk = lambda name, data: struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    head = struct.pack(">IIBBBBB", *values.shape[1::-1], 16, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def tiff(data: bytes, order: str = "<", bits: int = 16, black: int = 1, numbers: int = 1) -> bytes:
    """A TIFF of one channel; ``black`` is 0 where zero means white, ``numbers`` 1 unsigned, 2 signed, 3 floating-point."""
    tags = {256: 8, 257: 8, 258: bits, 259: 1, 262: black, 273: 8, 277: 1, 278: 8, 279: len(data), 339: numbers}
    entries = b"".join(struct.pack(f"{order}HHII", tag, 4, 1, value) for tag, value in tags.items())
    mark = b"II*\0" if order == "<" else b"MM\0*"
    return mark + struct.pack(f"{order}I", 8 + len(data)) + data + struct.pack(f"{order}H", len(tags)) + entries + bytes(4)


def planes(values: np.ndarray, channels: int = 3, bits: int = 16, meant: int = 2, packed: bool = False) -> bytes:
    """A TIFF whose channels lie in planes of their own, all of them the same."""
    plane = zlib.compress(values.tobytes()) if packed else values.tobytes()
    plane += bytes(len(plane) % 2)
    places = [8 + i * len(plane) for i in range(channels)]
    lists = struct.pack(f"<{channels}H", *[bits] * channels) + struct.pack(
        f"<{2 * channels}I", *places, *[len(plane)] * channels
    )
    behind = 8 + channels * len(plane)
    at = [behind, behind + 2 * channels, behind + 6 * channels] if channels > 1 else [bits, 8, len(plane)]
    tags = {
        256: 8,
        257: 8,
        258: at[0],
        259: 8 if packed else 1,
        262: meant,
        273: at[1],
        277: channels,
        278: 8,
        279: at[2],
        284: 2,
    }
    kinds = {258: (3, channels), 273: (4, channels), 279: (4, channels)}
    entries = b"".join(struct.pack("<HHII", tag, *kinds.get(tag, (4, 1)), value) for tag, value in tags.items())
    head = b"II*\0" + struct.pack("<I", behind + len(lists))
    return head + plane * channels + lists + struct.pack("<H", len(tags)) + entries + bytes(4)


def levels(data: bytes) -> object:
    """Whether the 64 levels come out, the same in all channels."""
    pixels = np.asarray(decode(io.BytesIO(data), "it", "Own"))
    return "64 levels" if np.array_equal(pixels, np.repeat(LEVELS[..., None], 3, 2)) else pixels[..., 0].tolist()


def of(data: bytes) -> Callable[[Path], object]:
    return lambda folder: levels(data)


def twelve_bits() -> bytes:
    pairs = (GREY >> 4).reshape(-1, 2).tolist()
    return b"".join(bytes([a >> 4, (a & 15) << 4 | b >> 8, b & 255]) for a, b in pairs)


COLOUR, PALE = Image.fromarray(LEVELS).convert("RGB"), Image.fromarray(LEVELS)
DEEP = [
    ("PNG of 16 bits", saved(Image.fromarray(GREY), "PNG")),
    ("PNG of 16 bits a colour", png(np.repeat(GREY[..., None], 3, 2), 2)),
    ("PNG of 16 bits with transparency", png(np.stack([GREY, GREY], 2), 4)),
    ("PGM up to 65535", b"P5 8 8 65535\n" + GREY.astype(">u2").tobytes()),
    ("PGM up to 1023", b"P5 8 8 1023\n" + (GREY >> 6).astype(">u2").tobytes()),
    ("TIFF of 16 bits", tiff(GREY.tobytes())),
    ("TIFF of 16 bits, big-endian", tiff(GREY.astype(">u2").tobytes(), ">")),
    ("TIFF of 16 bits, compressed", saved(Image.fromarray(GREY), "TIFF", compression="tiff_lzw")),
    ("TIFF of 16 bits, zero white", tiff((65535 - GREY).tobytes(), black=0)),
    ("TIFF of 12 bits", tiff(twelve_bits(), bits=12)),
    ("TIFF in planes of 8 bits", planes(LEVELS, bits=8)),
    ("TIFF in planes of 16 bits, compressed", planes(GREY, packed=True)),
    ("TIFF in a plane of 8 bits, zero white, compressed", planes(255 - LEVELS, 1, 8, 0, packed=True)),
    ("palette with transparency", saved(PALE.convert("P"), "PNG", transparency=bytes(range(64)))),
    ("grey with transparency", saved(PALE, "PNG", transparency=3)),
    ("CMYK in a TIFF", saved(COLOUR.convert("CMYK"), "TIFF")),
    ("RGBA in a PNG", saved(COLOUR.convert("RGBA"), "PNG")),
    ("WebP", saved(COLOUR, "WEBP", lossless=True)),
    ("GIF", saved(PALE, "GIF")),
    ("BMP", saved(COLOUR, "BMP")),
]
NUMBERS = [
    ("TIFF of floats", tiff(GREY.astype("f4").tobytes(), bits=32, numbers=3), "floating-point"),
    ("PFM", b"Pf\n8 8\n-1.0\n" + GREY.astype("<f4").tobytes(), "floating-point"),
    ("TIFF of doubles", tiff(GREY.astype("f8").tobytes(), bits=64, numbers=3), "1 channels of 64 bits"),
    ("TIFF of halves", tiff(GREY.astype("f2").tobytes(), numbers=3), "1 channels of 16 bits"),
    ("TIFF of signed numbers", tiff(GREY.astype("i2").tobytes(), numbers=2), "signed"),
    ("TIFF in planes of 16 bits", planes(GREY), "planes of their own"),
    ("TIFF in four planes of 16 bits", planes(GREY, 4, meant=5), "planes of their own"),
    ("TIFF in a plane of 16 bits", planes(GREY, 1, meant=1), "planes of their own"),
    ("TIFF in a plane of 8 bits, zero white", planes(255 - LEVELS, 1, 8, 0), "planes of their own"),
    ("TIFF of 13 channels", planes(GREY, 13, meant=1), "a TIFF of 13 channels of 16 bits"),
    ("TIFF of 32 bits", tiff(GREY.astype("u4").tobytes(), bits=32), "signed or 32-bit"),
]
OTHERS = {kind: saved(COLOUR, kind) for kind in ("EPS", "ICO", "PCX", "PDF", "SGI", "TGA", "JPEG2000")}


def named_jpg(data: bytes) -> Callable[[Path], object]:
    """A dataset with one image of this content, called x.jpg, prepared."""

    def run(folder: Path) -> object:
        (tree(folder) / "train/a/x.jpg").write_bytes(data)
        return prepare("Own", folder, download=False, progress=False).counts

    return run


def in_one_bit(folder: Path) -> list[int]:
    image = Image.fromarray(np.array([[0, 255]], np.uint8)).convert("1")
    return np.asarray(decode(io.BytesIO(saved(image, "PNG")), "it", "Own"))[0, :, 0].tolist()


CASES = [
    *(Case(DEPTH, name, of(data), right="64 levels") for name, data in DEEP),
    *(Case(DEPTH, name, of(data), refused=why) for name, data, why in NUMBERS),
    Case(DEPTH, "one bit", in_one_bit, right=[0, 255]),
    *(Case(FORMATS, f"{kind} called .jpg", named_jpg(data), refused="x.jpg does not decode .*none of BMP")
      for kind, data in OTHERS.items()),
    Case(FORMATS, "a page called .jpg", named_jpg(b"<html></html>"), refused="x.jpg does not decode"),
    Case(FORMATS, "an empty .jpg", named_jpg(b""), refused="x.jpg does not decode"),
    Case(FORMATS, "PNG called .jpg", named_jpg(saved(COLOUR, "PNG")), right={"val": [0, 1], "test": [2, 2], "train": [7, 5]}),
]  # fmt: skip
