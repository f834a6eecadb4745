"""``facelex report``: runs as one HTML page with figures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

app = App(name="report")


@app.default
def report(
    *runs: Path,
    output: Annotated[Path | None, Parameter(alias="-o")] = None,
) -> None:
    """Write one self-contained page on one or more runs, and its figures as PNG.

    Runs that have not finished are shown as far as they have come. Scores are those that "facelex evaluate
    RUN" has left in the run folders.

    Parameters
    ----------
    runs
        Run folders.
    output
        Folder to write report.html and the figures into; by default RUN/report for one run, else report.
    """
    from rich.console import Console

    from facelex.evaluation.report import write_report

    page, *figures = write_report(runs, output)
    console = Console(highlight=False)
    console.print(f"Written: {page} and {len(figures)} figures beside it.", markup=False, soft_wrap=True)
