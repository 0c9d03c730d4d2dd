"""Captions with their noise in its measured share, and the tokenizer's merges."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
from open_clip.tokenizer import SimpleTokenizer

from tangent_lib.data.manifests import load_manifest, task_names
from tangent_lib.miniature.captions import (
    CLASSLESS,
    EVERYDAY,
    NOISE,
    UNNAMED,
    WORDING,
    WRONG,
    learn_merges,
    write_caption,
    write_merges,
)

COUNT = 4000
CLASSES = ["zebra", "okapi", "gnu", "ibex"]


@pytest.fixture(scope="module")
def captions():
    rng = np.random.default_rng(0)
    return [write_caption("Signs", "zebra", CLASSES, ["a photo of the {} of prompts."], rng, 0.1) for _ in range(COUNT)]


def share(captions, *words):
    return sum(any(word in caption for word in words) for caption in captions) / len(captions)


def test_classes_are_missing_wrong_and_right_as_often_as_said(captions):
    """A wrong class is drawn from all of them, so a quarter of these are right by chance; three standard errors."""
    close = lambda p: pytest.approx(p, abs=3 * (p * (1 - p) / COUNT) ** 0.5)
    words = list(zip(CLASSES, EVERYDAY["Signs"]))
    assert share(captions, *sum(words, ())) == close(1 - CLASSLESS)
    assert share(captions, *sum(words[1:], ())) == close(0.75 * WRONG)
    assert share(captions, *words[0]) == close(1 - CLASSLESS - 0.75 * WRONG)
    assert share(captions, *CLASSES) == close((1 - CLASSLESS) * 0.1)


def test_wording_varies_and_prompts_are_among_it(captions):
    named = [caption for caption in captions if EVERYDAY["Signs"][0] in caption]
    assert 0.1 < share(named, "of prompts.") < 0.25 and len(set(captions)) > 500
    assert not [caption for caption in captions if "{" in caption]


@pytest.mark.parametrize("formal, words", [(0.0, EVERYDAY["Signs"]), (1.0, CLASSES)])
def test_a_class_is_named_in_everyday_or_in_formal_words(formal, words):
    rng = np.random.default_rng(3)
    texts = [write_caption("Signs", "okapi", CLASSES, ["a {}"], rng, formal) for _ in range(500)]
    named = share(texts, *CLASSES, *EVERYDAY["Signs"][:4])
    assert named == share(texts, *words[:4]) and named > 0.7 and share(texts, words[1]) > 0.6


def test_every_class_has_everyday_words_of_its_own():
    for task, words in EVERYDAY.items():
        classes = load_manifest(task).classes
        assert len(set(words)) == len(words) == len(classes) and not set(words) & set(classes), task


def test_captions_repeat_with_the_seed():
    texts = [
        [write_caption("Digits", "3", ["3", "4"], ["{}"], rng, 0.5) for _ in range(20)]
        for rng in (np.random.default_rng(1), np.random.default_rng(1), np.random.default_rng(2))
    ]
    assert texts[0] == texts[1] != texts[2]


def test_every_miniature_task_has_its_wording():
    assert set(WORDING) == set(UNNAMED) == set(EVERYDAY) == set(task_names("miniature"))
    assert all(text.count("{}") == 1 for texts in WORDING.values() for text in texts)
    assert all("{" not in text for texts in UNNAMED.values() for text in texts)
    assert all(text.count("{}") <= 1 for text in NOISE)


def test_captions_without_the_class_do_not_name_it():
    for task, texts in UNNAMED.items():
        for name in load_manifest(task).classes:
            assert not [text for text in texts if f" {name} " in f" {text} "], (task, name)


def test_the_most_frequent_pair_is_merged_first():
    assert learn_merges(["low", "low", "lot"], 2) == [("l", "o"), ("lo", "w</w>")]
    assert learn_merges(["aaaa"], 9) == [("a", "a"), ("a", "a</w>"), ("aa", "aa</w>")]


def test_ties_are_broken_by_the_alphabet_whatever_the_order():
    assert learn_merges(["xy", "ab"], 1) == learn_merges(["ab", "xy"], 1) == [("a", "b</w>")]


def test_merges_end_where_all_words_are_whole():
    assert len(learn_merges(["ab", "cd"], 99)) == 2 and learn_merges([], 5) == []


def test_words_are_lower_case_and_digits_stand_alone():
    assert learn_merges(["AB ab 12"], 9) == [("a", "b</w>")]


def test_written_merges_are_read_by_open_clip_and_the_file_is_reproducible(tmp_path):
    merges = learn_merges(["a lower lower slow lowland"] * 3, 12)
    path = tmp_path / "merges.txt.gz"
    write_merges(merges, path)
    first = path.read_bytes()
    write_merges(merges, path)
    assert path.read_bytes() == first
    assert gzip.decompress(first).decode().splitlines()[1:] == [" ".join(pair) for pair in merges]
    tokenizer = SimpleTokenizer(bpe_path=str(path))
    assert len(tokenizer.encode("lower")) == 1 and len(tokenizer.encode("zzz")) == 3
    assert tokenizer.decode(tokenizer.encode("slow lower")).strip() == "slow lower"
