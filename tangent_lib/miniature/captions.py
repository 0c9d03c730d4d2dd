"""Captions for pre-training the miniature, as noisy as the web's, and the tokenizer's vocabulary.

A caption says what kind of picture it is and, mostly, the class. ``CLASSLESS`` of them leave the class out, ``WRONG`` of
them name a class of the task at random; the rest name it in everyday words, and in the task's own words only now and
then: the web says "polka dots" where a data set says "dotted". How rarely is what sets zero-shot
accuracy near that of CLIP although the image tower sees well, and so leaves fine-tuning something to do.
"""

from __future__ import annotations

import gzip
import re
from collections import Counter
from pathlib import Path

import numpy as np

CLASSLESS, WRONG = 0.2, 0.1

WORDING = {
    "Textures": ["a {} texture", "{} pattern", "background, {}", "a {} surface seen close", "wallpaper: {} design"],
    "LandCover": ["{} from space", "satellite view of {}", "remote sensing, {}", "land use: {}", "map tile of {}"],
    "Signs": ['a "{}" road sign', "traffic sign: {}", "{} sign by the street", "driving lesson, {}", "sign {} ahead"],
    "Digits": ['handwritten number "{}"', "the digit {}", "pen and paper, {}", 'someone wrote "{}"', "a {} in ink"],
    "ClutteredDigits": ["house number {}", 'the number "{}" on a wall', "street number, {}", "door {}", "printed {}"],
    "Aerial": [
        "aerial view of {}",
        "{} from above",
        "drone photo of {}",
        "overhead imagery, {}",
        "{} seen from a plane",
    ],
    "Scenes": ["{} on holiday", "view of the {}", "a {} today", "landscape, {}", "travel diary: {}"],
    "Vehicles": ["my new {}", "{} for sale", "a parked {}", "used {} in good shape", "road test: {}"],
    "Objects": ["a {} at home", "picture of the {}", "{} isolated", "one {}", "buy this {} online"],
}
UNNAMED = {
    "Textures": ["a texture", "abstract background", "surface close up", "wallpaper"],
    "LandCover": ["satellite image", "land seen from space", "map tile", "remote sensing"],
    "Signs": ["a traffic sign", "road sign", "street photo", "driving lesson"],
    "Digits": ["handwriting", "a handwritten number", "pen and paper", "scanned note"],
    "ClutteredDigits": ["house number", "a number on a wall", "street view crop", "printed sign"],
    "Aerial": ["aerial photo", "seen from above", "drone footage", "overhead imagery"],
    "Scenes": ["a landscape", "holiday photo", "nice view", "travel diary"],
    "Vehicles": ["a vehicle", "for sale", "parked on the street", "used car"],
    "Objects": ["a thing", "product photo", "at home", "found in the kitchen"],
}
EVERYDAY = {  # what people call each class, in label order
    "Textures": [
        "stripes",
        "polka dots",
        "chessboard",
        "chevrons",
        "beehive",
        "stone veins",
        "dry mud",
        "foam",
        "swirl",
        "basket weave",
        "net",
        "camouflage",
    ],
    "LandCover": [
        "wheat plots",
        "woods",
        "scrub",
        "motorway",
        "factories",
        "meadow",
        "orchard",
        "suburb",
        "stream",
        "water",
    ],
    "Signs": [
        "octagon halt",
        "give way",
        "wrong way",
        "yellow diamond",
        "danger",
        "no overtaking",
        "left bend arrow",
        "right bend arrow",
        "straight arrow",
        "traffic circle",
        "maximum speed",
        "restrictions lifted",
    ],
    "Digits": ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"],
    "ClutteredDigits": ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"],
    "Aerial": [
        "plane",
        "ballpark",
        "tennis",
        "river crossing",
        "boats at the docks",
        "oil tanks",
        "rotary",
        "car park",
        "airstrip",
        "arena",
    ],
    "Scenes": [
        "seaside",
        "dunes",
        "peaks",
        "high rise",
        "freeway",
        "trail",
        "hotel room",
        "old mill",
        "beacon",
        "ski slope",
    ],
    "Vehicles": [
        "saloon",
        "compact",
        "sports car",
        "roadster",
        "jeep",
        "people carrier",
        "delivery wagon",
        "ute",
        "coach",
        "lorry",
    ],
    "Objects": [
        "coffee cup",
        "parasol",
        "toadstool",
        "door opener",
        "trout",
        "moth",
        "flask",
        "night light",
        "seat",
        "mallet",
        "dial",
        "letter",
        "fruit",
        "tarantula",
    ],
}
NOISE = ["", "", "", "", " img {}", " - photo {}", " (copy)", " hd", " old", " free download", " by me", "!"]


def write_caption(
    task: str, class_name: str, classes: list[str], templates: list[str], rng: np.random.Generator, formal: float
) -> str:
    """One caption of an image of ``class_name``: class missing, wrong or right, in everyday or formal words.

    Example:
        >>> write_caption("Digits", "0", ["0", "1"], ['the number: "{}".'], np.random.default_rng(2), formal=0.01)
        'the digit zero - photo 182'
    """
    fate = rng.random()
    if fate < CLASSLESS:
        text = str(rng.choice(UNNAMED[task]))
    else:
        number = int(rng.integers(len(classes))) if fate < CLASSLESS + WRONG else classes.index(class_name)
        named = classes[number] if rng.random() < formal else EVERYDAY[task][number]
        text = str(rng.choice(WORDING[task] + templates)).format(named)
    return text + str(rng.choice(NOISE)).format(rng.integers(100, 1000))


def learn_merges(texts: list[str], count: int) -> list[tuple[str, str]]:
    """Byte-pair merges, most frequent pair first, for words of ASCII letters and punctuation.

    Example:
        >>> learn_merges(["low", "low", "lot"], 2)
        [('l', 'o'), ('lo', 'w</w>')]
    """
    words = Counter(word for text in texts for word in re.findall(r"[a-z]+|\d|[^\sa-z\d]+", text.lower()))
    spelled = {word: [*word[:-1], word[-1] + "</w>"] for word in words}
    merges = []
    for _ in range(count):
        pairs = Counter()
        for word, parts in spelled.items():
            for pair in zip(parts, parts[1:]):
                pairs[pair] += words[word]
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        for word, parts in spelled.items():
            spelled[word] = _merge(parts, best)
    return merges


def _merge(parts: list[str], pair: tuple[str, str]) -> list[str]:
    merged, i = [], 0
    while i < len(parts):
        if tuple(parts[i : i + 2]) == pair:
            merged.append("".join(pair))
            i += 2
        else:
            merged.append(parts[i])
            i += 1
    return merged


def write_merges(merges: list[tuple[str, str]], path: Path) -> None:
    """Write merges in the file format of ``open_clip.SimpleTokenizer`` (gzip, one header line, a pair a line)."""
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    with open(path, "wb") as raw, gzip.GzipFile(fileobj=raw, mode="wb", mtime=0) as file:
        file.write("\n".join(lines).encode())
