"""Faces over time: which boxes belong together, and probabilities smoothed along each track.

A track's number says "the same face as a moment ago" by place and size alone. It is no identity: a person who
leaves the picture and returns gets a new number.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from facelex.recognize.detection import Box, intersection_over_union
from facelex.recognize.results import Face

NEAREST = 1.0
"""Centres further apart than this many face sizes are two faces, right after the last sight of one."""
DRIFT = 1.5
"""Face sizes by which that distance grows in a second without sight, up to `FURTHEST`."""
FURTHEST = 2.0
MOST_GROWTH = 2.2
"""A face whose size changes by more than this factor is another."""


@dataclass
class _Track:
    id: int
    box: Box
    time: float
    velocity: tuple[float, float] = (0.0, 0.0)  # pixels a second

    def expected(self, time: float) -> Box:
        """Return where the face would be if it moved on as before."""
        x, y, width, height = self.box
        elapsed = time - self.time
        return x + self.velocity[0] * elapsed, y + self.velocity[1] * elapsed, width, height

    def move(self, box: Box, time: float) -> None:
        elapsed = time - self.time
        if elapsed > 0:
            before, now = _centre(self.box), _centre(box)
            speed = tuple((b - a) / elapsed for a, b in zip(before, now))
            # half of the old velocity stays: a detector's box trembles
            self.velocity = (
                0.5 * (self.velocity[0] + speed[0]),
                0.5 * (self.velocity[1] + speed[1]),
            )
        self.box, self.time = box, time


class Tracker:
    """Gives each face of a frame the number of the track it continues."""

    def __init__(self, memory: float = 1.0) -> None:
        """Start without tracks.

        Args:
            memory: Seconds a face may be out of sight (turned away, hidden) and keep its number.
        """
        self.memory = memory
        self._tracks: list[_Track] = []
        self._next = 1

    def update(self, time: float, boxes: Sequence[Box]) -> list[int]:
        """Return the track number (1, 2, ...) of each box of the frame at ``time`` seconds.

        Pairs are made greedily, the best overlap first, then the nearest centres; ties go to the older
        track and the earlier box, so that the same input always gives the same numbers.
        """
        self._tracks = [track for track in self._tracks if time - track.time <= self.memory]
        pairs = sorted(
            (-affinity, track.id, i)
            for track in self._tracks
            for i, box in enumerate(boxes)
            if (affinity := _affinity(track, box, time)) > 0
        )
        by_id = {track.id: track for track in self._tracks}
        found: dict[int, int] = {}  # box -> track
        for _, id_, i in pairs:
            if i not in found and id_ in by_id:
                found[i] = id_
                by_id.pop(id_).move(boxes[i], time)
        for i, box in enumerate(boxes):
            if i not in found:
                self._tracks.append(_Track(self._next, box, time))
                found[i] = self._next
                self._next += 1
        return [found[i] for i in range(len(boxes))]

    def forget(self) -> None:
        """End all tracks: each face of the next frame gets a new number."""
        self._tracks = []


class Smoother:
    """Exponential smoothing of each track's probabilities and word scores."""

    def __init__(self, seconds: float, is_unsure: Callable[[float, Box], bool], memory: float = 1.0) -> None:
        """Start without faces.

        Args:
            seconds: Time constant: a change is taken over to 63 % after so long; 0 switches smoothing off.
            is_unsure: Says it of a smoothed probability and the face's box.
            memory: Seconds after which a track that was not seen is forgotten.
        """
        self.seconds = seconds
        self.is_unsure = is_unsure
        self.memory = memory
        self._states: dict[int, tuple[float, dict[str, float], dict[str, float]]] = {}

    def update(self, time: float, ids: Iterable[int], faces: Iterable[Face]) -> list[Face]:
        """Return the faces of the frame at ``time`` with smoothed numbers and the emotion they favour."""
        self._states = {id_: state for id_, state in self._states.items() if time - state[0] <= self.memory}
        return [self._one(time, id_, face) for id_, face in zip(ids, faces, strict=True)]

    def _one(self, time: float, id_: int, face: Face) -> Face:
        if self.seconds <= 0:
            return face
        probabilities, words = face.probabilities, face.words
        if id_ in self._states:
            before, old_probabilities, old_words = self._states[id_]
            share = 1.0 - math.exp(-max(0.0, time - before) / self.seconds)
            probabilities = _mix(old_probabilities, probabilities, share)
            words = _mix(old_words, words, share)
        self._states[id_] = (time, probabilities, words)
        emotion = max(probabilities, key=lambda name: probabilities[name])
        unsure = self.is_unsure(probabilities[emotion], face.box)
        return replace(face, probabilities=probabilities, words=words, emotion=emotion, unsure=unsure)


def _mix(old: Mapping[str, float], new: Mapping[str, float], share: float) -> dict[str, float]:
    return {name: old[name] + share * (value - old[name]) for name, value in new.items()}


def _affinity(track: _Track, box: Box, time: float) -> float:
    """Return how well a box continues a track: above 1 if they overlap, below by distance, 0 if not."""
    expected = track.expected(time)
    size, other = math.sqrt(max(box[2] * box[3], 1e-9)), math.sqrt(max(track.box[2] * track.box[3], 1e-9))
    if not 1 / MOST_GROWTH <= size / other <= MOST_GROWTH:
        return 0.0
    overlap = intersection_over_union(expected, box)
    if max(overlap, intersection_over_union(track.box, box)) > 0.2:
        return 1.0 + overlap
    reach = min(FURTHEST, NEAREST + DRIFT * (time - track.time))
    distance = math.dist(_centre(expected), _centre(box)) / (0.5 * (size + other))
    return max(0.0, 1.0 - distance / reach)


def _centre(box: Box) -> tuple[float, float]:
    return box[0] + box[2] / 2, box[1] + box[3] / 2
