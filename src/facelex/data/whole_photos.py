"""Photos that were read as if each were nothing but a face: looked for in a few of them, and told."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from facelex.data.pictures import NoFaceError, UnreadableImageError, open_picture

LEAST_SIDE = 128
"""Pixels of the shorter side from which on a picture may be a photo; smaller ones are hardly ever."""
LOOKED_AT = 20
FACE_CROP = 0.6
"""Least share of a crop's shorter side that the face in it fills, as a recogniser would frame it."""

_log = logging.getLogger(__name__)


def whole_photo_note(paths: Sequence[Path]) -> list[str]:
    """Look at some pictures that were taken for face crops, and say so if most of them are more than a face.

    Reading goes on whatever happens here.

    Args:
        paths: Pictures of at least `LEAST_SIDE` pixels; up to `LOOKED_AT` of them, evenly picked, are looked
            at with the packaged detector, its largest face in each.

    Returns:
        One note, or none.
    """
    if not paths:
        return []
    some = [paths[i] for i in np.linspace(0, len(paths) - 1, min(len(paths), LOOKED_AT)).astype(int)]
    try:
        shares = _shares(some)
    except Exception as error:  # a note less
        _log.debug("could not look for whole photos: %s", error)
        return []
    small = sum(share < FACE_CROP for share in shares)
    if 2 * small <= len(some):
        return []
    looked = f"{small} of {len(some)} pictures that were looked at" if len(some) > 1 else "the picture"
    return [
        f"In {looked} the face fills less than {FACE_CROP:.0%} of the shorter side. All pictures were read "
        "as face crops; if they are whole photos, add --find-faces."
    ]


def _shares(paths: Sequence[Path]) -> list[float]:
    """How much of each picture's shorter side its face fills, of those that show one."""
    from facelex.recognize.faces import create_detector
    from facelex.recognize.framing import frame_of

    detector = create_detector()
    shares = []
    for path in paths:
        try:
            picture = open_picture(path, detector)
            _, side, _ = frame_of(picture.face_at())
        except (UnreadableImageError, NoFaceError):
            continue
        shares.append(side / picture.short_side)
    return shares
