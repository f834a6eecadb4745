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

ENCODED_ANEW_BELOW = 7.0
"""Grey levels (RMS) that JPEG stays below: at quality 75 it alters FER2013 by 5; other faces differ by 40."""


def seen_in_training(network: Network, dataset: FaceDataset, split: str) -> NDArray[np.bool_] | None:
    """Mark the examples of a split that have a pixel-identical copy among a network's training pictures.

    Args:
        network: Who was trained.
        dataset: What is scored.
        split: ``train``, ``val`` or ``test``.

    Returns:
        Marks in the order of ``dataset.indices(split)``, ``(n,)``; none on the network's own training split.
        None where the training pictures are not at hand, of another size, or encoded anew in the dataset.
        Other data's own training split counts too: it holds the same copies if they are FER2013 as JPEGs. A
        network that does not say what it was trained on is taken at the word of the caller: on the dataset,
        if that can be.
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
    scored = dataset.pixels[dataset.indices(split)]
    groups = duplicate_groups(np.concatenate([learned, scored]))
    copies = np.isin(groups[len(learned) :], groups[: len(learned)])
    within = _seen_within(dataset, split)
    if within is not None:
        return copies | within
    return None if _encoded_anew(scored, own.pixels) else copies


def _seen_within(dataset: FaceDataset, split: str) -> NDArray[np.bool_] | None:
    """Compare with the dataset's own training split; None where it has none: nothing learned on it."""
    if not len(dataset.indices("train")):
        return None
    return np.zeros(len(dataset.indices(split)), bool) if split == "train" else dataset.seen_in(split)


def _encoded_anew(pictures: NDArray[np.uint8], originals: NDArray[np.uint8]) -> bool:
    """Whether most of some hundred pictures are nearly, but not quite, one of the originals."""
    some = pictures[:: max(1, len(pictures) // 100)].astype(np.float32)
    coarse, known = (
        pixels[:, ::4, ::4].reshape(len(pixels), -1).astype(np.float32) for pixels in (some, originals)
    )
    nearest = originals[((known**2).sum(axis=1) - 2 * coarse @ known.T).argmin(axis=1)]
    gaps = np.sqrt(((some - nearest) ** 2).mean(axis=(1, 2)))
    return bool(np.mean((gaps > 0) & (gaps < ENCODED_ANEW_BELOW)) > 0.5)


def _both_fer2013(network: Network, dataset: FaceDataset) -> bool:
    named = all(source.startswith("FER2013 from ") for source in (network.dataset, dataset.source))
    return named and all(len(dataset.indices(split)) == count for split, count in ROWS.items())


def _own_dataset(network: Network) -> FaceDataset | None:
    """Load what the network was trained on, if it still lies where the run, or FER2013, is kept."""
    place = "fer2013" if network.run is None else network.run.data
    if place is None or not network.fingerprint:
        return None
    try:
        own, _ = load_labelled(place, network.image_size)
    except (FacelexError, OSError):
        return None
    return own if own.fingerprint == network.fingerprint else None
