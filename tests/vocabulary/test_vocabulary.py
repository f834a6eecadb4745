"""Looking words up: by word, phrase and nearness, in a small made vocabulary and in the packaged one."""

import contextlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facelex import Vocabulary
from facelex.emotions import EMOTION_WORDS
from facelex.errors import FacelexError
from facelex.vocabulary.packed import fingerprint, load_packed, save_packed
from facelex.vocabulary.phrases import fold, tokenize
from facelex.vocabulary.vocabulary import PACKAGED, nearest_spellings

WORDS = [
    "the", "happy", "unhappy", "very", "smirk", "smile", "hidden", "anger", "wide", "eyed", "wide-eyed",
    "naive", "cry", "not", "hate", "sincere", "grin",
]  # fmt: skip


@pytest.fixture(scope="module")
def small() -> Vocabulary:
    return Vocabulary(WORDS, np.eye(len(WORDS)) * 3, "eye")


@pytest.fixture(scope="module")
def packaged() -> Vocabulary:
    return Vocabulary.packaged()


def test_vector_is_unit_and_ignores_case(small: Vocabulary) -> None:
    np.testing.assert_array_equal(small.vector("Happy"), np.eye(len(WORDS), dtype=np.float32)[1])
    assert small.vector("happy").dtype == np.float32


def test_membership_ignores_case_and_takes_anything(small: Vocabulary) -> None:
    assert "Happy" in small
    assert "sad" not in small
    assert 3 not in small


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("barely hidden anger", ["hidden", "anger"]),
        ("A very HAPPY smile!", ["happy", "smile"]),
        ("the", ["the"]),
        ("the very", ["the", "very"]),
        ("wide-eyed", ["wide-eyed"]),
        ("eyed-wide", ["eyed", "wide"]),
        ("un-happy", ["unhappy"]),
        ("half-smile", ["smile"]),
        ("kind of happy", ["happy"]),
        ("naïve", ["naive"]),
        ("smirking", ["smirk"]),
        ("smiling", ["smile"]),
        ("grinning, smirks; hated", ["grin", "smirk", "hate"]),
        ("cried", ["cry"]),
        ("happiness", ["happy"]),
        ("happily", ["happy"]),
        ("sincerely", ["sincere"]),
        ("anger's smile", ["anger", "smile"]),
        ("not", ["not"]),
    ],
)
def test_phrase_is_the_mean_of_its_content_words(small: Vocabulary, text: str, words: list[str]) -> None:
    assert small.phrase_words(text) == words
    np.testing.assert_allclose(
        small.phrase(text), np.mean([small.vector(w) for w in words], axis=0), atol=1e-7
    )


@pytest.mark.parametrize("word", ["borred", "amued", "sared", "scred", "broed", "gring", "harted", "bordd"])
def test_a_typo_is_no_form_of_another_word(packaged: Vocabulary, word: str) -> None:
    with pytest.raises(FacelexError, match=f"for a word: '{word}' \\(nearest: "):
        packaged.phrase(word)


@pytest.mark.parametrize(
    ("word", "base"),
    [
        ("angriness", "angry"), ("blissfulness", "blissful"), ("amazedly", "amazed"), ("coyest", "coy"),
        ("deadpanning", "deadpan"), ("chagrins", "chagrin"), ("gleefulness", "gleeful"),
        ("bleariest", "bleary"),
    ],
)  # fmt: skip
def test_inflections_that_the_packaged_vocabulary_lacks_have_a_base(
    packaged: Vocabulary, word: str, base: str
) -> None:
    assert word not in packaged
    assert packaged.phrase_words(word) == [base]


def test_a_last_letter_that_would_be_doubled_is_no_base() -> None:
    vocabulary = Vocabulary(["bor", "grin", "please", "pleas"], np.eye(4), "eye")
    assert vocabulary.phrase_words("grinned pleased") == ["grin", "please"]
    for word in ("bored", "grined", "pleaseed", "pleassed"):
        with pytest.raises(FacelexError, match="No vector"):
            vocabulary.phrase_words(word)


@pytest.mark.parametrize(
    "text",
    [
        "not happy", "isn’t happy", "never happy", "hardly happy", "less happy", "least happy", "not-happy",
        "not-so-happy", "Never-happy",
        "isn't-happy", "without-happy", "non-happy", "non happy", "happy-less", "happy-free",
        "isnt happy", "wont be happy", "far from happy", "anything but happy", "rarely happy",
        "lacking happy",
    ],
)  # fmt: skip
def test_negation_is_refused_with_the_opposite(small: Vocabulary, text: str) -> None:
    with pytest.raises(FacelexError, match=r"Cannot negate.*'happy'.*for example 'unhappy'"):
        small.phrase(text)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("nonchalant", "nonchalant"), ("non-chalant", "nonchalant"), ("care-free", "carefree"),
        ("wide-eyed", "wide-eyed"), ("self-conscious", "self-conscious"), ("joy-less", "joyless"),
        ("un-happy", "unhappy"),
    ],
)  # fmt: skip
def test_known_words_with_a_hyphen_negate_nothing(packaged: Vocabulary, text: str, word: str) -> None:
    assert packaged.phrase_words(text) == [word]


def test_every_unknown_word_is_named_with_its_nearest_spellings(packaged: Vocabulary) -> None:
    with pytest.raises(FacelexError) as caught:
        packaged.phrase("disgusst and suprise, zzqxj")
    assert "No vector in glove.6B.100d for 3 words: 'disgusst' (nearest: 'disgust'" in str(caught.value)
    assert "'suprise' (nearest: 'surprise'" in str(caught.value)
    assert "'zzqxj'. Correct" in str(caught.value)
    with pytest.raises(FacelexError, match="for a word: 'hapy' \\(nearest: 'happy'"):
        packaged.vector("hapy")


@pytest.mark.parametrize("text", ["", "  ", "?!", "😀"])
def test_text_without_words_is_refused(small: Vocabulary, text: str) -> None:
    with pytest.raises(FacelexError, match="Expected a word or phrase"):
        small.phrase(text)


@pytest.mark.parametrize("word", ["खुश", "มีความสุข", "سَعيد", "হাসি", "खुश-दिल"])
def test_marks_that_go_with_letters_are_part_of_the_word(word: str) -> None:
    assert tokenize(f"{word}, ({word})!") == [fold(word)] * 2
    vocabulary = Vocabulary([word, "sad"], np.eye(2), "eye")
    np.testing.assert_allclose(vocabulary.phrase(word), vocabulary.vector(word))


def test_what_is_not_seen_splits_no_word() -> None:
    assert tokenize("hap\u00adpy \ufeffsad\u200b anger\ufe0f") == ["happy", "sad", "anger"]
    assert tokenize("😀\ufe0f 👩\u200d🦰 \u0301 _ - '") == []
    assert tokenize("می\u200cخندد") == ["می\u200cخندد"]
    assert tokenize("she´s happy, isn´t \u0301she") == ["she's", "happy", "isn't", "she"]
    assert "" not in Vocabulary(["\ufeff", "sad"], np.eye(2), "eye")


def test_nearest_agrees_with_a_plain_loop_and_leaves_out_the_query(packaged: Vocabulary) -> None:
    query = packaged.phrase("bitter smile")
    unit = query / np.linalg.norm(query)
    plain = sorted(
        ((float(packaged.vectors[i] @ unit), packaged.words[i]) for i in range(3000)), reverse=True
    )
    few = Vocabulary(packaged.words[:3000], packaged.vectors[:3000], "few")
    assert [w for w, _ in few.nearest(query, 5)] == [w for _, w in plain[:5]]
    assert few.nearest(query, 1)[0][1] == pytest.approx(plain[0][0], abs=1e-5)
    assert not {"bitter", "smile"} & {w for w, _ in packaged.nearest("bitter smile", 20)}


def test_what_is_no_text_or_vector_is_refused(packaged: Vocabulary) -> None:
    for text in (None, 5, ["sad"]):
        with pytest.raises(FacelexError, match=r"Expected a word or phrase such as .*, but got "):
            packaged.phrase(text)  # type: ignore[arg-type]
    for query in (["sad"], {"sad"}):
        with pytest.raises(FacelexError, match=r"one vector, but got (list|set)\."):
            packaged.nearest(query)  # type: ignore[arg-type]
    with pytest.raises(FacelexError, match="Expected a vector"):
        packaged.nearest(None)  # type: ignore[arg-type]


def test_nearest_never_returns_more_than_there_is(small: Vocabulary) -> None:
    assert len(small.nearest("happy", 1000)) == len(WORDS) - 1
    assert len(small.nearest(np.ones(small.dim), 1000)) == len(WORDS)
    assert small.nearest("happy", 0) == []
    assert small.nearest("happy", np.int64(2)) == small.nearest("happy", 2)
    for k in ("3", 2.0, None):
        with pytest.raises(FacelexError, match=r"whole number of words, such as k=10, but got "):
            small.nearest("happy", k)  # type: ignore[arg-type]


def test_vectors_of_another_width_or_without_direction_are_refused(small: Vocabulary) -> None:
    with pytest.raises(FacelexError, match=r"shape \(17,\), but got \(3,\)"):
        small.nearest(np.ones(3))
    with pytest.raises(FacelexError, match="direction"):
        small.nearest(np.zeros(17))
    with pytest.raises(FacelexError, match=r"shape \(2, D\), but got one of shape \(3, 4\)"):
        Vocabulary(["a", "b"], np.ones((3, 4)), "x")
    with pytest.raises(FacelexError, match="each word once"):
        Vocabulary(["a", "a"], np.ones((2, 4)), "x")


def test_nearest_spellings_prefer_likeness_then_frequency() -> None:
    assert nearest_spellings("suprise", ["rise", "surprise", "supreme", "surprised"])[0] == "surprise"
    assert nearest_spellings("hapy", ["harpy", "happy"], k=1) == ["harpy"]
    assert nearest_spellings("hapy", ["happy", "harpy"], k=1) == ["happy"]
    assert nearest_spellings("xyz", ["happy", "sad"]) == []


def test_packaged_vocabulary_holds_everyday_and_rare_feelings(packaged: Vocabulary) -> None:
    assert (packaged.dim, packaged.name) == (100, "glove.6B.100d")
    assert len(packaged) > 75_000
    rare = "schadenfreude wistful smirk bewildered nonchalant melancholic ecstatic wide-eyed ennui"
    assert [word for word in rare.split() if word not in packaged] == []
    assert [w for words in EMOTION_WORDS.values() for w in words if w not in packaged] == []
    assert Vocabulary.packaged() is packaged


def test_packaged_vectors_are_gloves(packaged: Vocabulary) -> None:
    # The first numbers of "the" in glove.6B.100d.txt; a code is off by at most half the rounding step.
    published = np.array([-0.038194, -0.24487, 0.72812, -0.39961, 0.083172, 0.043953, -0.39141, 0.3344])
    length = np.linalg.norm(published) / np.linalg.norm(packaged.vector("the")[:8])
    np.testing.assert_allclose(packaged.vector("the")[:8], published / length, atol=0.012)
    assert float(packaged.vector("happy") @ packaged.vector("sad")) == pytest.approx(0.68, abs=0.01)


def test_packaged_file_is_the_documented_one() -> None:
    words, codes, _ = load_packed(PACKAGED)
    documented = (Path(__file__).parents[2] / "docs" / "words.md").read_text(encoding="utf-8")
    assert fingerprint(words, codes) in documented


def test_packed_file_keeps_words_and_directions(tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).normal(size=(50, 100)).astype(np.float32)
    words = [f"wörd{i}" for i in range(50)]
    save_packed(tmp_path / "v.npz", words, vectors, "made", step=0.018)
    vocabulary = Vocabulary(*load_packed(tmp_path / "v.npz"))
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    assert (vocabulary.words, vocabulary.name) == (tuple(words), "made")
    assert ((vocabulary.vectors * unit).sum(axis=1) > 0.997).all()
    assert [path.name for path in tmp_path.iterdir()] == ["v.npz"]
    with pytest.raises(FacelexError, match="too small"):
        save_packed(tmp_path / "w.npz", words, vectors, "made", step=0.0001)
    (tmp_path / "v.npz").write_bytes((tmp_path / "v.npz").read_bytes()[:900])
    with pytest.raises(FacelexError, match=r"Cannot read the vocabulary v\.npz"):
        load_packed(tmp_path / "v.npz")


def test_vocabulary_needs_neither_torch_nor_onnxruntime() -> None:
    code = (
        "import sys, facelex, facelex.word_controls; facelex.Vocabulary.packaged().phrase('proud');"
        "print(sorted({'torch', 'onnxruntime', 'PIL', 'pandas'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_importing_facelex_does_not_read_the_vocabulary() -> None:
    code = "import sys, facelex; print('facelex.vocabulary' in sys.modules, 'numpy' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False False"


@settings(deadline=None)
@given(st.text(max_size=60))
def test_any_text_gives_a_direction_or_a_documented_error(text: str) -> None:
    vocabulary = Vocabulary.packaged()
    with contextlib.suppress(FacelexError):  # anything else escapes and fails
        vector = vocabulary.phrase(text)
        assert vector.shape == (100,)
        assert 0 < np.linalg.norm(vector) <= 1 + 1e-5


@given(st.lists(st.sampled_from(["proud", "bored", "angry", "smile", "hidden"]), min_size=1, max_size=6))
def test_phrase_ignores_order_case_and_marks(words: list[str]) -> None:
    vocabulary = Vocabulary.packaged()
    mixed = [word.upper() for word in reversed(words)]
    np.testing.assert_allclose(
        vocabulary.phrase(" ".join(words)), vocabulary.phrase(" the, ".join(mixed) + "?!"), atol=1e-6
    )
