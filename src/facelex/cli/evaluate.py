"""``facelex evaluate``: score a run, a model or the mean of several on a split."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter

from facelex.cli.options import set_torch_threads
from facelex.errors import FacelexError, printable

if TYPE_CHECKING:
    from facelex.evaluation.evaluate import Evaluation
    from facelex.evaluation.evaluate_words import WordEvaluation

app = App(name="evaluate")


@app.default
def evaluate(
    *models: str,
    split: Literal["train", "val", "test"] = "test",
    data: str | None = None,
    format: Literal["table", "json"] = "table",
    flip: bool = True,
    ten_crop: Annotated[bool, Parameter(negative="")] = False,
    map: str | None = None,
    other_data: Annotated[bool, Parameter(negative="")] = False,
    output: Annotated[Path | None, Parameter(alias="-o")] = None,
    seed: int = 0,
    threads: int | None = None,
    by: Annotated[list[str] | None, Parameter(negative="")] = None,
    find_faces: Annotated[bool, Parameter(negative="")] = False,
    words: str | None = None,
    vocabulary: Path | None = None,
) -> None:
    """Score a run or a model on a split: accuracy, macro-F1, calibration, confusion, with 95 % intervals.

    Every score is given for all examples (official) and, where the pictures that the network was trained on
    are at hand, without pixel-identical copies of them (deduplicated), for the picture alone and for the mean
    with its mirror image. Of several networks the mean of their probabilities is scored, and beside it each
    network's own accuracy, and how it differs from that of the first on the same faces. What a run answers
    about its own dataset is kept in its folder and not computed again while its weights are the same.

    Parameters
    ----------
    models
        A run folder, an .onnx file, hf:owner/name, the word "shipped", "small", "tiny" or "ferplus", or
        answers in a file, as --output FILE.npz writes them; or several, of which each is compared with the
        first.
    split
        Which part of the data. Decide on val; read test for a finished model.
    data
        What to score on: a file of "facelex data prepare", fer2013 (data/fer2013.npz), sketch or
        sketch:COUNT, a folder of face crops by class, FER2013's CSV, or a CSV with the columns image and
        label. By default the (first) run's own dataset, or fer2013; answers in files need none.
    format
        A table for people or JSON for programs.
    flip
        Look at the mirror image too.
    ten_crop
        Look at ten windows too: the corners, the centre, and the mirror image of each.
    map
        Class names of the data and the model's class for each, such as "joy=happy,contempt=ignore".
    other_data
        Score a run folder on another dataset than the one it was trained on; nothing is written into it.
    output
        Also write the scores as JSON, or, when the name ends in .npz, the predictions.
    seed
        Seed of the bootstrap, 0 or more.
    threads
        CPU threads; all cores by default.
    by
        A column of the data to score by group, such as gender; age:18,40,65 parts numbers at these edges,
        gender*age:40 takes both together. May be repeated.
    find_faces
        The data are photos in a folder or a list: cut their faces out as "facelex data prepare --find-faces"
        does. Otherwise images are taken as face crops.
    words
        Faces sorted by words the model has no class for: how well does it find them by these words?
        "names" asks for every class of the data by its name; "bored=bored|weary,engaged" for some, by the
        words given. For one exported model.
    vocabulary
        With --words, GloVe file of the word vectors that the model was trained with, if not the packaged
        ones.
    """
    from facelex.cli.screen import outliving_the_reader
    from facelex.data.mapping import parse_mapping
    from facelex.evaluation.evaluate import evaluate as run
    from facelex.evaluation.evaluate_words import evaluate_words
    from facelex.evaluation.networks import names_run

    if output is not None:
        _check_output(output, models, data)
    if vocabulary is not None and words is None:
        raise FacelexError("Expected --vocabulary with --words alone: classes need no word vectors.")
    if words is not None:
        other = {"--map": map, "--by": by, "--ten-crop": ten_crop, "--other-data": other_data}
        _check_words(models, [option for option, value in other.items() if value], output)
        checked = evaluate_words(
            models[0],
            words,
            split,
            data,
            flip=flip,
            seed=seed,
            threads=threads,
            vocabulary=vocabulary,
            find_faces=find_faces,
        )
        _show_words(checked, format, output)
        return
    if any(names_run(model) for model in models):
        set_torch_threads(threads)
    result = run(
        models,
        split,
        data,
        flip=flip,
        mapping=parse_mapping(map),
        other_data=other_data,
        seed=seed,
        ten_crop=ten_crop,
        threads=threads,
        by=by or (),
        find_faces=find_faces,
    )
    with outliving_the_reader():
        _show(result, format)
    _tell(*result.notes, *(f"Written: {path}" for path in result.written))
    if output is not None:
        _tell(f"Written: {_write(output, result)}")


def _check_words(models: Sequence[str], others: Sequence[str], output: Path | None) -> None:
    if len(models) != 1:
        raise FacelexError(f"Expected one model with --words, but got {len(models)}. Name one.")
    if others:
        raise FacelexError(
            f"Expected --words without {' and '.join(others)}, which concerns the model's own classes. Leave "
            "it out."
        )
    if output is not None and output.suffix.lower() != ".json":
        raise FacelexError(f"Expected --output to end in .json with --words, but got {output}.")


def _check_output(output: Path, models: Sequence[str], data: str | None) -> None:
    from facelex.data.load import DEFAULT_PATH
    from facelex.run_files import is_record

    if is_record(output.name) and output.resolve().parent in {Path(model).resolve() for model in models}:
        raise FacelexError(
            f"{output} would replace a part of the run's own record, which evaluate keeps by itself. Name "
            "another file, or leave --output out."
        )
    if output.resolve() in {Path(name).resolve() for name in (*models, data or DEFAULT_PATH)}:
        raise FacelexError(f"--output {output} would replace what is scored. Name another file.")
    if output.suffix.lower() not in (".json", ".npz"):
        raise FacelexError(
            f"Expected --output to end in .json (scores) or .npz (predictions), but got {output}."
        )


def _write(output: Path, result: Evaluation) -> Path:
    from facelex.files import write_text

    if output.suffix.lower() == ".npz":
        return result.predictions.save(output)
    return write_text(output, json.dumps(result.scores, indent=1) + "\n")


def _show(result: Evaluation, format: str) -> None:
    from rich.console import Console

    from facelex.evaluation.score_tables import render_scores

    if format == "json":
        print(json.dumps(result.scores, indent=1))
    else:
        Console(highlight=False, emoji=False).print(render_scores(result.split_scores))


def _show_words(checked: WordEvaluation, format: str, output: Path | None) -> None:
    from rich.console import Console

    from facelex.cli.screen import outliving_the_reader
    from facelex.evaluation.word_tables import render_words
    from facelex.files import write_text

    text = json.dumps(checked.report.to_json(), indent=1) + "\n"
    with outliving_the_reader():
        if format == "json":
            print(text, end="")
        else:
            Console(highlight=False, emoji=False).print(render_words(checked.report))
    _tell(*checked.notes)
    if output is not None:
        _tell(f"Written: {write_text(output, text)}")


def _tell(*notes: str) -> None:
    from rich.console import Console

    for note in notes:
        Console(stderr=True, highlight=False, emoji=False).print(
            printable(note), markup=False, soft_wrap=True
        )
