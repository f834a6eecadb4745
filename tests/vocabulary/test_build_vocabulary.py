"""The script that builds the packaged vocabulary, run as a person would on a small GloVe file."""

import subprocess
import sys
from pathlib import Path

import numpy as np

from facelex import Vocabulary
from facelex.vocabulary.packed import fingerprint, load_packed

SCRIPT = Path(__file__).parents[2] / "tools" / "build_vocabulary.py"


def test_script_keeps_frequent_dictionary_and_feeling_words_and_prints_fingerprint(
    tmp_path: Path,
) -> None:
    words = ["the", ",", "a", "paris", "42", "lyon", "table", "wide-eyed", "so-called", "happy"]
    words += [f"filler{'abcdefghij'[i]}" for i in range(10)]
    vectors = np.random.default_rng(0).normal(size=(len(words), 100)).round(5)
    lines = [f"{word} {' '.join(map(str, row))}" for word, row in zip(words, vectors)]
    glove, dictionary, output = tmp_path / "g.txt", tmp_path / "words", tmp_path / "v.npz"
    glove.write_text("\n".join(lines), encoding="utf-8")
    dictionary.write_text("table\nchair\n" + "\n".join(words[10:]) + "\n", encoding="utf-8")

    result = subprocess.run(
        [sys.executable, SCRIPT, glove, "--dictionary", dictionary, "--most-frequent", "2", "-o", output],
        capture_output=True, text=True, check=True,
    )  # fmt: skip

    kept, codes, name = load_packed(output)
    assert kept == ["the", "paris", "table", "wide-eyed", "happy", *words[10:]]
    assert fingerprint(kept, codes) in result.stdout
    original = vectors[words.index("happy")]
    assert Vocabulary(kept, codes, name).vector("happy") @ original / np.linalg.norm(original) > 0.997
