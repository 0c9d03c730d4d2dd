"""The door for images: no other is in the library, and what is good comes through as Pillow gives it."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from tangent_lib.data.pictures import decode
from tangent_lib.runtime.disk import ROOT
from tangent_lib.runtime.errors import InputError


def test_images_are_opened_nowhere_else():
    places = [*ROOT.glob("tangent_lib/**/*.py"), *ROOT.glob("notebooks/*.ipynb"), *ROOT.glob("benchmarks/*.py")]
    calls = ("Image.open", "imread", "decode_image", "decode_jpeg", "default_loader", "read_image", "ImageFolder(")
    found = {path.name for path in places if any(call in path.read_text(encoding="utf-8") for call in calls)}
    assert found == {"pictures.py"}


@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P", "RGBA", "LA", "CMYK", "YCbCr"])
def test_images_of_eight_bits_are_those_that_pillow_gives(mode):
    drawn = Image.fromarray(np.random.default_rng(0).integers(256, size=(5, 6, 3), dtype=np.uint8)).convert(mode)
    file = io.BytesIO()
    drawn.save(file, "TIFF" if mode in ("CMYK", "YCbCr") else "PNG")
    assert np.array_equal(np.asarray(decode(file, "x", "Own")), np.asarray(Image.open(file).convert("RGB")))


def test_photographs_with_several_pictures_give_the_first():
    first, second = (Image.new("RGB", (8, 8), (grey,) * 3) for grey in (10, 200))
    file = io.BytesIO()
    first.save(file, "MPO", save_all=True, append_images=[second])
    assert decode(file, "x", "Own").getpixel((0, 0)) == (10, 10, 10)


@pytest.mark.parametrize("most", [29, 14])  # above one and two times these Pillow warns and raises
def test_images_of_more_points_than_the_memory_is_bounded_for_are_refused(monkeypatch, most):
    file = io.BytesIO()
    Image.new("RGB", (5, 6)).save(file, "PNG")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", most)
    with pytest.raises(InputError, match=f"Own: x does not decode .*more than {most} points, .*: scale it down") as error:
        decode(file, "x", "Own")
    assert str(error.value).isprintable()
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 30)
    assert decode(file, "x", "Own").size == (5, 6)
