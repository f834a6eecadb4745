"""The faces of an album that words fit best: of photos each face, of videos their moments."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from facelex.recognize.album_index import Entry
from facelex.recognize.face_tracker import out_of_sight
from facelex.recognize.matches import Match
from facelex.recognize.moments import WINDOW, Moment, find_moments, window_means
from facelex.recognize.results import Face

if TYPE_CHECKING:
    from facelex.recognize.recognizer import Recognizer


@dataclass(frozen=True)
class _Hit:
    """A face of a photo, or a look at one of a video, before it is known whether it is among the best."""

    score: float
    source: str
    row: int
    words: NDArray[np.float32]
    """Score of each, ``(W,)``."""
    moment: Moment | None = None


def best_matches(
    entries: Mapping[str, Entry],
    recognizer: Recognizer,
    labels: Sequence[str],
    *,
    top: int | None,
    min_size: float,
) -> list[Match]:
    """Return the faces that words fit best, best first.

    Args:
        entries: What was found in each file, by the name it was given.
        recognizer: The one that read them.
        labels: The words, which it knows; their scores are averaged.
        top: Matches to return; None for all.
        min_size: Pixels that the shorter side of a face must have.
    """
    hits = [
        *_photo_hits(entries, recognizer, labels, top, min_size),
        *_video_hits(entries, recognizer, labels, top, min_size),
    ]
    hits.sort(key=lambda hit: -hit.score)  # keeps the order of equal ones
    return [
        _match(rank, hit, entries[hit.source], recognizer, labels)
        for rank, hit in enumerate(hits[:top], start=1)
    ]


def _found(entries: Mapping[str, Entry], min_size: float) -> Iterator[tuple[str, Entry, NDArray[np.int64]]]:
    """Yield each file in which faces were found that are large enough, and which they are."""
    for source, entry in entries.items():
        if len(entry.boxes):
            kept = np.flatnonzero(entry.boxes[:, 2:].min(axis=1) >= min_size)
            if len(kept):
                yield source, entry, kept


def _photo_hits(
    entries: Mapping[str, Entry],
    recognizer: Recognizer,
    labels: Sequence[str],
    most: int | None,
    min_size: float,
) -> list[_Hit]:
    """Return the best faces of the photos with their scores."""
    places: list[tuple[str, int]] = []
    parts: list[NDArray[np.float32]] = []
    for source, entry, kept in _found(entries, min_size):
        if entry.looks is None:
            places += [(source, int(row)) for row in kept]
            parts.append(entry.features[kept])
    if not places:
        return []
    scores = recognizer.score_words(np.concatenate(parts), labels)  # (n, words)
    means = scores.mean(axis=1)
    best = np.argsort(-means, kind="stable")[:most]  # no object for each of a hundred thousand faces
    ranked = ((float(means[i]), places[int(i)], scores[i]) for i in best)
    return [_Hit(mean, source, row, words) for mean, (source, row), words in ranked]


def _video_hits(
    entries: Mapping[str, Entry],
    recognizer: Recognizer,
    labels: Sequence[str],
    most: int | None,
    min_size: float,
) -> list[_Hit]:
    """Return the best moments of each face of the videos with their scores."""
    hits = []
    for source, entry, kept in _found(entries, min_size):
        if entry.looks is None:
            continue
        times, tracks = entry.looks.times[kept], entry.looks.tracks[kept]
        scores = window_means(times, tracks, recognizer.score_words(entry.features[kept], labels))
        means = scores.mean(axis=1)
        moments = find_moments(times, tracks, means, gap=out_of_sight(entry.looks.every), most=most)
        hits += [
            _Hit(float(means[moment.row]), source, int(kept[moment.row]), scores[moment.row], moment)
            for moment in moments
        ]
    return hits


def _match(rank: int, hit: _Hit, entry: Entry, recognizer: Recognizer, labels: Sequence[str]) -> Match:
    number, boxes, times = hit.row, entry.boxes, {}
    probabilities = entry.probabilities[hit.row]
    if entry.looks is not None and hit.moment is not None:
        looks = entry.looks
        time, number = float(looks.times[hit.row]), int(looks.tracks[hit.row])
        near = np.flatnonzero((looks.times >= time - WINDOW) & (looks.times <= time + WINDOW))
        same = near[looks.tracks[near] == number]
        probabilities = entry.probabilities[same].mean(axis=0, dtype=np.float64).astype(np.float32)
        boxes = entry.boxes[near]
        times = {"time": time, "start": hit.moment.start, "end": hit.moment.end}
    x, y, width, height = map(float, entry.boxes[hit.row])
    best = int(probabilities.argmax())
    face = Face(
        (x, y, width, height),
        float(entry.scores[hit.row]),
        recognizer.classes[best],
        dict(zip(recognizer.classes, probabilities.tolist())),
        recognizer.is_unsure(float(probabilities[best]), (x, y, width, height)),
        dict(zip(labels, hit.words.tolist())),
        entry.features[hit.row],
    )
    seen = tuple((x, y, w, h) for x, y, w, h in boxes.tolist())
    return Match(rank, hit.score, hit.source, number, face, seen, **times, file=(entry.size, entry.changed))
