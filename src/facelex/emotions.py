"""The seven emotions: their order, every dataset's spelling of them, and the words that describe each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from facelex.errors import unknown_name

EMOTIONS: tuple[str, ...] = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
"""Class order everywhere; FER2013's ``emotion`` column 0..6 (Goodfellow et al. 2013)."""

FERPLUS_COLUMNS: tuple[str, ...] = (
    "neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt", "unknown", "NF",
)  # fmt: skip
"""Vote columns of ``fer2013new.csv`` in file order (Barsoum et al. 2016); NF means "not a face"."""

ALIASES: dict[str, str] = {
    "anger": "angry", "angriness": "angry", "mad": "angry",
    "disgusted": "disgust",
    "afraid": "fear", "fearful": "fear", "scared": "fear",
    "happiness": "happy", "joy": "happy",
    "sadness": "sad",
    "surprised": "surprise", "suprise": "surprise", "astonished": "surprise",
    "calm": "neutral",
}  # fmt: skip
"""Other spellings seen in datasets' folder and column names."""

EMOTION_WORDS: dict[str, tuple[str, ...]] = {
    "angry": ("anger", "angry", "furious", "rage", "annoyed", "outraged"),
    "disgust": ("disgust", "disgusted", "revulsion", "loathing", "repugnance", "distaste"),
    "fear": ("fear", "afraid", "scared", "frightened", "terrified", "fearful"),
    "happy": ("happiness", "happy", "joy", "smiling", "cheerful", "delighted"),
    "sad": ("sadness", "sad", "sorrow", "unhappy", "grief", "miserable"),
    "surprise": ("surprise", "surprised", "astonished", "amazed", "astonishment", "shocked"),
    "neutral": ("neutral", "calm", "impassive", "expressionless", "unemotional", "indifferent"),
}
"""Several words per emotion, all in the packaged vocabulary; a class vector is a mean over them.

Words whose vectors mean something else are left out: "composed" lies beside "comprising", "repulsed" beside
"counterattack", "blank" beside "ballots".
"""


def canonical_name(name: str) -> str:
    """Return a class name in the spelling used here: ``happy`` for ``Joy``; other names in lower case."""
    key = _without_case(name)
    return ALIASES.get(key, key)


def classes_named(name: str, classes: Sequence[str]) -> list[int]:
    """Find the classes that a name may mean.

    A class of that very name goes before one that differs in case, and that before another spelling: a model
    that tells "calm" from "neutral" is asked about each by its own name.

    Args:
        name: A class name of a dataset, a vote column or a user.
        classes: Class names to choose from.

    Returns:
        Ids: one where the name is clear, several where it fits classes that mean the same, none where it fits
        nothing.
    """
    for spelling in (str, _without_case, canonical_name):
        ids = [index for index, own in enumerate(classes) if spelling(own) == spelling(name)]
        if ids:
            return ids
    return []


def merging_notes(meant: Iterable[tuple[str, str]]) -> list[str]:
    """Say which names are taken for one class; names that differ only in case are one.

    Args:
        meant: Pairs of a name and the class that it is taken for.
    """
    names: dict[str, dict[str, str]] = {}
    for name, target in meant:
        names.setdefault(target, {}).setdefault(_without_case(name), name)
    return [
        f"Several names are taken for {target}: {', '.join(found.values())}."
        for target, found in names.items()
        if len(found) > 1
    ]


def _without_case(name: str) -> str:
    return name.strip().lower()


def emotion_index(name: str) -> int:
    """Return the class index 0..6 of an emotion in any known spelling, case ignored.

    Raises:
        FacelexError: If the name is none of the seven nor an alias.
    """
    key = canonical_name(name)
    if key not in EMOTIONS:
        raise unknown_name("emotion", name, EMOTIONS)
    return EMOTIONS.index(key)
