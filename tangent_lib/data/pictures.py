"""The one door through which image files come in: formats that are known, brought to eight bits a channel in RGB.

Pillow chooses a decoder by content, whatever a file is called, and one of them starts another program (Ghostscript for EPS).
So the formats are listed here, and nothing else in the library opens an image.
"""

from __future__ import annotations

import warnings
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from tangent_lib.runtime.errors import InputError

warnings.simplefilter("error", Image.DecompressionBombWarning)  # bounds memory; for all threads, as a context would not be
IMAGE_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
_TIFF_BITS, _TIFF_ZERO_IS_WHITE = 258, 262  # tags: bits per sample, and how grey is meant, where 0 says that zero is white


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
            why = f"its content is none of {', '.join(IMAGE_FORMATS)}"
        elif isinstance(error, Image.DecompressionBombWarning | Image.DecompressionBombError):
            why = f"it has more than {Image.MAX_IMAGE_PIXELS:,} points, the most that are read: scale it down"
        elif isinstance(error, InputError):
            why = str(error)
        raise InputError(
            f"{dataset}: {what} does not decode as an image ({why}). Put a good copy in its place, from the dataset's source"
        ) from error


def _rgb(image: Image.Image) -> Image.Image:
    """Eight bits a channel: of sixteen, or twelve, the upper eight, as Pillow itself takes them of colours."""
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        tags = image.tag_v2 if image.format == "TIFF" else {}
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
