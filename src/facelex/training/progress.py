"""What a person sees while a run trains."""

from __future__ import annotations

from time import monotonic
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, Task, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from facelex.evaluation.score_tables import duration

FIRST_STEP = "first step (may compile)"
"""Shown until it is done: the loops of a CPU may take a minute to compile, in which the bar stands still."""


class Reporter(Protocol):
    """Hears about a run's progress."""

    def start(self, total_images: int, done_images: int) -> None:
        """The run begins (or continues) with this many image passes ahead and behind."""

    def note(self, text: str) -> None:
        """Something that takes long begins."""

    def step(self, images: int) -> None:
        """A batch of ``images`` is done."""

    def epoch(self, row: dict[str, float | int | str]) -> None:
        """An epoch is done; ``row`` is its line of metrics.csv."""

    def stop(self) -> None:
        """The run has ended, well or not."""


class SilentReporter:
    """Says nothing."""

    def start(self, total_images: int, done_images: int) -> None:
        """Ignore."""

    def note(self, text: str) -> None:
        """Ignore."""

    def step(self, images: int) -> None:
        """Ignore."""

    def epoch(self, row: dict[str, float | int | str]) -> None:
        """Ignore."""

    def stop(self) -> None:
        """Ignore."""


def create_bars(console: Console) -> Progress:
    """Make a place for progress bars, which shows nothing where the console is no terminal."""
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(elapsed_when_finished=False),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


class RichReporter:
    """A line after each epoch; below it in a terminal a progress bar with images/s and time left.

    Args:
        console: Where.
        title: Printed when the run begins, so never before it is refused.
        bars: Where the bar stands beside those of other runs; whoever made it ends it.
        mark: What each line begins with, where there are other runs.
    """

    def __init__(self, console: Console, title: str = "", *, bars: Progress | None = None, mark: str = ""):
        self.console, self.title, self.mark = console, title, mark
        self.started, self.done_before = 0.0, 0
        self.shared = bars is not None
        self.progress = create_bars(console) if bars is None else bars
        self.task = self.progress.add_task("", rate="", total=None, visible=False)

    def start(self, total_images: int, done_images: int) -> None:
        """Print the title and show the bar."""
        if self.title:
            self.note(self.title)
        self.started, self.done_before = monotonic(), done_images
        self.progress.reset(
            self.task, total=total_images, completed=done_images, visible=True, rate="",
            description=f"{self.mark}{FIRST_STEP}",
        )  # fmt: skip
        self.progress.start()

    def note(self, text: str) -> None:
        """Print the text."""
        for line in text.splitlines():
            self.console.print(f"{self.mark}{line}", highlight=False, markup=False, soft_wrap=True)

    def step(self, images: int) -> None:
        """Move the bar."""
        task = self._bar
        rate = f"{task.speed:,.0f} images/s" if task.speed else ""
        if task.description.endswith(FIRST_STEP):
            self.progress.update(self.task, description=f"{self.mark}training")
        self.progress.update(self.task, advance=images, rate=rate)

    def epoch(self, row: dict[str, float | int | str]) -> None:
        """Print the epoch's numbers."""
        left = "" if self.console.is_terminal else self._left()
        self.note(
            f"{row['phase']:>10} {row['epoch']:>3}  {row['image_size']} px  "
            f"train {float(row['train_loss']):.3f} {100 * float(row['train_accuracy']):5.2f} %  "
            f"val {float(row['val_loss']):.3f} {100 * float(row['val_accuracy']):5.2f} %  "
            f"{float(row['images_per_second']):,.0f} images/s{left}"
        )
        self.progress.update(self.task, description=f"{self.mark}{row['phase']}")

    @property
    def _bar(self) -> Task:
        return self.progress.tasks[self.task]

    def _left(self) -> str:
        """Time left at the pace so far, validation and checkpoints included."""
        task = self._bar
        done, missing = task.completed - self.done_before, (task.total or 0) - task.completed
        if done <= 0 or missing <= 0:
            return ""
        return f"  {duration((monotonic() - self.started) / done * missing)} left"

    def stop(self) -> None:
        """Remove the bar."""
        self.progress.update(self.task, visible=False)
        if not self.shared:
            self.progress.stop()
