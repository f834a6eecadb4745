"""Scores and times as people read them: numbers as text, tables for a terminal."""

from __future__ import annotations

import math

import numpy as np
from rich import box
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from facelex.errors import printable
from facelex.evaluation.bootstrap import Interval
from facelex.evaluation.metrics import confused_pairs
from facelex.evaluation.score_records import (
    Calibration,
    GroupClassScores,
    GroupingScores,
    MemberScores,
    SetScores,
    SplitScores,
)
from facelex.evaluation.views import VIEW_LABELS

GROUPS_BESIDE = 5
"""Groups side by side: so many have room in 80 columns."""


def percent(value: float, digits: int = 2, sign: str = "") -> str:
    """Write a share as a percentage, a dash where it is undefined; with ``sign="+"`` gains show theirs."""
    return "–" if math.isnan(value) else f"{100 * value:{sign}.{digits}f}"


def number(value: float, digits: int = 3) -> str:
    """Write a number, a dash where it is undefined."""
    return "–" if math.isnan(value) else f"{value:.{digits}f}"


def p_text(p_value: float) -> str:
    """Write a p-value, a dash where nothing could be tested."""
    return "<0.001" if p_value < 0.001 else number(p_value)


def duration(seconds: float) -> str:
    """Write a time in the unit a person would use."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def percent_interval(interval: Interval, digits: int = 2, sign: str = "") -> str:
    """Write ``72.03 [70.56, 73.47]`` for an interval of shares; ``digits`` and ``sign`` as in `percent`."""
    shares = (interval.value, interval.low, interval.high)
    value, low, high = (percent(share, digits, sign) for share in shares)
    return value if math.isnan(interval.low) else f"{value} [{low}, {high}]"


def render_scores(scores: SplitScores) -> RenderableType:
    """Render scores for a terminal: each view's, and classes and mistakes of the last one."""
    parts: list[RenderableType] = [_summary_table(scores, view) for view in scores.views]
    if scores.members:
        parts.append(_member_table(scores, scores.members))
        parts += [_difference_table(view, scores.members) for view in scores.views]
    last = list(scores.views)[-1]
    headline = scores.views[last].official
    parts.append(_class_table(headline, last))
    parts.append(_confusion_table(headline, scores.classes))
    pairs = confused_pairs(np.array(headline.confusion))[:5]
    if pairs:
        text = ", ".join(
            f"{scores.classes[i]} named {scores.classes[j]} {count}x ({percent(share, 0)} %)"
            for i, j, count, share in pairs
        )
        parts.append(Text(f"Most confused: {text}."))
    for grouping in scores.groups or ():
        parts += _group_tables(grouping, scores.classes)
    fits = [(view, found.calibration) for view, found in scores.views.items() if found.calibration]
    parts += [_calibration_line(view, fit) for view, fit in fits]
    return Group(*parts)


def _calibration_line(view: str, fit: Calibration) -> Text:
    return Text(
        f"Calibration, {VIEW_LABELS[view]}: temperature {number(fit.temperature)}; unsure below "
        f"{number(fit.unsure_below)} answers {percent(fit.coverage, 1)} % of the faces with "
        f"{percent(fit.answered_accuracy, 1)} % right."
    )


def _summary_table(scores: SplitScores, view: str) -> Table:
    title = f"{scores.model or 'model'} on {scores.split}, {VIEW_LABELS[view]} (%)"
    table = Table(title=escape(title), title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column(escape("[95 % bootstrap interval]"))
    columns = []
    for name, found in scores.views[view].sets:
        table.add_column(name, justify="right")
        columns.append(summary_rows(found))
    for cells in zip(*columns):
        table.add_row(cells[0][0], *(text for _, text in cells))
    return table


def _member_table(scores: SplitScores, members: list[MemberScores]) -> Table:
    table = Table(title="Accuracy of each network alone (%)", title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("")
    for view, found in scores.views.items():
        for name, _ in found.sets:
            table.add_column(f"{VIEW_LABELS[view]}, {name}", justify="right")
    everyone: list[MemberScores | SplitScores] = [*members, scores]
    for one in everyone:
        sets = [part.accuracy for view in scores.views for _, part in one.views[view].sets]
        name = one.name if isinstance(one, MemberScores) else one.model
        table.add_row(escape(name), *(percent(accuracy.value) for accuracy in sets))
    return table


def _difference_table(view: str, members: list[MemberScores]) -> Table:
    """What each member but the first has more or less of the same examples right than the first."""
    several = len(members) > 2
    title = f"Accuracy less that of {printable(members[0].name)}, {VIEW_LABELS[view]} (points)"
    table = Table(title=escape(title), title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("")
    table.add_column("")
    for name in ("[95 % paired bootstrap]", "right alone", "p (Holm)" if several else "p"):
        table.add_column(escape(name), justify="right", no_wrap=True)  # the names are folded instead
    for member in members[1:]:
        name = printable(member.name)
        for part, found in member.views[view].sets:
            if found.to_first is None:
                continue
            pair = found.to_first
            table.add_row(
                Text(name),
                part,
                percent_interval(pair.difference, sign="+"),
                f"{pair.only_own:,} : {pair.only_first:,}",
                p_text(pair.adjusted_p_value),
            )
            name = ""
    return table


def _group_tables(grouping: GroupingScores, classes: list[str]) -> list[RenderableType]:
    """The groups beside each other: all classes together, then class by class, a few groups at a time."""
    where = f"by {printable(grouping.by)} ({VIEW_LABELS[grouping.view]}, official, %)"
    summary = Table(box=box.SIMPLE_HEAD)
    summary.add_column("")
    for name in ("examples", "accuracy", "to all others,\nat equal classes", "p (Holm)"):
        summary.add_column(name, justify="right", no_wrap=True)  # the groups' names are folded instead
    for group in grouping.groups:
        summary.add_row(
            Text(printable(group.name)),
            f"{group.count:,}",
            percent_interval(group.accuracy, digits=1),
            percent_interval(group.difference, digits=1, sign="+"),
            p_text(group.adjusted_p_value),
        )
    parts: list[RenderableType] = [Text(f"Accuracy {where}"), summary]
    for title, cell in (("Recall (of how many)", _recall), ("Others named so in error", _named_wrongly)):
        parts.append(Text(f"{title} {where}"))
        for start in range(0, len(grouping.groups), GROUPS_BESIDE):
            groups = grouping.groups[start : start + GROUPS_BESIDE]
            table = Table(box=box.SIMPLE_HEAD)
            table.add_column("", no_wrap=True)
            for group in groups:
                table.add_column(Text(printable(group.name)), justify="right")
            for name in classes:
                cells = (Text(cell(group.per_class[name]), no_wrap=True) for group in groups)
                table.add_row(escape(name), *cells)
            parts.append(table)
    return parts


def _recall(scores: GroupClassScores) -> str:
    return f"{percent(scores.recall, 1)} ({scores.support:,})"


def _named_wrongly(scores: GroupClassScores) -> str:
    return percent(scores.named_wrongly, 1)


def summary_rows(scores: SetScores) -> list[tuple[str, str]]:
    """Name and write the scores of one set of examples, as tables show them."""
    rows = [
        ("examples", f"{scores.count:,}"),
        ("accuracy", percent_interval(scores.accuracy)),
        ("balanced accuracy", percent_interval(scores.balanced_accuracy)),
        ("macro-F1", percent_interval(scores.macro_f1)),
        ("NLL (nats)", number(scores.nll.value)),
        ("Brier score", number(scores.brier.value)),
        ("ECE", percent(scores.ece)),
    ]
    if scores.calibrated:
        at = f"at temperature {number(scores.calibrated.temperature)}"
        rows += [
            (f"NLL {at}", number(scores.calibrated.nll.value)),
            (f"ECE {at}", percent(scores.calibrated.ece)),
        ]
    if scores.ferplus:
        ferplus = scores.ferplus
        rows += [
            ("FER+ majority", f"{percent(ferplus.majority_accuracy)} of {ferplus.majority_count:,}"),
            ("FER+ classes it knows", f"{percent(ferplus.known_accuracy)} of {ferplus.known_count:,}"),
            ("FER+ cross-entropy", number(ferplus.cross_entropy)),
            ("FER+ KL divergence", number(ferplus.kl)),
        ]
    if scores.votes:
        votes = scores.votes
        rows += [
            ("votes for the answer", f"{percent(votes.agreement)} of {percent(votes.best_agreement)}"),
            ("votes cross-entropy", number(votes.cross_entropy)),
            ("votes KL divergence", number(votes.kl)),
        ]
    return rows


def _class_table(scores: SetScores, view: str) -> Table:
    title = f"By class ({VIEW_LABELS[view]}, official, %)"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("class")
    for name in ("precision", "recall", "F1", "support"):
        table.add_column(name, justify="right")
    for name, row in scores.per_class.items():
        table.add_row(
            escape(name),
            percent(row.precision, 1),
            percent(row.recall, 1),
            percent(row.f1, 1),
            f"{row.support:,}",
        )
    return table


def _confusion_table(scores: SetScores, classes: list[str]) -> Table:
    title = "Confusion (rows: truth, columns: named)"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("")
    for name in classes:
        table.add_column(escape(name), justify="right")
    for i, (name, counts) in enumerate(zip(classes, scores.confusion)):
        table.add_row(
            escape(name), *(Text(str(c), style="bold" if i == j else "") for j, c in enumerate(counts))
        )
    return table
