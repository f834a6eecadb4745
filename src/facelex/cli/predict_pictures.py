"""What ``facelex predict`` does with pictures."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from facelex.cli.options import DONE, FAILED, STOPPED
from facelex.cli.progress import progress_bar
from facelex.cli.screen import tell

if TYPE_CHECKING:
    from facelex.recognize.annotated import AnnotatedFolder
    from facelex.recognize.earlier import EarlierRows
    from facelex.recognize.layouts import TableLayout
    from facelex.recognize.recognizer import Recognizer
    from facelex.recognize.results import ImageResult
    from facelex.recognize.writers import Writer

PROGRESS_FROM = 5
"""Pictures from which a progress bar is worth its lines."""


def predict_pictures(
    sources: Sequence[str],
    recognizer: Recognizer,
    layout: TableLayout,
    *,
    format: str,
    output: Path | None,
    earlier: EarlierRows | None,
    summary: Writer | None,
    annotate: Path | None,
    redact: str | None,
    detect: bool,
) -> int:
    """Read pictures, show their progress and write one table; returns the exit code.

    One that cannot be read is told, has a row with an error, also in the summary, and the others go on.
    Pictures that the rows of an earlier call have are left out.
    """
    from facelex.recognize.summaries import ImageSummary
    from facelex.recognize.writers import open_writer

    left = sources if earlier is None else earlier.left
    for_people = format == "table" and output is None
    results = recognizer.predict_many(
        left, words=layout.words or None, detect=detect, keep_images=annotate is not None
    )
    done, failed, stopped = 0, 0, False
    with open_writer(format, output or sys.stdout, layout, earlier=earlier) as writer:
        folder = None if annotate is None else _annotated_folder(annotate, sources, redact, earlier)
        try:
            for result in _with_progress(results, len(left), quiet=output is None and not for_people):
                if result.error is None and folder is not None:
                    folder.save(result)
                writer.write(result)
                if summary is not None:
                    summary.write(ImageSummary.of(result))
                done += 1
                if result.error is not None:
                    failed += 1
                    if not for_people:
                        tell(result.error)
        except KeyboardInterrupt:
            if not done:  # what lies in the output's place is worth more than nothing
                raise
            stopped = True
    if stopped:
        tell(f"stopped after {done:,} of {len(left):,} pictures; what was done is kept.")
        return STOPPED
    return FAILED if failed else DONE


def _annotated_folder(
    folder: Path, sources: Sequence[str], redact: str | None, earlier: EarlierRows | None
) -> AnnotatedFolder:
    """Open the folder of annotated pictures, in which those of an earlier call keep their names."""
    from facelex.recognize.annotated import AnnotatedFolder

    annotated = AnnotatedFolder(folder, sources, redact=redact)
    for source in () if earlier is None else earlier.complete:
        annotated.pass_over(source)
    return annotated


def _with_progress(results: Iterator[ImageResult], total: int, *, quiet: bool) -> Iterator[ImageResult]:
    """Pass results on and show their number on stderr if a person is there to see it."""
    crossed = quiet and sys.stdout.isatty()  # rows on the same screen would cross the bar
    with progress_bar("Reading pictures", shown=total >= PROGRESS_FROM and not crossed) as progress:
        progress(0, total)
        for count, result in enumerate(results, start=1):
            yield result
            progress(count, total)
