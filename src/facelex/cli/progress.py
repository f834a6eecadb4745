"""How far a work has come, for people."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress_bar(
    title: str, *, shown: bool = True, percent: bool = False
) -> Iterator[Callable[[float, int], None]]:
    """Give what takes the amount done and the whole, and shows them on stderr if a person is there to see it.

    Args:
        title: What is being done.
        shown: False for no bar in any case.
        percent: Show the share that is done in place of the two numbers.
    """
    if not (shown and sys.stderr.isatty()):
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    description = TextColumn("{task.description}", markup=False)  # it may be a file's name
    amount = TaskProgressColumn() if percent else MofNCompleteColumn()
    columns = (description, BarColumn(), amount, TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=None, visible=False)
        yield lambda done, total: bar.update(task, completed=done, total=total, visible=True)
