"""What a model said about a split: the arrays from which every number in ``evaluation`` is made."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np

from facelex.data.votes import Votes, read_vote_arrays
from facelex.errors import FacelexError
from facelex.evaluation.calibration import apply_temperature
from facelex.evaluation.views import VIEWS, WINDOW
from facelex.files import replace_file
from facelex.npz import read_npz


@dataclass(frozen=True)
class Examples:
    """Which examples were answered and in what order: what answers must share to be compared.

    Attributes:
        name: Whose they are, for messages.
        split: ``train``, ``val`` or ``test``.
        fingerprint: Fingerprint of the dataset; empty when unknown.
        classes: Class names in label order.
        labels: True class ids, ``(n,)`` int64.
    """

    name: str
    split: str
    fingerprint: str
    classes: tuple[str, ...]
    labels: np.ndarray

    def fault_beside(self, other: Examples) -> str:
        """Say in what these examples differ from others, empty where they may be the same.

        Without fingerprints, faces of one class that have changed places go unnoticed.
        """
        one, two = (self.name or "A"), (other.name or "B")
        if self.fingerprint and other.fingerprint and self.fingerprint != other.fingerprint:
            prints = f"{self.fingerprint[:12]} and {other.fingerprint[:12]}"
            return f"{one} and {two} are about different datasets ({prints})"
        if self.classes != other.classes:
            return f"{one} has the classes {', '.join(self.classes)} and {two} {', '.join(other.classes)}"
        if self.split != other.split or len(self.labels) != len(other.labels):
            counts = [f"{len(each.labels):,} of {each.split}" for each in (self, other)]
            return f"{one} has {counts[0]} and {two} {counts[1]}"
        differ = np.flatnonzero(self.labels != other.labels)
        if not len(differ):
            return ""
        names = [self.classes[each.labels[differ[0]]] for each in (self, other)]
        return (
            f"the labels of {len(differ):,} differ: number {differ[0] + 1:,} is {names[0]} in {one} and "
            f"{names[1]} in {two}"
        )


@dataclass(frozen=True)
class Predictions:
    """Class probabilities beside the true labels, one row an example.

    Attributes:
        probs: Probabilities of the picture as it is, ``(n, K)`` float32, rows sum to 1, not calibrated.
        labels: True class ids, ``(n,)`` int64.
        seen: True where the example has a pixel-identical copy among the pictures that the model was trained
            on, ``(n,)`` bool; None where these are not known.
        classes: Class names in the order of the columns.
        votes: What several people took each example for, or None.
        mirror_probs: Probabilities of the mirror image, as ``probs``, or None when it was not looked at.
        model: Name of the run or model.
        split: ``train``, ``val`` or ``test``.
        fingerprint: Fingerprint of the dataset; empty when unknown.
        temperature: The model's own calibration, 1 when it has none.
        crop_probs: Probabilities of the windows of ``views.ten_crops``, ``(10, n, K)`` float32, or None when
            they were not looked at.
        window: Side of those windows as a share of the picture's side.
        weights: Digest of the weights that answered; empty when unknown.
        members: Names of the networks whose mean this is; empty for one network.

    Raises:
        FacelexError: If shapes disagree, a label is out of range or a row is no distribution.
    """

    probs: np.ndarray
    labels: np.ndarray
    seen: np.ndarray | None
    classes: tuple[str, ...]
    votes: Votes | None = None
    mirror_probs: np.ndarray | None = None
    model: str = ""
    split: str = "test"
    fingerprint: str = ""
    temperature: float = 1.0
    crop_probs: np.ndarray | None = None
    window: float = WINDOW
    weights: str = ""
    members: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", tuple(str(name) for name in self.classes))
        object.__setattr__(self, "labels", np.asarray(self.labels, dtype=np.int64))
        if self.seen is not None:
            object.__setattr__(self, "seen", np.asarray(self.seen, dtype=bool))
        object.__setattr__(self, "members", tuple(str(name) for name in self.members))
        for view, values in self.answers.items():
            object.__setattr__(self, VIEWS[view].array, np.asarray(values, dtype=np.float32))
        faults = self._faults()
        if faults:
            raise FacelexError("Predictions do not hold together: " + "; ".join(faults) + ".")

    def __len__(self) -> int:
        return len(self.labels)

    def _faults(self) -> list[str]:
        count, classes = len(self.labels), len(self.classes)
        faults = []
        if classes == 0:
            faults.append("expected at least one class name")
        if len(set(self.classes)) < classes:
            faults.append(f"expected each class once, but got {', '.join(self.classes)}")
        for view, probs in self.answers.items():
            name, variants = VIEWS[view].array, VIEWS[view].variants
            shape = (count, classes) if variants == 1 else (variants, count, classes)
            if probs.shape != shape:
                faults.append(f"expected {name} of shape {shape}, but got {probs.shape}")
            elif not np.all(np.isfinite(probs)) or np.any(probs < 0):
                faults.append(f"expected finite, non-negative {name}")
            elif count and np.abs(probs.sum(axis=-1) - 1).max() > 1e-3:
                faults.append(f"expected rows of {name} to sum to 1 (pass probabilities, not logits)")
        if self.labels.ndim != 1:
            faults.append(f"expected labels of shape (n,), but got {self.labels.shape}")
        elif count and (self.labels.min() < 0 or self.labels.max() >= classes):
            faults.append(
                f"expected labels in 0..{classes - 1}, but got {self.labels.min()}..{self.labels.max()}"
            )
        if self.seen is not None and self.seen.shape != (count,):
            faults.append(f"expected seen of shape ({count},), but got {self.seen.shape}")
        if self.votes is not None and len(self.votes) != count:
            faults.append(f"expected votes on {count} examples, but got them on {len(self.votes)}")
        if not (np.isfinite(self.temperature) and self.temperature > 0):
            faults.append(f"expected a positive temperature, but got {self.temperature}")
        return faults

    @property
    def examples(self) -> Examples:
        """Which examples these are about."""
        return Examples(self.model, self.split, self.fingerprint, self.classes, self.labels)

    @property
    def answers(self) -> dict[str, np.ndarray]:
        """By name of the view, the probabilities that it adds, as the arrays hold them."""
        arrays = {name: getattr(self, view.array) for name, view in VIEWS.items()}
        return {name: probs for name, probs in arrays.items() if probs is not None}

    @property
    def views(self) -> tuple[str, ...]:
        """The views that are held: ``single``, and ``flip`` and ``ten_crop`` when they were looked at."""
        return tuple(self.answers)

    def view_probs(self, view: str = "single", temperature: float = 1.0) -> np.ndarray:
        """Return the probabilities of one view, ``(n, K)``, calibrated with ``temperature``.

        ``flip`` is the mean over the picture and its mirror image, ``ten_crop`` over ten windows, each
        calibrated before the mean.

        Raises:
            FacelexError: If the mirror image or the windows were not looked at.
        """
        if view not in self.views:
            raise FacelexError(
                f"Expected a view among {', '.join(self.views)}, but got {view!r}. "
                "Predict again with the mirror image (flip) or the windows (ten_crop) to have that view."
            )
        variants = self._variants(view)
        if temperature != 1:
            variants = apply_temperature(variants, temperature)
        return np.asarray(variants.mean(axis=0), dtype=np.float32)

    def _variants(self, view: str) -> np.ndarray:
        """Stack the probabilities that a view averages, ``(V, n, K)``."""
        own = self.answers[view]
        own = own if own.ndim == 3 else own[None]
        return np.concatenate([self.probs[None], own]) if VIEWS[view].with_picture else own

    def log_views(self, view: str = "single") -> np.ndarray:
        """Return log-probabilities for fitting a temperature, ``(V, n, K)`` with V of 1, 2 or 10."""
        return np.log(np.maximum(self._variants(view).astype(np.float64), np.finfo(np.float32).tiny))

    def subset(self, keep: np.ndarray) -> Predictions:
        """Return the examples picked by ``keep``, ``(n,)`` bool or indices."""
        kept: dict[str, Any] = {
            VIEWS[view].array: probs[..., keep, :] for view, probs in self.answers.items()
        }
        return replace(
            self,
            labels=self.labels[keep],
            seen=None if self.seen is None else self.seen[keep],
            votes=None if self.votes is None else self.votes[keep],
            **kept,
        )

    def only(self, views: Collection[str]) -> Predictions:
        """Return the same with the named views alone; the picture as it is always stays."""
        dropped: dict[str, Any] = {
            VIEWS[view].array: None for view in self.views if view not in ("single", *views)
        }
        return replace(self, **dropped)

    def unseen(self) -> np.ndarray:
        """Mark the examples without a pixel-identical copy among the training pictures, ``(n,)`` bool.

        Raises:
            FacelexError: If the training pictures are not known.
        """
        if self.seen is None:
            raise FacelexError(
                f"Expected to know which examples {self.model or 'the model'} was trained on, but these "
                "predictions do not say. Compare all examples."
            )
        return ~self.seen

    def deduplicated(self) -> Predictions:
        """Return the examples that `unseen` marks, which raises where they are not known."""
        return self.subset(self.unseen())

    def save(self, path: str | Path) -> Path:
        """Write ``predictions-SPLIT.npz``; the file appears whole or not at all."""
        path = Path(path)
        arrays = {
            "probs": self.probs,
            "labels": self.labels,
            "classes": np.array(self.classes),
            "model": np.array(self.model),
            "split": np.array(self.split),
            "fingerprint": np.array(self.fingerprint),
            "temperature": np.array(float(self.temperature)),
            "weights": np.array(self.weights),
        }
        if self.seen is not None:
            arrays["seen"] = self.seen
        if self.votes is not None:
            arrays["votes"] = self.votes.counts
            if not self.votes.of_ferplus:
                arrays["vote_names"] = np.array(self.votes.names)
        arrays |= {VIEWS[view].array: probs for view, probs in self.answers.items()}
        if self.crop_probs is not None:
            arrays["window"] = np.array(float(self.window))
        if self.members:
            arrays["members"] = np.array(self.members)

        def write(file: IO[bytes]) -> None:
            np.savez(file, **arrays)  # type: ignore[arg-type]

        replace_file(path, write)
        return path

    @classmethod
    def load(cls, path: str | Path) -> Predictions:
        """Read a file written by ``save``, or by others with at least ``probs``, ``labels`` and ``classes``.

        Without ``seen`` nothing is known of copies among training pictures.

        Raises:
            FacelexError: If the file is missing, is no predictions file or does not hold together.
        """
        path = Path(path)
        try:
            arrays = read_npz(path)
        except FileNotFoundError as error:
            raise FacelexError(f"Expected predictions at {path}, but there is no such file.") from error
        except (OSError, ValueError) as error:
            raise FacelexError(
                f"Expected {path} to be a predictions file (.npz), but it cannot be read: {error}"
            ) from error
        missing = [name for name in ("probs", "labels", "classes") if name not in arrays]
        if missing:
            raise FacelexError(
                f"Expected arrays {', '.join(missing)} in {path}, but the file lacks them. Name predictions, "
                "such as 'facelex evaluate MODEL -o FILE.npz' writes."
            )
        for name in ("temperature", "window"):
            number = arrays.get(name)
            if number is not None and not (number.ndim == 0 and number.dtype.kind in "fiu"):
                raise FacelexError(
                    f"{path}: expected {name} to be one number, but got {number.dtype} of shape "
                    f"{number.shape}. Leave it out, or correct the file."
                )
        for name, axes in (("seen_known", 0), ("seen", 1)):
            marks = arrays.get(name)
            if marks is not None and not (marks.ndim == axes and marks.dtype.kind in "biuf"):
                raise FacelexError(
                    f"{path}: expected {name} as true or false{', one a face' * axes}, but got {marks.dtype} "
                    f"of shape {marks.shape}. Leave it out, or correct the file."
                )
        if not arrays.get("seen_known", True):  # as earlier versions said that they are not known
            arrays.pop("seen", None)
        try:
            return cls(
                probs=arrays["probs"],
                labels=_class_ids(arrays["labels"]),
                seen=arrays.get("seen"),
                classes=_class_names(arrays["classes"]),
                votes=read_vote_arrays(arrays),
                mirror_probs=arrays.get("mirror_probs"),
                model=str(arrays.get("model", "")),
                split=str(arrays.get("split", "test")),
                fingerprint=str(arrays.get("fingerprint", "")),
                temperature=float(arrays.get("temperature", 1.0)),
                crop_probs=arrays.get("crop_probs"),
                window=float(arrays.get("window", WINDOW)),
                weights=str(arrays.get("weights", "")),
                members=tuple(arrays["members"].tolist()) if "members" in arrays else (),
            )
        except (FacelexError, TypeError, ValueError) as error:
            raise FacelexError(f"{path}: {error}") from error


def _class_ids(labels: np.ndarray) -> np.ndarray:
    if labels.ndim != 1:
        raise FacelexError(f"Expected labels of shape (n,), one a face, but got {labels.shape}.")
    whole = labels.dtype.kind in "iu" or (labels.dtype.kind == "f" and bool(np.all(labels % 1 == 0)))
    if not whole:
        raise FacelexError(
            "Expected labels as whole numbers, the true class's place in classes, but got "
            f"{labels.ravel()[:3].tolist()}."
        )
    return labels


def _class_names(classes: np.ndarray) -> tuple[str, ...]:
    if classes.ndim != 1 or (classes.size and classes.dtype.kind != "U"):
        raise FacelexError(
            f"Expected classes as a list of names, but got {classes.dtype} of shape {classes.shape}."
        )
    return tuple(classes.tolist())
