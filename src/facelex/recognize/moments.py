"""Moments of a video: where the scores of a face stand out over time, each told once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

WINDOW = 0.6
"""Seconds to either side over which a look's scores are averaged: three looks, half a second apart, the gaps
of which are a frame longer or shorter. A blink between them wins nothing, expressions last 0.5 to 4 s."""
DROP = 0.1
"""A moment lasts as long as the score stays within so much of its highest."""
APART = 5.0
"""Seconds around a moment that bring no further one of the same face."""


@dataclass(frozen=True)
class Moment:
    """A stretch in which a face's score is high."""

    row: int
    """The look at which it is highest."""
    start: float
    """Seconds from the first frame at which the stretch begins."""
    end: float
    """Seconds at which the last look of it was."""


def window_means(
    times: NDArray[np.float64], tracks: NDArray[np.int64], values: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return the means ``(n, W)`` of each look's values and those of the same face within `WINDOW`.

    Args:
        times: Seconds of each look at a face, ``(n,)``.
        tracks: Number of the face, ``(n,)``.
        values: What is averaged, ``(n, W)``.
    """
    means = np.empty_like(values)
    for rows in _rows_of_tracks(times, tracks):
        at = times[rows]
        start = np.searchsorted(at, at - WINDOW)
        stop = np.searchsorted(at, at + WINDOW, side="right")
        sums = np.cumsum(values[rows], axis=0, dtype=np.float64)
        sums = np.concatenate([np.zeros_like(sums[:1]), sums])
        means[rows] = (sums[stop] - sums[start]) / (stop - start)[:, None]
    return means


def find_moments(
    times: NDArray[np.float64],
    tracks: NDArray[np.int64],
    scores: NDArray[np.float32],
    *,
    gap: float,
    most: int | None = None,
) -> list[Moment]:
    """Return the moments of each face: its highest score, then the highest `APART` from that, and so on.

    Args:
        times: Seconds of each look at a face, ``(n,)``.
        tracks: Number of the face, ``(n,)``.
        scores: ``(n,)``
        gap: Seconds between two looks that end a moment, since the face was not seen meanwhile.
        most: Moments of one face, of which the best are taken; None for all.
    """
    found = []
    for rows in _rows_of_tracks(times, tracks):
        at, free = times[rows], np.ones(len(rows), bool)
        left = np.where(free, scores[rows], -np.inf)  # of those that are no moment yet
        torn = np.flatnonzero(np.diff(at) > gap) + 1  # first looks after a gap
        count = 0
        while free.any() and (most is None or count < most):
            peak = int(left.argmax())
            low = np.flatnonzero(left < left[peak] - DROP)
            first = max([0, *(low[low < peak][-1:] + 1), *torn[torn <= peak][-1:]])
            last = min([len(at), *low[low > peak][:1], *torn[torn > peak][:1]]) - 1
            found.append(Moment(int(rows[peak]), float(at[first]), float(at[last])))
            free &= (at < at[first] - APART) | (at > at[last] + APART)
            left[~free] = -np.inf
            count += 1
    return found


def clock(seconds: float) -> str:
    """Return a time as players show it, to a tenth of a second: ``0:01:23.5``."""
    tenths = round(10 * seconds)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest // 10:02d}.{rest % 10}"


def _rows_of_tracks(times: NDArray[np.float64], tracks: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Yield the rows of each face in the order of time, which a damaged file may not keep."""
    order = np.lexsort((times, tracks))
    for rows in np.split(order, np.flatnonzero(np.diff(tracks[order])) + 1):
        if len(rows):
            yield rows
