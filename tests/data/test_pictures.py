"""The door for images: no other is in the library, and what is good comes through as Pillow gives it."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from PIL import Image

from tangent_lib.data.pictures import IMAGE_FORMATS, IMAGE_SUFFIXES, decode, refuse_image
from tangent_lib.runtime.disk import ROOT
from tangent_lib.runtime.errors import InputError


def test_images_are_opened_nowhere_else():
    places = [*ROOT.glob("tangent_lib/**/*.py"), *ROOT.glob("notebooks/*.ipynb"), *ROOT.glob("benchmarks/*.py")]
    calls = ("Image.open", "imread", "decode_image", "decode_jpeg", "default_loader", "read_image", "ImageFolder(")
    found = {path.name for path in places if any(call in path.read_text(encoding="utf-8") for call in calls)}
    assert found == {"pictures.py"}


def test_endings_of_image_files_are_those_that_pillow_knows_of_the_formats():
    of_formats = [suffix for suffix, name in Image.registered_extensions().items() if name in IMAGE_FORMATS]
    assert sorted(of_formats) == list(IMAGE_SUFFIXES)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("x.HEIC", b""),
        ("x.avif", b""),
        ("x.svg", b"<svg/>"),
        ("x", b"\xff\xd8\xff\xe0"),
        ("x.png~", b"\x89PNG\r\n\x1a\n"),
        ("x.jpg_large", b"RIFF\0\0\0\0WEBPVP8 "),
        ("x.bin", b"\0\0\0\x20ftypheic"),
        ("x.dat", b"P6\n8 8\n255\n"),
    ],
)
def test_what_seems_to_be_an_image_and_is_not_taken_is_refused_by_name(name, data, tmp_path):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=f"{name} seems to be an image, .* end in .apng, .bmp, .*convert or rename it"):
        refuse_image(tmp_path / name)


@pytest.mark.parametrize("data", [b"", b"BM is a museum", b"P6 is not a picture", b"\xff\xfea\0", b"II* and MM"])
def test_other_files_are_no_images(data, tmp_path):
    (tmp_path / "notes.txt").write_bytes(data)
    refuse_image(tmp_path / "notes.txt")


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


def test_a_tiff_of_more_channels_is_refused_by_their_number_and_nothing_else_is_printed(capfd):
    tags = {256: 1, 257: 1, 258: 8, 259: 1, 262: 1, 273: 8, 277: 13, 278: 1, 279: 13}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    data = b"II*\0" + struct.pack("<I", 21) + bytes(13) + struct.pack("<H", len(tags)) + entries + bytes(4)
    with pytest.raises(InputError, match="a TIFF of 13 channels of 8 bits, where grey"):
        decode(io.BytesIO(data), "x", "Own")
    assert capfd.readouterr() == ("", "")


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
