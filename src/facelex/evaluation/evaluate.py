"""From networks and a dataset to predictions and scores, of one network or of the mean of several."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facelex.data.dataset import FaceDataset
from facelex.errors import FacelexError
from facelex.evaluation.answers import AnsweredSplit, answer_split, given_answers, scored_rows
from facelex.evaluation.calibration import fit_temperature
from facelex.evaluation.ensemble import check_same_classes, mean_predictions, member_scores
from facelex.evaluation.groups import Grouping, score_groups
from facelex.evaluation.labelled import load_labelled, merged_classes
from facelex.evaluation.networks import Network, names_answers, open_answers, open_network
from facelex.evaluation.predictions import Predictions
from facelex.evaluation.run_folder import RunFolder, merge_scores
from facelex.evaluation.score_records import SplitScores
from facelex.evaluation.scores import score_split
from facelex.evaluation.views import VIEW_LABELS, chosen_views
from facelex.recognize.model import PACKAGED


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found and where it was written.

    Attributes:
        predictions: The network's answers, or the mean of the networks' answers.
        split_scores: What ``score_split`` made of them; of several networks also each one's accuracy.
        written: Files written into run folders.
        notes: Sentences for the user.
        members: Each network's answers where there are several.
    """

    predictions: Predictions
    split_scores: SplitScores
    written: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()
    members: tuple[Predictions, ...] = ()

    @property
    def scores(self) -> dict[str, Any]:
        """The scores as plain values for JSON, as ``score_predictions`` returns them."""
        return self.split_scores.to_json()


def evaluate(
    models: str | Path | Sequence[str | Path],
    split: str = "test",
    data: str | Path | None = None,
    flip: bool = True,
    mapping: Mapping[str, str] | None = None,
    other_data: bool = False,
    seed: int = 0,
    ten_crop: bool = False,
    threads: int | None = None,
    by: str | Sequence[str] = (),
    find_faces: bool = False,
) -> Evaluation:
    """Score a network, or the mean of several, on a split.

    A run folder keeps what was found about its own dataset: ``predictions-SPLIT.npz``, which is used again as
    long as the weights are the same, and, unless it is scored together with others, an entry in
    ``scores.json`` with every view that is known. Scores on other data or under a mapping are returned only,
    and so are those that the folder cannot take, with a note.

    Args:
        models: A run folder, an ``.onnx`` file, ``hf:owner/name``, ``shipped``, ``small``, ``tiny`` or
            ``ferplus``, or an ``.npz`` file of answers (``Predictions.load``); or several, whose
            probabilities are averaged.
        split: ``train``, ``val`` or ``test``.
        data: What to score on, see ``load_labelled``; by default the (first) run's own dataset, or
            ``fer2013``. Files of answers alone need none: they hold the labels.
        flip: Look at the mirror image as well and score the mean.
        mapping: Class names of the data and the model's class for each, or ``ignore``.
        other_data: Allow a run folder to be scored on another dataset than it was trained on.
        seed: Seed of the bootstrap, 0 or more.
        ten_crop: Look at ten windows as well and score their mean.
        threads: Threads of an ONNX model; by default the physical cores.
        by: Columns of the data to part the scores by, as ``Grouping.parse`` reads them; such scores are
            returned only.
        find_faces: The data are photos in a folder or a list: cut their faces out, see ``load_labelled``.

    Raises:
        FacelexError: If a model or the data cannot be used or lack a column, the data are not a run's and
            ``other_data`` is not set, the networks do not answer with the same classes, answers are about
            other faces, or the seed is negative.
    """
    if seed < 0:
        raise FacelexError(f"Expected a seed of 0 or more, but got {seed}.")
    groupings = [Grouping.parse(text) for text in ([by] if isinstance(by, str) else by)]
    networks = _open_networks([models] if isinstance(models, str | Path) else models, threads)
    columns = {column.name for grouping in groupings for column in grouping.columns}
    dataset, reading = _load_dataset(networks, data, sorted(columns), find_faces, mapping)
    if dataset is None:
        about = {"--by": groupings, "--map": mapping, "--find-faces": find_faces, "--other-data": other_data}
        given = [option for option, value in about.items() if value]
        if given:
            raise FacelexError(
                f"Expected the faces for {' and '.join(given)}, but got answers alone. Name the faces with "
                "--data."
            )
    foreign = _foreign(networks, dataset)
    if foreign and dataset is not None and not other_data:
        raise _from_another_dataset(foreign[0], dataset, data)
    parted = _parts(groupings, networks[0], dataset, split, mapping)
    ask = partial(_ask, networks, dataset, foreign=foreign, mapping=mapping, flip=flip)
    answers, held_out = ask(split, ten_crop=ten_crop), []
    temperature = networks[0].temperature if len(networks) == 1 else None
    if temperature is None and not foreign and split != "val" and _has_val(networks, dataset, mapping):
        held_out = ask("val", ten_crop=False)
        temperature = _calibrate(held_out, flip)
    known = _together(answers)
    scores = score_split(known, temperature=temperature, seed=seed)
    run = None if len(networks) > 1 or foreign or mapping else networks[0].run
    written, unkept = _keep([*held_out, *answers], run, split, scores)
    views = chosen_views(flip=flip, ten_crop=ten_crop)
    preds = known.only(views)
    scores = replace(
        scores,
        views={view: scores.views[view] for view in preds.views},
        groups=[score_groups(preds, groups, text, seed) for text, groups in parted] or None,
    )
    members: tuple[Predictions, ...] = ()
    if len(networks) > 1:
        members = tuple(a.predictions.only(views) for a in answers)
        alike = [replace(one, seen=known.seen) for one in members]
        scores = replace(scores, members=member_scores(alike, seed))
    notes = (*reading, *_notes(networks, dataset, answers, foreign, mapping, views), *unkept)
    return Evaluation(preds, scores, written, notes, members)


def _foreign(networks: Sequence[Network], dataset: FaceDataset | None) -> list[Network]:
    """Return the runs that were trained on another dataset."""
    if dataset is None:
        return []
    return [n for n in networks if n.run is not None and not n.run.was_trained_on(dataset)]


def _has_val(
    networks: Sequence[Network], dataset: FaceDataset | None, mapping: Mapping[str, str] | None
) -> bool:
    """Whether all can be asked about a validation example of a class that is not left out."""
    if dataset is None or any(network.given is not None for network in networks):
        return False
    return bool(scored_rows(dataset, networks[0].classes, "val", mapping)[0].any())


def _parts(
    groupings: Sequence[Grouping],
    network: Network,
    dataset: FaceDataset | None,
    split: str,
    mapping: Mapping[str, str] | None,
) -> list[tuple[str, list[tuple[str, NDArray[np.bool_]]]]]:
    """Part the examples of a split that are scored, before anything is asked about them."""
    if dataset is None or not groupings:
        return []
    chosen, _ = scored_rows(dataset, network.classes, split, mapping)
    rows = dataset.indices(split)[chosen]
    return [(grouping.text, grouping.parts(dataset.attributes, rows)) for grouping in groupings]


def _ask(
    networks: Sequence[Network],
    dataset: FaceDataset | None,
    split: str,
    *,
    foreign: Sequence[Network],
    mapping: Mapping[str, str] | None,
    flip: bool,
    ten_crop: bool,
) -> list[AnsweredSplit]:
    """Ask each network about a split; folders of ``foreign`` networks are neither read nor written.

    Answers that lie in files are looked at first: they may not fit, and then nothing is computed.
    """
    given = {
        place: AnsweredSplit(given_answers(network, dataset, split, mapping))
        for place, network in enumerate(networks)
        if network.given is not None
    }
    if dataset is None:
        return list(given.values())
    return [
        given.get(place)
        or answer_split(
            network,
            dataset,
            split,
            flip=flip,
            ten_crop=ten_crop,
            mapping=mapping,
            keep=network not in foreign,
        )
        for place, network in enumerate(networks)
    ]


def _calibrate(held_out: Sequence[AnsweredSplit], flip: bool) -> float:
    """Fit a temperature to answers about the validation split, with the mirror image where ``flip`` is."""
    held = _together(held_out).only(chosen_views(flip=flip))
    return fit_temperature(held.log_views(held.views[-1]), held.labels)


def _keep(
    answers: Sequence[AnsweredSplit], run: RunFolder | None, split: str, scores: SplitScores
) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """Put scores into the folder of ``run``.

    Returns:
        The files written, those of the answers among them, and a note on each that could not be: what was
        found out is shown all the same.
    """
    written = [a.stored for a in answers if a.stored is not None and not a.reused]
    faults = [a.unkept for a in answers if a.unkept]
    if run is not None:
        try:
            written.append(merge_scores(run.path, split, scores.to_json()))
        except FacelexError as error:
            faults.append(str(error))
    return tuple(written), tuple(f"Not kept in the run folder: {fault}" for fault in faults)


def _open_networks(models: Sequence[str | Path], threads: int | None) -> list[Network]:
    """Open the networks and give each a name of its own."""
    if not models:
        raise FacelexError(
            f"Expected a run folder, an .onnx file, hf:owner/name, the word {' or '.join(PACKAGED)} or an "
            ".npz file of answers, but got none. Name at least one."
        )
    places = [Path(model).resolve() for model in models]
    twice = [model for model, place in zip(models, places) if places.count(place) > 1]
    if twice:
        raise FacelexError(
            f"Expected different networks, but {twice[0]} was given more than once. Name it once: the mean "
            "gives every network the same weight."
        )
    networks = [
        open_answers(model) if names_answers(model) else open_network(model, threads=threads)
        for model in models
    ]
    names = Counter(network.name for network in networks)
    check_same_classes([(network.source, network.classes) for network in networks])
    return [replace(n, name=n.source if names[n.name] > 1 else n.name) for n in networks]


def _load_dataset(
    networks: Sequence[Network],
    data: str | Path | None,
    columns: Sequence[str],
    find_faces: bool,
    mapping: Mapping[str, str] | None,
) -> tuple[FaceDataset | None, list[str]]:
    """Load what is scored, and notes; pictures of a folder as large as those that a network has learned from.

    Where several networks have learned from other sizes, the largest; each scales them as in its training.
    None where files of answers are all there is.
    """
    asked = [network for network in networks if network.given is None]
    if data is None and not asked:
        return None, []
    runs = [network.run for network in networks if network.run is not None]
    place = data if data is not None else runs[0].require_data() if runs else "fer2013"
    size = max(network.crop_size or network.image_size for network in asked or networks)
    return load_labelled(
        place, size, columns, find_faces=find_faces, classes=networks[0].classes, mapping=mapping
    )


def _from_another_dataset(network: Network, dataset: FaceDataset, data: str | Path | None) -> FacelexError:
    run = network.run
    assert run is not None
    return FacelexError(
        f"{run.path} is a run folder from another dataset: it was trained on {run.fingerprint[:12]}, but "
        f"{data or dataset.source} is {dataset.fingerprint[:12]}. Give its own dataset with --data, or add "
        "--other-data to score it on this one all the same."
    )


def _together(answers: Sequence[AnsweredSplit]) -> Predictions:
    members = [answer.predictions for answer in answers]
    return members[0] if len(members) == 1 else mean_predictions(members)


def _notes(
    networks: Sequence[Network],
    dataset: FaceDataset | None,
    answers: Sequence[AnsweredSplit],
    foreign: Sequence[Network],
    mapping: Mapping[str, str] | None,
    views: Sequence[str],
) -> tuple[str, ...]:
    notes = [] if dataset is None else merged_classes(dataset.class_names, networks[0].classes, mapping)
    for preds in (answer.predictions for answer in answers):
        lacking = [VIEW_LABELS[view] for view in views if view not in preds.views]
        if lacking:
            notes.append(f"{preds.model} holds no answers for the view {' and '.join(lacking)}: left out.")
    reused = [str(answer.stored) for answer in answers if answer.reused]
    if reused:
        notes.append(f"Not computed again, the weights are the same: {', '.join(reused)}")
    unknown = [answer.predictions.model for answer in answers if answer.predictions.seen is None]
    if unknown:
        notes.append(
            f"Which of these examples are copies of pictures that {', '.join(unknown)} was trained on is not "
            "known, so there are no deduplicated scores."
        )
    if foreign:
        notes.append("Scored on other data than the run's own, so nothing was written into the run folder.")
    elif mapping and any(network.run is not None for network in networks):
        notes.append("Scored with other class names (--map), so nothing was written into the run folder.")
    return tuple(notes)
