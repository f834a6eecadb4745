"""``facelex data``: prepare, inspect, download and draw datasets."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter
from rich.console import Console

if TYPE_CHECKING:
    from facelex.data.fer2013 import Progress

app = App(name="data", help="Prepare, inspect and download datasets.")

DEFAULT_OUTPUT = Path("data/fer2013.npz")


@app.command
def prepare(
    source: Path,
    /,
    *,
    ferplus: Path | None = None,
    output: Annotated[Path, Parameter(alias="-o")] = DEFAULT_OUTPUT,
    size: int = 48,
    classes: str | None = None,
    split: str = "0.8,0.1,0.1",
    seed: int = 0,
    skip_bad: Annotated[bool, Parameter(negative="")] = False,
    force: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Read labelled faces into one cached file; a second call with the same source reads nothing.

    Parameters
    ----------
    source
        fer2013.csv or icml_face_data.csv (also inside .zip, .tar, .xz, .gz), or a folder of images:
        split/class/image, class/image, or Kaggle's FER2013 folders.
    ferplus
        FER+ votes, fer2013new.csv; kept beside the labels of the official CSV.
    output
        The file to write.
    size
        Height and width in pixels to store.
    classes
        Class folders in label order, as "a,b,c", or "auto" to take the folders' names; the seven emotions
        by default.
    split
        Shares of train, val and test, for pictures that come without splits.
    seed
        Seed of those splits.
    skip_bad
        Leave out images that cannot be read instead of stopping.
    force
        Read again even if nothing changed.
    """
    from facelex.data.prepare import PrepareOptions
    from facelex.data.prepare import prepare as run

    options = PrepareOptions(
        ferplus=ferplus,
        size=size,
        classes=None if classes is None else tuple(name.strip() for name in classes.split(",")),
        split=_shares(split),
        seed=seed,
        skip_bad=skip_bad,
    )
    with _progress_bar(f"Reading {source.name}") as progress:
        prepared = run(source, output, options, force, progress)
    console = Console(stderr=True, highlight=False)
    for note in prepared.notes:
        console.print(f"Note: {note}", markup=False, soft_wrap=True)
    done = "is up to date" if prepared.reused else "written"
    print(f"{output} {done}: {prepared.dataset!r}")


def _shares(text: str) -> tuple[float, float, float]:
    from facelex.errors import FacelexError

    try:
        train, val, test = (float(part) for part in text.split(","))
    except ValueError:
        train = val = test = -1.0
    if min(train, val, test) < 0 or train == 0 or abs(train + val + test - 1) > 1e-6:
        raise FacelexError(
            f"Expected --split as three shares of train, val and test that sum to 1, such as 0.8,0.1,0.1, "
            f"but got {text!r}."
        )
    return train, val, test


@contextmanager
def _progress_bar(title: str) -> Iterator[Progress]:
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
