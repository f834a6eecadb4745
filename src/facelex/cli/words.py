"""``facelex words``: what a word will look for in faces, before any is asked for it."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cyclopts import App

from facelex.cli.screen import outliving_the_reader
from facelex.errors import FacelexError, one_line

if TYPE_CHECKING:
    from facelex.recognize.word_meanings import WordMeaning

app = App(name="words")

RELATED_SHOWN = 5
LIKE, UNLIKE = 0.5, -0.5
"""Correlations from which an emotion is shown."""
EMOTIONS_SHOWN = 3


@app.default
def words(
    *words: str,
    format: Literal["table", "json"] = "table",
    model: str | None = None,
    vocabulary: Path | None = None,
) -> int:
    """Say which emotions a word's scores go with, and which dictionary words it is understood by.

    No face is needed: a model knows over which faces its scores are spread.

    Parameters
    ----------
    words
        Words or phrases: relieved "barely hidden anger", or separated by commas.
    format
        table or json.
    model
        An exported model.onnx, hf:owner/name, small, tiny or ferplus; by default the package's largest one.
    vocabulary
        GloVe file of the word vectors that the model was trained with, if not the packaged ones.
    """
    if not words:
        raise FacelexError("Expected words such as relieved 'barely hidden anger', but got none. Name some.")
    from facelex.recognize.recognizer import Recognizer
    from facelex.vocabulary import Vocabulary

    vectors = None if vocabulary is None else Vocabulary.from_glove(vocabulary)
    recognizer = Recognizer(model, detector="none", vocabulary=vectors)
    meanings = recognizer.describe_words(",".join(word.strip().rstrip(",") for word in words))
    with outliving_the_reader(needed=False):
        if format == "json":
            from facelex.recognize.writers import shows_all

            records = [meaning.to_dict() for meaning in meanings]
            print(json.dumps(records, ensure_ascii=not shows_all(sys.stdout), indent=2, allow_nan=False))
        else:
            _print_table(meanings)
    return 0


def _print_table(meanings: Sequence[WordMeaning]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("word", "like", "unlike", "understood by"):
        table.add_column(title, overflow="fold")
    for meaning in meanings:
        read_as = " ".join(meaning.read_as)
        also = "" if read_as == meaning.word.lower() else f" (read as {read_as})"
        more = "" if len(meaning.related) <= RELATED_SHOWN else ", ..."
        table.add_row(
            escape(one_line(meaning.word + also)),
            _emotions(meaning.likeness, above=LIKE) or "no emotion much",
            _emotions({name: -value for name, value in meaning.likeness.items()}, above=-UNLIKE, sign=-1),
            escape(", ".join(meaning.related[:RELATED_SHOWN]) + more) or "its vector alone",
        )
    console = Console()
    console.print(table)
    console.print(
        "\nlike, unlike: correlation with the scores of the emotion's own words, over the faces that the "
        "model was calibrated on.",
        highlight=False,
    )


def _emotions(likeness: dict[str, float], *, above: float, sign: int = 1) -> str:
    """Return the emotions that are most like, from a bound on, the closest first: ``happy +0.94``."""
    from rich.markup import escape

    most = sorted(likeness.items(), key=lambda item: -item[1])[:EMOTIONS_SHOWN]
    return ", ".join(f"{escape(name)} {sign * value:+.2f}" for name, value in most if value >= above)
