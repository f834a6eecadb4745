"""Which examples are copies of pictures that a network was trained on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from facelex.data.dataset import FaceDataset
from facelex.data.duplicates import duplicate_groups
from facelex.data.fer2013 import ROWS
from facelex.errors import FacelexError
from facelex.evaluation.labelled import load_labelled
from facelex.evaluation.networks import Network


def seen_in_training(network: Network, dataset: FaceDataset, split: str) -> NDArray[np.bool_] | None:
    """Mark the examples of a split that have a pixel-identical copy among a network's training pictures.

    Args:
        network: Who was trained.
        dataset: What is scored.
        split: ``train``, ``val`` or ``test``.

    Returns:
        Marks in the order of ``dataset.indices(split)``, ``(n,)``; none on the network's own training split.
        None where the training pictures are not at hand, or of another size. A network that does not say
        what it was trained on is taken at the word of the caller: on the dataset, if that can be.
    """
    if network.fingerprint in ("", dataset.fingerprint):
        return _seen_within(dataset, split)
    own = _own_dataset(network)
    if own is None:
        # FER2013 with votes and without has two fingerprints, but the same pictures in its splits
        return _seen_within(dataset, split) if _both_fer2013(network, dataset) else None
    if own.pixels.shape[1:] != dataset.pixels.shape[1:]:
        return None
    learned = own.pixels[own.indices("train")]
    groups = duplicate_groups(np.concatenate([learned, dataset.pixels[dataset.indices(split)]]))
    return np.isin(groups[len(learned) :], groups[: len(learned)])


def _seen_within(dataset: FaceDataset, split: str) -> NDArray[np.bool_] | None:
    """Compare with the dataset's own training split; None where it has none: nothing learned on it."""
    if not len(dataset.indices("train")):
        return None
    return np.zeros(len(dataset.indices(split)), bool) if split == "train" else dataset.seen_in(split)


def _both_fer2013(network: Network, dataset: FaceDataset) -> bool:
    named = all(source.startswith("FER2013 from ") for source in (network.dataset, dataset.source))
    return named and all(len(dataset.indices(split)) == count for split, count in ROWS.items())


def _own_dataset(network: Network) -> FaceDataset | None:
    """Load what the network was trained on, if it still lies where the run, or FER2013, is kept."""
    place = "fer2013" if network.run is None else network.run.data
    if place is None or not network.fingerprint:
        return None
    try:
        own = load_labelled(place, network.image_size)
    except (FacelexError, OSError):
        return None
    return own if own.fingerprint == network.fingerprint else None
