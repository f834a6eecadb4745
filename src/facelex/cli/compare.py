"""``facelex compare``: the table of encoders, methods and seeds, with gains and paired tests."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter

from facelex.cli.options import DONE, FAILED, check_jobs, set_torch_threads
from facelex.cli.screen import outliving_the_reader, tell
from facelex.errors import FacelexError, require

if TYPE_CHECKING:
    from facelex.training.cells import Cell

app = App(name="compare")


@app.default
@outliving_the_reader()
def compare(
    *,
    config: Annotated[str, Parameter(alias="-c")] = "quick",
    encoders: str = "vgg11,vgg16,resnet18,resnet50",
    methods: str = "baseline,multimodal",
    seeds: str = "0,1,2",
    overrides: Annotated[list[str] | None, Parameter(name="--set", negative="")] = None,
    output: Annotated[Path, Parameter(alias="-o")] = Path("runs/compare"),
    split: Literal["val", "test"] = "val",
    train: bool = True,
    flip: bool = True,
    metric: Literal["accuracy", "macro-f1", "balanced-accuracy"] = "accuracy",
    data: str | None = None,
    accelerator: Literal["auto", "cpu", "cuda"] = "auto",
    threads: int | None = None,
    jobs: int = 1,
    format: Literal["table", "markdown"] = "table",
) -> int:
    """Train every cell that is missing, then compare each method with the first one.

    Runs lie in OUTPUT/ENCODER-METHOD-sSEED. An interrupted table goes on where it stopped when the same
    command is given again. A cell that cannot be trained is left out, and the exit code is 1. Gains come
    with a t interval over paired seeds; compare-SPLIT.json also holds McNemar's test and a paired bootstrap
    for each seed.

    Args:
        config: Configuration of every cell.
        encoders: Image encoders, separated by commas.
        methods: Methods of the configuration, separated by commas; the first is the reference. With a text
            encoder behind it, such as multimodal:random, a method is trained with other words or none.
        seeds: Seeds, separated by commas.
        overrides: Change a setting of every cell, for example --set max_epochs_per_phase=2.
        output: Folder of the table.
        split: What to score: val while choosing, test once at the end.
        train: With --no-train, only compare what is finished.
        flip: Score the mean of each image and its mirror image; --no-flip scores the single view.
        metric: What to compare. macro-f1 and balanced-accuracy, the mean recall of the classes, weigh rare
            classes like common ones.
        data: Dataset file, in place of the configuration's; cells trained on another one are refused.
        accelerator: What to train on: auto, cpu or cuda.
        threads: CPU threads of each job; by default the jobs share all cores.
        jobs: How many cells to train at once. Small networks leave a GPU or several cores half idle, so that
            two at once take less time than one after the other; where there are several GPUs, each job takes
            one of them.
        format: How to print the table.
    """
    require("torch", "train", "Comparing")
    from facelex.training.memory import keep_memory

    keep_memory()
    from rich.console import Console

    from facelex.data.load import load_dataset
    from facelex.training.cells import check_cells, list_cells, train_cells, train_cells_at_once
    from facelex.training.compare import compare_cells
    from facelex.training.comparison_tables import (
        comparison_markdown,
        comparison_table,
        note_replaced,
        write_comparison,
    )
    from facelex.training.config import load_config
    from facelex.training.progress import RichReporter

    sets = overrides or []
    check_jobs(jobs)
    base = load_config(config, sets, data=data)
    cells = list_cells(_names(encoders), _names(methods), _numbers(seeds), output)
    named = data is not None or any(setting.startswith("data=") for setting in sets)
    dataset = load_dataset(base.data) if train or named else None
    check_cells(cells, base, dataset, train=train)
    set_torch_threads(threads)
    console = Console(width=None if sys.stdout.isatty() else 120)
    failed: Mapping[Cell, FacelexError] = {}
    if dataset is not None and train:
        if jobs > 1:
            failed = train_cells_at_once(
                cells, base, dataset, jobs=jobs, threads=threads, console=console, accelerator=accelerator
            )
        else:
            reporter = RichReporter(console)
            failed = train_cells(
                cells, base, dataset, reporter=reporter, announce=reporter.note, accelerator=accelerator
            )
        if failed and not any(cell.finished for cell in cells):
            raise next(iter(failed.values()))
    called = " --set ".join([config, *(part for part in overrides or [] if not part.startswith("data="))])
    comparisons = compare_cells(cells, split, flip=flip, metric=metric, data=data, configuration=called)
    replaced = note_replaced(comparisons, split, output)
    write_comparison(comparisons, split, output)
    if replaced:
        tell(replaced)
    if format == "markdown":
        console.print(comparison_markdown(comparisons, split), markup=False, highlight=False, soft_wrap=True)
    else:
        console.print(comparison_table(comparisons, split))
    if failed:
        tell(f"Not in the table, since training failed: {', '.join(cell.folder.name for cell in failed)}.")
    return FAILED if failed else DONE


def _names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise FacelexError(f"Expected names separated by commas, but got {text!r}.")
    return names


def _numbers(text: str) -> list[int]:
    if not all(name.isdecimal() for name in _names(text)):
        raise FacelexError(
            f"Expected seeds as whole numbers separated by commas, such as 0,1,2, but got {text!r}."
        )
    return [int(name) for name in _names(text)]
