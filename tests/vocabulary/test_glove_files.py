"""GloVe text files in every wrapping, and the sentence each broken one earns."""

import contextlib
import gzip
import lzma
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facelex import Vocabulary
from facelex.errors import FacelexError

HAPPY_SAD = "happy 3 0 0 4\nsad -0.5 1e-2 .25 0.125\n, 0.1 0.2 0.3 0.4\n"


def write(path: Path, text: str = HAPPY_SAD) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_plain_file_gives_words_in_order_and_unit_vectors(tmp_path: Path) -> None:
    vocabulary = Vocabulary.from_glove(write(tmp_path / "glove.6B.4d.txt"))
    assert vocabulary.words == ("happy", "sad", ",")
    assert (vocabulary.dim, vocabulary.name, len(vocabulary)) == (4, "glove.6B.4d", 3)
    np.testing.assert_allclose(vocabulary.vector("happy"), [0.6, 0, 0, 0.8], rtol=1e-6)
    assert vocabulary.vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vocabulary.vectors, axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize("dim", [50, 100, 200, 300])
def test_any_dimension_is_read(tmp_path: Path, dim: int) -> None:
    rows = np.random.default_rng(dim).normal(size=(3, dim)).round(5)
    lines = [f"word{i} " + " ".join(map(str, row)) for i, row in enumerate(rows)]
    vocabulary = Vocabulary.from_glove(write(tmp_path / "g.txt", "\n".join(lines)))
    expected = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    np.testing.assert_allclose(vocabulary.vectors, expected, atol=1e-6)


def test_compressed_files_equal_the_plain_one(tmp_path: Path) -> None:
    plain = Vocabulary.from_glove(write(tmp_path / "g.txt"))
    (tmp_path / "g.txt.gz").write_bytes(gzip.compress(HAPPY_SAD.encode()))
    (tmp_path / "g.txt.xz").write_bytes(lzma.compress(HAPPY_SAD.encode()))
    with zipfile.ZipFile(tmp_path / "g.zip", "w") as archive:
        archive.writestr("folder/g.txt", HAPPY_SAD)
    for name in ("g.txt.gz", "g.txt.xz", "g.zip", "g.zip/folder/g.txt"):
        other = Vocabulary.from_glove(tmp_path / name)
        assert (other.words, other.name) == (plain.words, "g")
        np.testing.assert_array_equal(other.vectors, plain.vectors)


def test_zip_of_several_dimensions_asks_which(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "glove.6B.zip", "w") as archive:
        archive.writestr("glove.6B.50d.txt", "happy 1 2\n")
        archive.writestr("glove.6B.100d.txt", HAPPY_SAD)
    with pytest.raises(FacelexError, match=r"Name one: glove\.6B\.zip/glove\.6B\.50d\.txt"):
        Vocabulary.from_glove(tmp_path / "glove.6B.zip")
    assert Vocabulary.from_glove(tmp_path / "glove.6B.zip" / "glove.6B.100d.txt").dim == 4
    with pytest.raises(FacelexError, match=r"Did you mean 'glove\.6B\.50d\.txt'"):
        Vocabulary.from_glove(tmp_path / "glove.6B.zip" / "glove.6B.51d.txt")


def test_limit_keeps_the_most_frequent_words(tmp_path: Path) -> None:
    assert Vocabulary.from_glove(write(tmp_path / "g.txt"), limit=2).words == ("happy", "sad")


def test_word2vec_header_is_skipped(tmp_path: Path) -> None:
    assert Vocabulary.from_glove(write(tmp_path / "crawl.vec", "3 4\n" + HAPPY_SAD)).words[0] == "happy"


def test_file_with_fewer_words_than_its_header_says_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "crawl.vec", "4 4\n" + HAPPY_SAD)
    with pytest.raises(FacelexError, match=r"4 words in crawl\.vec, .*ends after 3\. The file is cut short"):
        Vocabulary.from_glove(path)
    assert len(Vocabulary.from_glove(path, limit=2)) == 2


@pytest.mark.parametrize("header", ["", "3 4\n"])
def test_a_byte_order_mark_and_empty_lines_at_the_end_change_nothing(tmp_path: Path, header: str) -> None:
    plain = Vocabulary.from_glove(write(tmp_path / "plain.txt"))
    other = Vocabulary.from_glove(write(tmp_path / "g.txt", f"\ufeff{header}{HAPPY_SAD}\n  \n"))
    assert other.words == plain.words
    np.testing.assert_array_equal(other.vectors, plain.vectors)
    with pytest.raises(FacelexError, match=r"4 words in h\.txt, .*ends after 3\. The file is cut short"):
        Vocabulary.from_glove(write(tmp_path / "h.txt", f"4 4\n{HAPPY_SAD}\n\n"))


def test_words_with_capitals_are_found_exactly_or_else_in_any_case(tmp_path: Path) -> None:
    vocabulary = Vocabulary.from_glove(
        write(tmp_path / "g.txt", "Happy 1 0\nBlue 0 1\nblue 0.6 0.8\nÉlan 1 1\n")
    )
    for word in ("Happy", "happy", "HAPPY"):
        assert word in vocabulary
        np.testing.assert_array_equal(vocabulary.vector(word), [1, 0])
    np.testing.assert_array_equal(vocabulary.vector("Blue"), [0, 1])
    np.testing.assert_allclose(vocabulary.vector("blue"), [0.6, 0.8], rtol=1e-6)
    assert vocabulary.phrase_words("a HAPPY élan, Blue!") == ["Happy", "Élan", "blue"]
    assert [word for word, _ in vocabulary.nearest("happy", 9)] == ["Élan", "blue", "Blue"]


def test_words_with_spaces_are_one_word(tmp_path: Path) -> None:
    vocabulary = Vocabulary.from_glove(write(tmp_path / "g.txt", HAPPY_SAD + "at name@domain.com 1 2 3 4\n"))
    assert vocabulary.words[-1] == "at name@domain.com"


def test_first_vector_of_a_repeated_word_is_kept(tmp_path: Path) -> None:
    vocabulary = Vocabulary.from_glove(write(tmp_path / "g.txt", HAPPY_SAD + "happy 0 1 0 0\n"))
    np.testing.assert_allclose(vocabulary.vector("happy"), [0.6, 0, 0, 0.8], rtol=1e-6)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HAPPY_SAD + "glad 1 2 3\n", r"a word and 4 numbers a line.*g\.txt, line 4 has 4 fields"),
        (HAPPY_SAD + "glad 1 2 3 4 5\n", r"line 4 has 6 fields"),
        (HAPPY_SAD + "glad 1 2 x 4\n", r"4 numbers after the word, but g\.txt, line 4 has 'x'"),
        (HAPPY_SAD + "glad 1 2 nan 4\n", r"'glad' \(g\.txt, line 4\).*not finite"),
        (HAPPY_SAD + "glad 1 2 inf 4\n", r"line 4"),
        (HAPPY_SAD + "glad 0 0 0 0\n", r"'glad' \(g\.txt, line 4\) is all zeros"),
        (HAPPY_SAD + "\nglad 1 2 3 4\n", r"line 4 has 1 fields"),
        ("", r"g\.txt, one word a line, but the file has none"),
        ("just some prose\n", r"line 1 has 'some'"),
        ("word " * 50_000, r"line 1 is longer than"),
    ],
)
def test_broken_line_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(FacelexError, match=message):
        Vocabulary.from_glove(write(tmp_path / "g.txt", text))


@pytest.mark.parametrize("suffix", [".gz", ".xz", ".zip"])
def test_archive_cut_short_is_refused(tmp_path: Path, suffix: str) -> None:
    rng = np.random.default_rng(0)
    text = "".join(f"w{i} " + " ".join(map(str, rng.normal(size=20))) + "\n" for i in range(500))
    path = tmp_path / f"g.txt{suffix}"
    if suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("g.txt", text)
    else:
        path.write_bytes({".gz": gzip, ".xz": lzma}[suffix].compress(text.encode()))
    path.write_bytes(path.read_bytes()[:-3000])
    with pytest.raises(FacelexError, match="damaged or cut short after line"):
        Vocabulary.from_glove(path)


def test_file_that_is_not_text_or_not_there_is_refused(tmp_path: Path) -> None:
    (tmp_path / "photo.txt").write_bytes(b"\xff\xd8\xff\xe0 1 2\n")
    with pytest.raises(FacelexError, match=r"UTF-8, but photo\.txt, line 1"):
        Vocabulary.from_glove(tmp_path / "photo.txt")
    (tmp_path / "fake.gz").write_bytes(b"plain text")
    with pytest.raises(FacelexError, match="damaged"):
        Vocabulary.from_glove(tmp_path / "fake.gz")
    with pytest.raises(FacelexError, match=r"word vectors in .*missing\.txt, but there is no such file"):
        Vocabulary.from_glove(tmp_path / "missing.txt")


@given(data=st.binary(max_size=300), suffix=st.sampled_from([".txt", ".gz", ".xz", ".zip"]))
def test_any_bytes_give_a_vocabulary_or_a_documented_error(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, suffix: str
) -> None:
    path = tmp_path_factory.mktemp("fuzz") / f"g{suffix}"
    path.write_bytes(data)
    with contextlib.suppress(FacelexError):  # anything else escapes and fails
        assert len(Vocabulary.from_glove(path)) > 0
