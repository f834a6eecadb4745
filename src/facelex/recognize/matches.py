"""What a search of an album answers: a face that words fit, and where it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from facelex.recognize.moments import clock
from facelex.recognize.results import Face


@dataclass(frozen=True)
class Match:
    """A face that words fit, in a photo or at a moment of a video."""

    rank: int
    """1 for the best."""
    score: float
    """Mean score of the words, [0, 1]: the share of reference faces that they fit less well."""
    source: str
    """The photo or video."""
    number: int
    """Which of the photo's faces, 0, 1, ...; of a video's, 1, 2, ..., as long as each stays in sight."""
    face: Face
    """With the score of each word; in a video as it is at ``time``, numbers averaged over about a second."""
    boxes: tuple[tuple[float, float, float, float], ...] = ()
    """Boxes of all faces found in the photo, also small ones: what a redacted picture of it must cover. Of a
    video also those found half a second earlier or later, since a face may be missed in one frame."""
    time: float | None = None
    """Seconds from the video's first frame at which the score is highest; None of a photo."""
    start: float | None = None
    """Seconds at which the moment begins: from then on the score stays near its highest."""
    end: float | None = None
    """Seconds at which it ends."""
    file: tuple[int, int] | None = field(default=None, repr=False)
    """Size in bytes, and time of change in nanoseconds, of the file that was read. Another one may have taken
    its place since, in which ``boxes`` would hide nothing. None where that is not known."""

    def to_dict(self) -> dict[str, Any]:
        """Return the match as JSON holds it; of a moment of a video with its times."""
        place = {"rank": self.rank, "score": round(self.score, 6), "source": self.source, "face": self.number}
        face = self.face.to_dict()
        times = {}
        if self.time is not None and self.start is not None and self.end is not None:
            seconds = {"time_s": self.time, "start_s": self.start, "end_s": self.end}
            times = {"time": clock(self.time), **{name: round(value, 3) for name, value in seconds.items()}}
        return {**place, **times, "box": face["box"], "emotion": face["emotion"], "words": face["words"]}

    def to_row(self) -> dict[str, Any]:
        """Return the match as one flat row."""
        record = self.to_dict()
        box = dict(zip(("x", "y", "width", "height"), record.pop("box")))
        words = {f"word:{word}": score for word, score in record.pop("words").items()}
        return {**record, **box, **words}


def match_columns(words: Sequence[str]) -> list[str]:
    """Return the columns of `Match.to_row`, in order; those of times are empty for photos."""
    place = ["rank", "score", "source", "face", "emotion", "x", "y", "width", "height"]
    return [*place, *(f"word:{word}" for word in words), "time", "time_s", "start_s", "end_s"]
