"""Words moved towards their synonyms: the formula, the file, the dictionaries, the script that builds it."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from facelex import Vocabulary
from facelex.emotions import EMOTION_WORDS
from facelex.errors import FacelexError
from facelex.recognize.words import create_scorer
from facelex.vocabulary import Thesaurus
from facelex.vocabulary.packed import words_digest
from facelex.vocabulary.thesaurus import PACKAGED, Lists, load_thesaurus, save_thesaurus

ROOT = Path(__file__).parents[2]
WORDS = ["glad", "joyful", "merry", "table", "cheer", "sing", "singing"]


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


@pytest.fixture(scope="module")
def plain() -> Vocabulary:
    return Vocabulary(WORDS, np.random.default_rng(0).normal(size=(len(WORDS), 5)), "made")


@pytest.fixture(scope="module")
def thesaurus() -> Thesaurus:
    wordnet = Lists.of([[1, 2], [], [], [], [], [4], []])
    moby = Lists.of([[2, 4], [0], [], [], [], [], []])
    return Thesaurus(WORDS, wordnet, moby, np.array([-1, -1, -1, -1, -1, -1, 5]))


def test_a_word_is_moved_by_what_both_dictionaries_relate_to_it(
    plain: Vocabulary, thesaurus: Thesaurus
) -> None:
    moved = plain.retrofitted(thesaurus)
    glad, joyful, merry, _, cheer, *_ = np.float64(plain.vectors)
    wordnet = _unit(joyful + merry / np.sqrt(2))  # the closest first
    expected = _unit(glad + wordnet + 0.5 * _unit(merry + cheer))
    np.testing.assert_allclose(moved.vector("Glad"), expected, atol=1e-6)
    np.testing.assert_allclose(moved.vector("joyful"), _unit(joyful + 0.5 * glad), atol=1e-6)
    np.testing.assert_allclose(moved.vectors[0], expected, atol=1e-6)
    np.testing.assert_allclose(
        moved.phrase("glad table"), (moved.vector("glad") + moved.vector("table")) / 2, atol=1e-6
    )


def test_words_without_synonyms_and_the_plain_vocabulary_stay_as_they_are(
    plain: Vocabulary, thesaurus: Thesaurus
) -> None:
    before = plain.vectors.copy()
    moved = plain.retrofitted(thesaurus)
    np.testing.assert_array_equal(moved.vector("table"), plain.vector("table"))
    assert not np.allclose(moved.vector("glad"), plain.vector("glad"))
    np.testing.assert_array_equal(plain.vectors, before)
    np.testing.assert_array_equal(plain.vector("glad"), before[0])
    assert (moved.words, moved.name, moved.dim) == (plain.words, plain.name, plain.dim)


def test_a_form_that_no_dictionary_has_is_related_as_its_base_and_to_it(
    plain: Vocabulary, thesaurus: Thesaurus
) -> None:
    assert thesaurus.related("singing") == (("sing", "cheer"), ())
    assert thesaurus.related("unheard") == ((), ())
    sing, cheer = plain.vector("sing"), plain.vector("cheer")
    expected = _unit(plain.vector("singing") + _unit(sing + cheer / np.sqrt(2)))
    np.testing.assert_allclose(plain.retrofitted(thesaurus).vector("singing"), expected, atol=1e-6)


def test_another_vocabulary_takes_the_related_words_that_it_has(thesaurus: Thesaurus) -> None:
    other = Vocabulary(["Glad", "merry", "chair"], np.eye(3), "other")
    glad, merry, chair = np.eye(3)
    moved = other.retrofitted(thesaurus)
    np.testing.assert_allclose(moved.vector("Glad"), _unit(glad + 1.5 * merry), atol=1e-6)
    np.testing.assert_allclose(moved.vector("chair"), chair)


def test_opposite_synonyms_leave_a_word_where_it_is() -> None:
    words = Vocabulary(["torn", "up", "down"], np.array([[0.0, 1], [1, 0], [-1, 0]]), "made")
    thesaurus = Thesaurus(words.words, Lists.of([[], [], []]), Lists.of([[1, 2], [], []]), np.full(3, -1))
    np.testing.assert_allclose(words.retrofitted(thesaurus).vector("torn"), [0, 1])


def test_relatives_without_a_direction_move_nothing() -> None:
    words = Vocabulary(["torn", "up", "void"], np.array([[0.0, 1], [1, 0], [0, 0]]), "made")
    for lists in ([[1, 2], [], []], [[2, 1], [], []], [[2], [], []]):
        thesaurus = Thesaurus(words.words, Lists.of([[], [], []]), Lists.of(lists), np.full(3, -1))
        expected = _unit(np.array([0.5 * (1 in lists[0]), 1]))
        np.testing.assert_allclose(words.retrofitted(thesaurus).vector("torn"), expected, atol=1e-6)


def test_a_small_vocabulary_is_moved_at_once_as_word_by_word(
    plain: Vocabulary, thesaurus: Thesaurus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("facelex.vocabulary.vocabulary._PART", 3)
    moved = plain.retrofitted(thesaurus)
    one_by_one = np.stack([moved.vector(word) for word in WORDS])
    np.testing.assert_allclose(moved.vectors, one_by_one, atol=1e-6)
    assert moved.nearest("glad", 1)[0][0] == WORDS[int(np.argsort(-(one_by_one @ one_by_one[0]))[1])]


def test_lists_survive_their_file_and_a_damaged_one_says_so(tmp_path: Path) -> None:
    words = [f"w{i}" for i in range(70_000)]
    lists = [[] for _ in words]
    lists[3], lists[69_999] = [69_999, 0, 65_536], [1]
    path = tmp_path / "t.npz"
    bases = np.full(len(words), -1)
    bases[66_000] = 69_999
    made = Thesaurus(words, Lists.of(lists), Lists.of(lists[::-1]), bases)
    save_thesaurus(path, made)
    read = load_thesaurus(path, words)
    assert read.related("w3").wordnet == ("w69999", "w0", "w65536")
    assert read.related("w66000") == (("w69999", "w1"), ())
    assert read.related("w0") == ((), ("w1",))
    assert read.fingerprint == made.fingerprint
    assert read.fingerprint != Thesaurus(words, Lists.of(lists), Lists.of(lists), bases).fingerprint
    assert [file.name for file in tmp_path.iterdir()] == ["t.npz"]
    with pytest.raises(FacelexError, match=r"made for another vocabulary.*Install facelex again"):
        load_thesaurus(path, words[1:])
    np.savez(path, words_digest=words_digest(words), wordnet_counts=np.uint8([1]))
    with pytest.raises(FacelexError, match=r"Cannot read the thesaurus t\.npz"):
        load_thesaurus(path, words)
    path.write_bytes(b"PK")
    with pytest.raises(FacelexError, match="Install facelex again"):
        load_thesaurus(path, words)


def test_packaged_thesaurus_is_whole_and_the_documented_one() -> None:
    thesaurus = Thesaurus.packaged()
    words = thesaurus.words
    assert words == Vocabulary.packaged().words
    for one in thesaurus.lists:
        assert one.numbers.min() >= 0
        assert one.numbers.max() < len(words)
        owners = np.repeat(np.arange(len(words)), np.diff(one.starts))
        assert (one.numbers != owners).all()
    documented = (ROOT / "docs" / "words.md").read_text(encoding="utf-8")
    assert thesaurus.fingerprint in documented
    notice = PACKAGED.with_name("thesaurus.NOTICE.txt").read_text(encoding="utf-8")
    assert "WordNet 3.1 Copyright 2011 by Princeton University" in notice


@pytest.mark.parametrize(
    ("word", "like", "unlike"),
    [("gleeful", "joyful", "malicious"), ("frightful", "fearful", "good"), ("irate", "angry", "calm")],
)
def test_feelings_lie_by_their_synonyms(word: str, like: str, unlike: str) -> None:
    plain = Vocabulary.packaged()
    moved = plain.retrofitted()
    gain = moved.vector(word) @ moved.vector(like) - plain.vector(word) @ plain.vector(like)
    assert gain > 0.15
    assert moved.vector(word) @ moved.vector(like) > moved.vector(word) @ moved.vector(unlike) + 0.2


@pytest.mark.parametrize(
    ("word", "base"),
    [("hates", "hate"), ("stares", "stare"), ("cares", "care"), ("soothed", "soothe"), ("glades", "glade")],
)
def test_inflected_words_have_the_base_that_is_meant(word: str, base: str) -> None:
    related = Thesaurus.packaged().related(word)
    assert related.wordnet[0] == base
    assert related.moby[0] == base


def test_faces_are_asked_with_moved_words_unless_vectors_are_given() -> None:
    plain = Vocabulary.packaged()
    dim, embed = plain.dim, 4
    weights = np.random.default_rng(0).normal(size=(embed, dim)).astype(np.float32)
    arrays = {
        "text_center": np.zeros(dim, np.float32),
        "text_weight1": np.concatenate([weights, -weights]),
        "text_bias1": np.zeros(2 * embed, np.float32),
        "text_weight2": np.concatenate([np.eye(embed), -np.eye(embed)], axis=1).astype(np.float32),
        "text_bias2": np.zeros(embed, np.float32),
        "feature_mean": np.zeros(embed, np.float32),
        "feature_cov": np.eye(embed, dtype=np.float32),
    }  # fmt: skip
    for given, asked in ((None, plain.retrofitted()), (plain, plain)):
        features = create_scorer(arrays, plain.name, given).text_features("gleeful")
        np.testing.assert_allclose(features[0], _unit(weights @ asked.vector("gleeful")), atol=1e-5)


def test_script_builds_from_the_dictionaries_files(tmp_path: Path) -> None:
    # WordNet's format: place, file, kind, number of words (hex), words, number of pointers, pointers, gloss
    (tmp_path / "data.adj").write_text(
        "  1 This software and database is being provided to you\n"
        "00000100 00 a 03 happy 0 glad(p) 0 so_happy 0 002 & 00000200 a 0000 + 00000300 n 0101 | joy\n"
        "00000200 00 s 01 cheerful 0 001 & 00000100 a 0000 | in good spirits\n"
        "00000400 00 a 02 glad 0 bright 0 000 | of a smile\n"
    )
    (tmp_path / "data.noun").write_text(
        "00000300 12 n 01 joy 0 001 @ 00000500 n 0000 | a feeling\n00000500 12 n 01 emotion 0 000 | any\n"
    )
    for name in ("verb", "adv"):
        (tmp_path / f"data.{name}").write_text("")
    (tmp_path / "index.sense").write_text(
        "bright%3:00:01:: 00000400 1 0\ncheerful%5:00:00:happy:00 00000200 1 0\n"
        "glad%3:00:00:: 00000100 1 20\nglad%3:00:01:: 00000400 2 0\nhappy%3:00:00:: 00000100 1 30\n"
        "joy%1:12:00:: 00000300 1 5\nemotion%1:12:00:: 00000500 1 9\n"
    )
    moby = tmp_path / "words.txt"
    moby.write_text("happy,glad,Cheerful,unheard-of word,joyful,happy\njoy,emotion\n", encoding="latin-1")
    output = tmp_path / "thesaurus.npz"

    command = [sys.executable, ROOT / "tools" / "build_thesaurus.py", tmp_path, moby, "-o", output]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout

    words = Vocabulary.packaged().words
    built = load_thesaurus(output, words)
    happy, glad = built.related("happy"), built.related("glad")
    assert set(happy.wordnet) == {"glad", "cheerful", "joy"}  # the whole sense, similar and derived words
    assert set(happy.moby) == {"glad", "cheerful", "joyful"}
    # the frequent sense of "glad" goes first; "joy" is derived from "happy" alone
    assert glad.wordnet == ("happy", "cheerful", "bright")
    assert built.related("joy") == (("emotion",), ())  # one synonym has no middle
    assert built.related("emotion") == ((), ())
    assert built.related("happier") == (("happy", *happy.wordnet), ("happy", *happy.moby))
    assert built.related("joys") == (("joy", "emotion"), ())
    assert f"10 words for 5 of {len(words):,}" in printed


@pytest.mark.data
def test_new_synonyms_find_their_faces_better_when_moved() -> None:
    from facelex import Recognizer
    from facelex.data.dataset import FaceDataset
    from facelex.evaluation.open_vocabulary import auc

    path = ROOT / "data" / "fer2013.npz"
    if not path.exists():
        pytest.skip("needs data/fer2013.npz")
    dataset = FaceDataset.load(path)
    rows = dataset.indices("val")
    happy = dataset.labels[rows] == list(EMOTION_WORDS).index("happy")
    areas = []
    for vocabulary in (Vocabulary.packaged(), None):
        recognizer = Recognizer("tiny", vocabulary=vocabulary)
        features = recognizer.embed(dataset.pixels[rows])
        areas.append(auc(recognizer.score_words(features, ["gleeful"])[:, 0], happy))
    assert areas[0] < 0.5 < 0.85 < areas[1]
