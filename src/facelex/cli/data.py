"""``facelex data``: prepare, inspect, download and draw datasets."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter
from rich.console import Console

from facelex.cli.progress import progress_bar
from facelex.data.load import DEFAULT_PATH, SKETCH_COUNT, load_dataset
from facelex.errors import FacelexError, printable

if TYPE_CHECKING:
    from facelex.data.info import DatasetInfo

FERPLUS_PATH = Path("data/ferplus.npz")
"""Where ``data prepare --ferplus-labels`` writes by default, since `DEFAULT_PATH` has other labels."""

SKETCH_PATH = Path("data/sketch.npz")
"""Where ``facelex data sketch`` writes by default."""

app = App(name="data", help="Prepare, inspect and download datasets.")


@app.command
def prepare(
    source: Path,
    /,
    *,
    ferplus: Path | None = None,
    ferplus_labels: Annotated[bool, Parameter(negative="")] = False,
    output: Annotated[Path | None, Parameter(alias="-o")] = None,
    size: int = 48,
    classes: str | None = None,
    split: str = "0.8,0.1,0.1",
    seed: int = 0,
    skip_bad: Annotated[bool, Parameter(negative="")] = False,
    find_faces: Annotated[bool, Parameter(negative="")] = False,
    keep: Annotated[list[str] | None, Parameter(negative="")] = None,
    map: str | None = None,
    together: str | None = None,
    columns: str | None = None,
    votes: str | None = None,
    force: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Read labelled faces into one cached file; a second call with the same source reads nothing.

    Parameters
    ----------
    source
        fer2013.csv or icml_face_data.csv (also inside .zip, .tar, .xz, .gz); a folder of images:
        split/class/image, class/split/image, class/image, or Kaggle's FER2013 folders; or a CSV that lists
        images, with columns such as image, label and split.
    ferplus
        FER+ votes, fer2013new.csv; kept beside the labels of the official CSV.
    ferplus_labels
        Take the labels from these votes: what the majority of FER+'s taggers says, by its own rule. Faces
        without such a majority are left out, as are those of contempt unless --classes auto makes it an
        eighth class.
    output
        The file to write; by default data/fer2013.npz, or data/ferplus.npz with --ferplus-labels, unless it
        holds a dataset made from another source.
    size
        Height and width in pixels to store.
    classes
        Class names in label order, as "a,b,c", or "auto" to take those of the folders, the CSV or FER+; the
        seven emotions by default.
    split
        Shares of train, val and test, for pictures that come without splits.
    seed
        Seed of those splits.
    skip_bad
        Leave out images that cannot be read instead of stopping.
    find_faces
        The images are photos: take the largest face of each, or in a CSV with columns x, y, width and
        height the one there, cut out as "facelex predict" does, and leave out those without one. Otherwise
        images are taken as face crops.
    keep
        Further columns of a CSV that lists images to keep beside them, such as "age,gender", by which
        "facelex evaluate --by" can part the scores.
    map
        What to call classes, as "joy=happy,5=sad,contempt=ignore"; "ignore" leaves their images out.
    together
        A column of a CSV that lists images, such as "subject" or "film": where splits are drawn, images
        with the same value go into one, so that nobody is in train and test. The column itself is not
        kept, unless --keep names it too.
    columns
        Columns of a CSV that lists images, where they are called otherwise, as
        "image=subDirectory_filePath,label=expression"; also split, x, y, width, height. Numbers, as
        "image=1,label=2", for a CSV without a header line.
    votes
        Columns of a CSV that lists images with what several people took each for: "angry,happy,unknown"
        with the number or share of votes on each, or one or more with class names, such as
        "rater1,rater2", where an image may be in several rows. The label is what most people say. Where
        the CSV has no column label, columns called like emotions are found without this.
    force
        Read again even if nothing changed, and replace what was made from another source.
    """
    from facelex.data.mapping import parse_columns, parse_mapping
    from facelex.data.options import ReadOptions
    from facelex.data.prepare import prepare as run

    options = ReadOptions(
        ferplus=ferplus,
        ferplus_labels=ferplus_labels,
        size=size,
        classes=None if classes is None else tuple(name.strip() for name in classes.split(",")),
        split=_shares(split),
        seed=seed,
        skip_bad=skip_bad,
        find_faces=find_faces,
        mapping=parse_mapping(map),
        columns=parse_columns(columns),
        together=together,
        votes=tuple(name for name in (votes or "").split(",") if name.strip()),
        keep=tuple(name for name in ",".join(keep or ()).split(",") if name.strip()),
    )
    path = output or (FERPLUS_PATH if ferplus_labels else DEFAULT_PATH)
    with progress_bar(f"Reading {printable(source.name)}", percent=True) as progress:
        prepared = run(source, path, options, force, progress, replace=force or output is not None)
    _print_notes(prepared.notes)
    done = "is up to date" if prepared.reused else "written"
    print(printable(f"{path} {done}: {prepared.dataset!r}"))


@app.command
def info(
    file: Path = DEFAULT_PATH,
    /,
    *,
    sheet: Path | None = None,
    format: Literal["table", "json"] = "table",
) -> None:
    """Show counts by split and class, copies across splits, contradicting labels and blank pictures.

    Parameters
    ----------
    file
        A prepared dataset, or "sketch:COUNT".
    sheet
        Also write a contact sheet, some pictures of each class, as this PNG.
    format
        A table to read, or JSON.
    """
    from facelex.data.info import check_sheet, describe, save_contact_sheet

    check_sheet(sheet)
    dataset = load_dataset(file)
    found = describe(dataset)
    if sheet is not None:
        save_contact_sheet(dataset, sheet)
    if format == "json":
        print(json.dumps(asdict(found), indent=2))
    else:
        _print_info(found)


@app.command
def download() -> None:
    """Fetch FER2013 from Kaggle (needs facelex[download]) and say where it lies."""
    from facelex.data.download import download_fer2013

    folder = download_fer2013()
    print(f"FER2013 is in {folder}\nNext: facelex data prepare {shlex.quote(str(folder))}")


@app.command
def sketch(
    *,
    output: Annotated[Path | None, Parameter(alias="-o")] = None,
    count: int = SKETCH_COUNT,
    seed: int = 0,
    sheet: Path | None = None,
    force: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Draw faces: a dataset without photos, for tests and first steps.

    Parameters
    ----------
    output
        The file to write; data/sketch.npz by default, unless it holds a dataset made from something else.
    count
        How many faces.
    seed
        Equal seeds give equal faces.
    sheet
        Also write a contact sheet as this PNG.
    force
        Replace whatever the file holds.
    """
    from facelex.data.info import check_sheet, save_contact_sheet
    from facelex.data.prepare import check_output, replacing_notes
    from facelex.data.sketch import sketch_dataset

    path = output or SKETCH_PATH
    check_output(path)
    check_sheet(sheet)
    signature = f"sketch-{count}-{seed}"
    replaced = replacing_notes(path, signature, "sketch", force=force, replace=output is not None)
    with progress_bar("Drawing faces", percent=True) as progress:
        dataset = sketch_dataset(count, seed, progress)
    dataset.save(path, signature)
    if sheet is not None:
        save_contact_sheet(dataset, sheet)
    _print_notes(replaced)
    print(printable(f"{path} written: {dataset!r}"))


def _print_notes(notes: Sequence[str]) -> None:
    console = Console(stderr=True, highlight=False)
    for note in notes:
        console.print(f"Note: {printable(note)}", markup=False, soft_wrap=True)


def _print_info(found: DatasetInfo) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=escape(printable(found.source)), title_justify="left")
    table.add_column("class")
    for split in found.counts:
        table.add_column(split, justify="right")
    table.add_column("all", justify="right")
    columns = list(found.counts.values())
    for name in found.classes:
        row = [column[name] for column in columns]
        table.add_row(escape(printable(name)), *(f"{count:,}" for count in (*row, sum(row))))
    table.add_section()
    totals = [sum(column.values()) for column in columns]
    table.add_row("all", *(f"{count:,}" for count in (*totals, sum(totals))))
    blanks = list(found.blank.values())
    table.add_row("blank", *(f"{count:,}" for count in (*blanks, sum(blanks))))
    console = Console(highlight=False)
    console.print(table)
    copies = "; ".join(
        f"{name} {found.duplicates[name]:,}" for name in ("val in train", "test in train", "test in val")
    )
    height, width = found.image_size
    kept = [
        f"{printable(name)} ({count:,} value{'s' * (count != 1)})" for name, count in found.attributes.items()
    ]
    for line in (
        f"Images with a pixel-identical copy in another split: {copies}",
        f"Pictures that occur more than once: {found.duplicate_groups:,}, "
        f"{found.conflicting_groups:,} of them under different labels",
        f"Size {width}x{height}; votes: {printable(', '.join(found.vote_names)) or 'none'}",
        *([f"Kept columns: {', '.join(kept)}"] if kept else []),
        f"Fingerprint {found.fingerprint}",
    ):
        console.print(line, soft_wrap=True, markup=False)


def _shares(text: str) -> tuple[float, float, float]:
    try:
        train, val, test = (float(part) for part in text.split(","))
    except ValueError:
        train = val = test = -1.0
    if min(train, val, test) < 0 or not abs(train + val + test - 1) < 1e-6:
        raise FacelexError(
            f"Expected --split as three shares of train, val and test that sum to 1, such as 0.8,0.1,0.1, "
            f"but got {text!r}."
        )
    return train, val, test
