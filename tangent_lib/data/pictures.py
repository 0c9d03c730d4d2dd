"""The one door through which image files come in: formats that are known, brought to eight bits a channel in RGB.

Pillow chooses a decoder by content, whatever a file is called, and one of them starts another program (Ghostscript for EPS).
So the formats are listed here, and nothing else in the library opens an image.
"""

from __future__ import annotations

import logging
import re
import warnings
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, TiffImagePlugin, UnidentifiedImageError

from tangent_lib.runtime.errors import InputError

warnings.simplefilter("error", Image.DecompressionBombWarning)  # bounds memory; for all threads, as a context would not be
IMAGE_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
logging.getLogger(TiffImagePlugin.__name__).addHandler(logging.NullHandler())  # what it logs, errors here say
# fmt: off
IMAGE_SUFFIXES = (  # of these formats, as Pillow has them
    ".apng", ".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".pbm", ".pfm", ".pgm", ".png", ".pnm", ".ppm", ".tif",
    ".tiff", ".webp",
)
_OTHER_SUFFIXES = (
    ".arw", ".avif", ".avifs", ".cr2", ".cr3", ".dcm", ".dds", ".dib", ".dng", ".eps", ".exr", ".hdr", ".heic", ".heif",
    ".hif", ".icns", ".ico", ".j2c", ".j2k", ".jls", ".jp2", ".jpc", ".jpf", ".jpx", ".jxl", ".jxr", ".mpo", ".nef", ".orf",
    ".pam", ".pcx", ".psd", ".qoi", ".raf", ".raw", ".rw2", ".sgi", ".svg", ".svgz", ".tga", ".xbm", ".xcf", ".xpm",
)
# fmt: on
_BEGINNINGS = re.compile(  # of image files, whatever they are called
    rb"\xff\xd8\xff|\x89PNG\r\n|GIF8[79]a|BM.{4}\0{4}|II\*\0|MM\0\*|RIFF.{4}WEBP|P[4-6]\s+\d+\s+\d+\s"
    rb"|.{4}ftyp(?:avi|he|mi|ms)|\0\0\0\x0c(?:JXL |jP  )|8BPS|v/1\x01",
    re.DOTALL,
)
_TIFF_BITS, _TIFF_ZERO_IS_WHITE = 258, 262  # tags: bits per sample, and how grey is meant, where 0 says that zero is white
_TIFF_CHANNELS = 277
_TIFF_PLANES = 284  # where 2 says that each channel lies in a plane of its own


def refuse_image(path: Path, taken: tuple[str, ...] = IMAGE_SUFFIXES) -> None:
    """Check that a file whose name has none of the endings that are taken is no image, by its name and by how it begins.

    Raises:
        InputError: if it seems to be one.
    """
    found = path.name.lower().endswith((*IMAGE_SUFFIXES, *_OTHER_SUFFIXES))
    if not found:
        with suppress(OSError), open(path, "rb") as file:
            found = _BEGINNINGS.match(file.read(64))
    if found:
        raise InputError(
            f"{path} seems to be an image, but images are taken with names that end in {', '.join(taken)} alone, and of the "
            f"formats {', '.join(IMAGE_FORMATS)}: convert or rename it, or move it out of the folder"
        )


def decode(source: Path | BytesIO, what: str, dataset: str) -> Image.Image:
    """Decode an image to RGB.

    Raises:
        InputError: if it is of no known format, damaged, or holds numbers that eight bits cannot stand for.
    """
    try:
        with Image.open(source, formats=IMAGE_FORMATS) as image:
            return _rgb(image)
    except Exception as error:  # decoders raise errors of any type on bytes that they do not expect
        why = f"{type(error).__name__}: {' '.join(str(error).split())}"
        if isinstance(error, UnidentifiedImageError):
            why = _tiff_of_another_kind(source) or f"its content is none of {', '.join(IMAGE_FORMATS)}"
        elif isinstance(error, Image.DecompressionBombWarning | Image.DecompressionBombError):
            why = f"it has more than {Image.MAX_IMAGE_PIXELS:,} points, the most that are read: scale it down"
        elif isinstance(error, InputError):
            why = str(error)
        raise InputError(
            f"{dataset}: {what} does not decode as an image ({why}). Put a good copy in its place, from the dataset's source"
        ) from error


def _tiff_of_another_kind(source: Path | BytesIO) -> str:
    """What channels a TIFF has that Pillow does not know; nothing if it is none."""
    with suppress(Exception):  # whatever the tags of a damaged one hold
        data = BytesIO(source.read_bytes() if isinstance(source, Path) else source.getvalue())
        tags = TiffImagePlugin.ImageFileDirectory_v2(data.read(8))
        data.seek(tags.next)
        tags.load(data)
        count, bits = tags.get(_TIFF_CHANNELS, 1), sorted(set(tags.get(_TIFF_BITS, (1,))))
        return (
            f"a TIFF of {count} channels of {' and '.join(map(str, bits))} bits, where grey, or red, green and blue, of 8 or "
            "16 unsigned bits are taken: write those channels into a file of their own"
        )
    return ""


def _rgb(image: Image.Image) -> Image.Image:
    """Eight bits a channel: of sixteen, or twelve, the upper eight, as Pillow itself takes them of colours.

    Pillow reads uncompressed planes of a TIFF as bytes whose zero is black, whatever they are: sixteen bits come out black.
    """
    tags = image.tag_v2 if image.format == "TIFF" else {}
    planes = tags.get(_TIFF_PLANES) == 2 and image.tile[0].codec_name == "raw"
    if planes and (set(tags.get(_TIFF_BITS, (1,))) != {8} or tags.get(_TIFF_ZERO_IS_WHITE) == 0):
        raise InputError(
            "of TIFFs whose channels lie in planes of their own, uncompressed, only those of 8 bits a channel with zero for "
            "black are taken: write it anew with interleaved channels (GDAL: INTERLEAVE=PIXEL), or compressed"
        )
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        bits = tags.get(_TIFF_BITS, (16,))[0]
        values = np.asarray(image).astype(np.uint16) >> (bits - 8)
        if tags.get(_TIFF_ZERO_IS_WHITE) == 0:
            values = 255 - values
        return Image.fromarray(values.astype(np.uint8)).convert("RGB")
    if image.mode in ("F", "I"):
        held = {"F": "floating-point numbers", "I": "signed or 32-bit integers"}[image.mode]
        raise InputError(f"it holds {held}, whose white is not known: 8 or 16 bits a channel, unsigned, are taken")
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # the palette's own colours; straight to RGB Pillow warns
    return image.convert("RGB")
