"""What a check of words has found, as a terminal shows it."""

from __future__ import annotations

import math

from rich import box
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from facelex.errors import printable
from facelex.evaluation.bootstrap import Interval
from facelex.evaluation.score_tables import number, p_text, percent, percent_interval
from facelex.evaluation.views import VIEW_LABELS
from facelex.evaluation.word_scores import FEW, WordReport, WordScores


def render_words(report: WordReport) -> RenderableType:
    """Render a report for a terminal: a row a word, the choice among all, and how to read them."""
    parts: list[RenderableType] = [_word_table(report)]
    if report.choice is not None:
        parts.append(
            Text(
                f"Choice of the best fitting of {len(report.choice.names)} words, {report.choice.count:,} "
                f"faces: balanced accuracy {percent_interval(report.choice.balanced_accuracy)} %, guessing "
                f"{percent(report.choice.chance)} %."
            )
        )
    parts += [Text(line) for line in _how_to_read(report)]
    return Group(*parts)


def _word_table(report: WordReport) -> Table:
    title = f"{report.model} on {report.split}, {report.count:,} faces, {VIEW_LABELS[report.view]}"
    table = Table(
        title=escape(printable(title)), title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0)
    )
    table.add_column("word")
    for name in ("faces", "AUC [95 %]", "random", "p", "best class", "chosen"):
        table.add_column(escape(name), justify="right", no_wrap=True)  # words are folded instead
    for word in report.words:
        plain = word.each or word.phrases == [word.name]
        name = word.name if plain else f"{word.name} ({word.phrases[0]})"
        table.add_row(
            Text(printable(name)),
            f"{word.count:,}",
            _area(word.auc),
            number(word.random_auc, 2),
            p_text(word.p_value),
            Text(_best_class(word)),
            "–" if math.isnan(word.recall) else f"{percent(word.recall, 0)} %",
        )
        for one in word.each or ():
            table.add_row(Text(f"  {printable(one.phrase)}"), "", _area(one.auc), "", p_text(one.p_value))
    return table


def _best_class(word: WordScores) -> str:
    if word.best_class is None:
        return "–"
    return f"{printable(word.best_class)} {number(word.class_aucs[word.best_class], 2)}"


def _area(interval: Interval) -> str:
    value = number(interval.value, 2)
    ends = f" [{number(interval.low, 2)}, {number(interval.high, 2)}]"
    return value if math.isnan(interval.low) else value + ends


def _how_to_read(report: WordReport) -> list[str]:
    lines = [
        "AUC: the chance that a face of the class scores above any other face; 0.5 is a coin.",
        f"random, p: mean AUC of {report.random_vectors} random vectors, and how few of them do as well.",
        f"best class: which of the model's {len(report.classes)} own classes finds these faces best. It was "
        "picked on these faces, so its AUC leans upwards.",
    ]
    if report.not_asked:
        others = ", ".join(map(printable, report.not_asked))
        lines.append(f"Not asked for, but among the other faces: {others}.")
    if report.few_faces:
        counts = {word.name: word.count for word in report.words}
        few = ", ".join(f"{printable(name)} ({counts[name]})" for name in report.few_faces)
        lines.append(
            f"Fewer than {FEW} faces: {few}. Their numbers show next to nothing, whatever interval and p say."
        )
    return lines
