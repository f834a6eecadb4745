"""What a network answers about one split: computed, or taken from its run folder where it lies already."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facelex.data.dataset import SPLITS, FaceDataset
from facelex.data.votes import Votes
from facelex.errors import FacelexError
from facelex.evaluation.copies import seen_in_training
from facelex.evaluation.labelled import match_classes
from facelex.evaluation.networks import Network
from facelex.evaluation.predictions import Examples, Predictions
from facelex.evaluation.run_folder import weights_digest
from facelex.evaluation.views import VIEWS, WINDOW, chosen_views
from facelex.run_files import predictions_file


@dataclass(frozen=True)
class AnsweredSplit:
    """Predictions, and how they came about.

    Attributes:
        predictions: With every view that is known, also those not asked for.
        stored: The file of the run folder that holds them, None where there is none.
        reused: Whether that file held all that was asked for already.
        unkept: Why they could not be written there, empty where they could or need not be.
    """

    predictions: Predictions
    stored: Path | None = None
    reused: bool = False
    unkept: str = ""


def answer_split(
    network: Network,
    dataset: FaceDataset,
    split: str,
    *,
    flip: bool = True,
    ten_crop: bool = False,
    mapping: Mapping[str, str] | None = None,
    keep: bool = True,
) -> AnsweredSplit:
    """Ask a network about one split and put its answers beside the truth.

    What a run answers about its own dataset is kept in ``predictions-SPLIT.npz`` and not computed again as
    long as weights (by digest), dataset (by fingerprint) and window are those it was computed with; views
    that are missing there are added to it. A folder that cannot be written is no hindrance.

    Args:
        network: Who answers.
        dataset: Labelled faces.
        split: ``train``, ``val`` or ``test``.
        flip: Look at the mirror images too.
        ten_crop: Look at ten windows too.
        mapping: See ``labelled.match_classes``; with one, the folder is neither read nor written.
        keep: The dataset is the run's own: read and write its folder.

    Raises:
        FacelexError: If the split is empty, the class names do not match or the weights cannot be loaded.
    """
    chosen, labels = scored_rows(dataset, network.classes, split, mapping)
    rows = dataset.indices(split)[chosen]
    if not len(rows):
        counts = ", ".join(f"{len(dataset.indices(part)):,} {part}" for part in ("train", "val", "test"))
        raise FacelexError(
            f"There is nothing to score in the split {split!r} ({dataset.source} has {counts}). "
            "Choose another with --split or look at --map."
        )
    path, digest, known = None, "", {}
    if network.run is not None and keep and not mapping:
        path, digest = predictions_file(network.run.path, split), weights_digest(network.run.path)
        held = stored_predictions(network.run.path, split, dataset.fingerprint, digest)
        known = _known(held, len(rows))
    missing = [view for view in chosen_views(flip=flip, ten_crop=ten_crop) if view not in known]
    found = known | _ask(network, dataset.pixels[rows], missing)
    seen = seen_in_training(network, dataset, split)
    preds = Predictions(
        probs=found["single"],
        labels=labels,
        seen=None if seen is None else seen[chosen],
        classes=network.classes,
        votes=_votes(dataset, rows, mapping),
        mirror_probs=found.get("flip"),
        model=network.name,
        split=split,
        fingerprint=dataset.fingerprint,
        temperature=network.temperature or 1.0,
        crop_probs=found.get("ten_crop"),
        weights=digest,
    )
    if path is None or not missing:
        return AnsweredSplit(preds, path, reused=path is not None)
    try:
        return AnsweredSplit(preds, preds.save(path))
    except FacelexError as error:
        return AnsweredSplit(preds, unkept=str(error))


def given_answers(
    network: Network, dataset: FaceDataset | None, split: str, mapping: Mapping[str, str] | None = None
) -> Predictions:
    """Return the answers that a file holds, if they are about what is scored.

    Args:
        network: One with ``given`` answers.
        dataset: Labelled faces; None where the file's own labels are all there is.
        split: ``train``, ``val`` or ``test``.
        mapping: See ``labelled.match_classes``.

    Raises:
        FacelexError: If the file is about another split, other faces or another order, as far as that shows.
    """
    assert network.given is not None
    held = replace(network.given, model=network.name)
    if held.split not in SPLITS:
        raise FacelexError(
            f"Expected the array split in {network.source} to be one of {', '.join(SPLITS)}, but got "
            f"{held.split!r}. Leave it out for test, or correct the file."
        )
    if held.split != split:
        raise FacelexError(
            f"Expected answers about {split} in {network.source}, but they are about {held.split}. Add "
            f"--split {held.split}, or name another file."
        )
    if dataset is None:
        return held
    chosen, labels = scored_rows(dataset, network.classes, split, mapping)
    truth = Examples(dataset.source, split, dataset.fingerprint, network.classes, labels)
    fault = replace(held.examples, name=network.source).fault_beside(truth)
    if fault:
        raise FacelexError(
            f"Expected answers about the faces that are scored, in their order, but {fault}. Name the data "
            "that were answered with --data, or get answers about these."
        )
    votes = _votes(dataset, dataset.indices(split)[chosen], mapping)
    return replace(held, fingerprint=dataset.fingerprint, votes=held.votes if votes is None else votes)


def scored_rows(
    dataset: FaceDataset, classes: Sequence[str], split: str, mapping: Mapping[str, str] | None = None
) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Mark the examples of a split that are not left out, and return their classes among ``classes``.

    Returns:
        Marks in the order of ``dataset.indices(split)``, and the class ids of the marked, ``(n,)``.

    Raises:
        FacelexError: If the class names do not match.
    """
    labels = match_classes(dataset.class_names, classes, mapping)[dataset.labels[dataset.indices(split)]]
    return labels >= 0, labels[labels >= 0]


def _votes(dataset: FaceDataset, rows: NDArray[np.int64], mapping: Mapping[str, str] | None) -> Votes | None:
    """Return the votes on some examples, on classes as the mapping calls them; FER+'s columns have names."""
    if dataset.votes is None:
        return None
    votes = dataset.votes[rows]
    return votes if votes.of_ferplus else votes.renamed(mapping)


def _ask(network: Network, pixels: NDArray[np.uint8], views: Collection[str]) -> dict[str, np.ndarray]:
    """Compute what each of the views adds, as ``Predictions.answers`` holds it."""
    if not views:
        return {}
    found = {}
    with _within_memory():
        answer = network.load()
        for name in views:
            probs = [answer(variant) for variant in VIEWS[name].make(pixels)]
            found[name] = probs[0] if VIEWS[name].variants == 1 else np.stack(probs)
    return found


@contextmanager
def _within_memory() -> Iterator[None]:
    """Say what to do where a GPU has no room, which PyTorch tells in an error of its own."""
    try:
        yield
    except RuntimeError as error:
        if type(error).__name__ != "OutOfMemoryError":
            raise
        raise FacelexError(
            f"Expected the network and its pictures to fit into the GPU's memory, but got: {error} "
            "Free some of it, or hide the GPU: CUDA_VISIBLE_DEVICES= facelex evaluate ..."
        ) from error


def stored_predictions(
    folder: Path, split: str, fingerprint: str, digest: str | None = None
) -> Predictions | None:
    """Read what a run has answered about a split of its own dataset, if that is still so.

    Args:
        folder: A finished run.
        split: ``train``, ``val`` or ``test``.
        fingerprint: Fingerprint of the dataset; empty where the run does not say which it was trained on.
        digest: Digest of the run's weights, where it is known already.

    Returns:
        None if nothing readable is stored, the run has no weights, or the answers came from other weights or
        another dataset; those of a file without a digest may have.
    """
    try:
        held = Predictions.load(predictions_file(folder, split))
        today = digest or weights_digest(folder)
    except (FacelexError, OSError):
        return None
    return held if fingerprint in ("", held.fingerprint) and held.weights == today else None


def _known(held: Predictions | None, count: int) -> dict[str, np.ndarray]:
    """Return the answers to all ``count`` examples that need not be computed; windows of the size in use."""
    if held is None or len(held) != count:
        return {}
    return (held if held.window == WINDOW else held.only(chosen_views(flip=True))).answers
