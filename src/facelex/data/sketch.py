"""Drawn faces: a dataset without photos, for tests and first steps.

Each face is drawn from about thirty numbers: where the brows, lids and mouth are (that is the emotion, after
the action units of Ekman and Friesen's FACS), how strongly it shows, and who, from where and in which light
(head, hair, pose, shading, noise), which says nothing about the emotion. Weak expressions look like neutral
ones, so no network is always right.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from facelex.data.dataset import FaceDataset
from facelex.data.fer2013 import Progress
from facelex.emotions import EMOTIONS
from facelex.errors import FacelexError

SIDE = 48
_SCALE = 2  # drawn twice as large and scaled down, which smooths the edges

Points = NDArray[np.float64]  # (P, 2), x to the right and y down, in units of half the head's width


@dataclass(frozen=True)
class Expression:
    """What the face does; 0 is at rest, and about 1 is as far as it goes."""

    inner_brow: float = 0.0  # up (AU 1) or, negative, down and together (AU 4)
    outer_brow: float = 0.0  # up (AU 2) or down
    lids: float = 0.0  # wide open (AU 5) or, negative, narrowed (AU 7)
    corners: float = 0.0  # corners of the mouth up (AU 12) or down (AU 15)
    jaw: float = 0.0  # open (AU 26)
    stretch: float = 0.0  # mouth wide (AU 20) or, negative, rounded
    upper_lip: float = 0.0  # raised, showing teeth (AU 10)
    nose: float = 0.0  # wrinkled (AU 9)

    def weakened(self, strength: float) -> Expression:
        """Scale every movement by ``strength``."""
        return Expression(**{f.name: strength * getattr(self, f.name) for f in fields(self)})


EXPRESSIONS: dict[str, Expression] = {
    "angry": Expression(inner_brow=-1.0, outer_brow=0.3, lids=-0.3, corners=-0.35, stretch=-0.25),
    "disgust": Expression(inner_brow=-0.5, lids=-0.7, corners=-0.45, upper_lip=0.9, nose=1.0, jaw=0.1),
    "fear": Expression(inner_brow=0.9, outer_brow=0.2, lids=0.9, corners=-0.35, jaw=0.35, stretch=0.6),
    "happy": Expression(outer_brow=0.1, lids=-0.3, corners=1.0, jaw=0.3, stretch=0.5, upper_lip=0.3),
    "sad": Expression(inner_brow=0.8, outer_brow=-0.7, lids=-0.5, corners=-0.9, stretch=-0.1),
    "surprise": Expression(inner_brow=0.9, outer_brow=1.0, lids=0.9, jaw=1.0, stretch=-0.5),
    "neutral": Expression(),
}
"""The seven emotions at full strength."""


def sketch_dataset(count: int, seed: int = 0, progress: Progress | None = None) -> FaceDataset:
    """Draw ``count`` faces, the seven emotions in turn: of ten rounds eight are train, one val and one test.

    Face i depends on ``seed`` and i alone, so a larger set begins with the smaller one.

    Raises:
        FacelexError: If ``count`` is not from 1 to a million.
    """
    if not 1 <= count <= 1_000_000:
        raise FacelexError(f"Expected from 1 to 1,000,000 drawn faces, but got {count}.")
    if seed < 0:
        raise FacelexError(f"Expected a seed of 0 or more, but got {seed}.")
    order = np.arange(count)
    labels = order % len(EMOTIONS)
    rounds = order // len(EMOTIONS) % 10
    splits = np.where(rounds == 1, 1, np.where(rounds == 2, 2, 0)).astype(np.uint8)
    pixels = np.empty((count, SIDE, SIDE), np.uint8)
    for row, label in enumerate(labels):
        pixels[row] = draw_face(EMOTIONS[label], np.random.default_rng((seed, row)))
        if progress and row % 100 == 0:
            progress(row, count)
    if progress:
        progress(count, count)
    return FaceDataset.create(pixels, labels, splits, EMOTIONS, f"sketch: {count} drawn faces, seed {seed}")


def draw_face(emotion: str, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Draw one face that shows ``emotion``, ``(48, 48)`` uint8."""
    expression = EXPRESSIONS[emotion].weakened(rng.uniform(0.5, 1.2))
    jitter = rng.normal(0.0, 0.1, len(fields(Expression)))
    moved = {f.name: getattr(expression, f.name) + jitter[i] for i, f in enumerate(fields(Expression))}
    canvas = _Canvas(rng)
    _draw_head(canvas, rng)
    _draw_eyes(canvas, rng, Expression(**moved))
    _draw_mouth(canvas, rng, Expression(**moved))
    return canvas.finish(rng)


class _Canvas:
    """A grey picture on which shapes are drawn in the head's own coordinates."""

    def __init__(self, rng: np.random.Generator) -> None:
        side = SIDE * _SCALE
        self.skin, self.background = rng.uniform(100, 215), rng.uniform(20, 235)
        angle = np.clip(rng.normal(0, 0.09), -0.3, 0.3)  # radians, about 5 degrees
        self.turn = rng.uniform(-0.22, 0.22)  # to the side: the features slide over the head
        self.nod = rng.uniform(-0.1, 0.1)
        width = side * rng.uniform(0.36, 0.43)
        cos, sin = np.cos(angle) * width, np.sin(angle) * width
        self.matrix = np.array([[cos, -sin], [sin, cos]])
        self.centre = side * (0.5 + rng.uniform(-0.04, 0.04, 2))
        self.image = Image.new("L", (side, side), int(self.background))
        self.draw = ImageDraw.Draw(self.image)
        self.unit = width

    def place(self, points: Points, depth: float = 1.0) -> list[tuple[float, float]]:
        """Carry head coordinates to the picture; ``depth`` 0 is the head's rim, 1 its front."""
        x = points[:, 0] * (1 - 0.3 * depth * self.turn**2) + depth * self.turn
        y = points[:, 1] + depth * self.nod
        return [tuple(p) for p in np.stack([x, y], axis=1) @ self.matrix.T + self.centre]

    def fill(self, points: Points, grey: float, depth: float = 1.0) -> None:
        self.draw.polygon(self.place(points, depth), fill=int(np.clip(grey, 0, 255)))

    def line(self, points: Points, grey: float, thickness: float) -> None:
        """Draw a line, ``thickness`` in head units."""
        width = max(1, round(thickness * self.unit))
        self.draw.line(self.place(points), fill=int(np.clip(grey, 0, 255)), width=width, joint="curve")

    def finish(self, rng: np.random.Generator) -> NDArray[np.uint8]:
        """Scale down, light from one side, blur a little, add noise."""
        blurred = self.image.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.1)))
        grey = np.asarray(blurred.reduce(_SCALE), np.float64)
        across, down = rng.uniform(-0.35, 0.35, 2)
        axis = np.linspace(-1, 1, SIDE)
        light = 1 + across * axis[None, :] + down * axis[:, None]
        contrast = rng.uniform(0.65, 1.1)
        grey = (grey * light - 128) * contrast + 128 + rng.uniform(-25, 25)
        grey += rng.normal(0, rng.uniform(2, 9), grey.shape)
        return np.clip(np.rint(grey), 0, 255).astype(np.uint8)


def _oval(x: float, y: float, width: float, height: float, points: int = 20) -> Points:
    t = np.linspace(0, 2 * np.pi, points, endpoint=False)
    return np.stack([x + width * np.cos(t), y + height * np.sin(t)], axis=1)


def _draw_head(canvas: _Canvas, rng: np.random.Generator) -> None:
    tall, jaw = rng.uniform(1.15, 1.45), rng.uniform(0.0, 0.25)
    hair = canvas.skin + (rng.choice([-1, 1], p=[0.8, 0.2])) * rng.uniform(40, 110)
    long_hair = rng.uniform(0.95, 1.5)
    if rng.random() < 0.8:
        canvas.fill(_oval(0, -0.25 + 0.3 * (long_hair - 0.95), 1.12, tall * long_hair), hair, depth=-0.1)
    for side in (-1.0, 1.0):
        canvas.fill(_oval(side, 0.05, 0.13, 0.25, 10), canvas.skin - 15, depth=0.0)
    head = _oval(0, 0, 1.0, tall, 32)
    head[:, 0] *= 1 - jaw * np.clip(head[:, 1], 0, None)
    canvas.fill(head, canvas.skin, depth=0.1)
    if rng.random() < 0.75:  # fringe
        fringe = head[head[:, 1] < -tall * rng.uniform(0.55, 0.8)]
        if len(fringe) > 2:
            canvas.fill(fringe, hair, depth=0.1)


def _draw_eyes(canvas: _Canvas, rng: np.random.Generator, face: Expression) -> None:
    apart, height, ink = rng.uniform(0.36, 0.46), rng.uniform(-0.3, -0.18), canvas.skin - rng.uniform(70, 130)
    eye_width, thickness = rng.uniform(0.2, 0.27), rng.uniform(0.06, 0.11)
    open_by = max(0.02, rng.uniform(0.11, 0.14) * (1 + 0.8 * face.lids))
    gaze = rng.uniform(-0.4, 0.4)
    glasses = rng.random() < 0.12
    brow_height = height - rng.uniform(0.26, 0.34)
    for side in (-1.0, 1.0):
        x = side * apart
        canvas.fill(_oval(x, height, eye_width, open_by), min(canvas.skin + 45, 250))
        iris = min(open_by, 0.1)
        canvas.fill(_oval(x + gaze * 0.1, height, 0.1, iris, 12), ink - 20)
        t = np.linspace(-1, 1, 7)
        lid = np.stack([x + eye_width * t, height - open_by * (1 - t**2)], axis=1)
        canvas.line(lid, ink, 0.04)
        inner, outer = x - side * 0.22, x + side * 0.26
        together = side * 0.06 * min(face.inner_brow, 0)
        brow = np.array([
            [inner + together, brow_height - 0.17 * face.inner_brow],
            [x, brow_height - 0.06 - 0.08 * (face.inner_brow + face.outer_brow)],
            [outer, brow_height - 0.15 * face.outer_brow],
        ])  # fmt: skip
        canvas.line(brow, ink, thickness)
        if glasses:
            canvas.line(_oval(x, height + 0.02, 0.32, 0.25), ink, 0.04)


def _draw_mouth(canvas: _Canvas, rng: np.random.Generator, face: Expression) -> None:
    ink = canvas.skin - rng.uniform(55, 100)
    tip = rng.uniform(0.15, 0.28) - 0.08 * face.nose
    canvas.line(np.array([[-0.1, tip], [0.0, tip + 0.05], [0.1, tip]]), ink, 0.05)
    for side in (-1.0, 1.0):
        if face.nose > 0.25:  # wrinkles beside the nose
            canvas.line(np.array([[side * 0.1, -0.18], [side * 0.22, -0.02]]), ink + 10, 0.04)
        if abs(face.corners) + face.nose > 0.45:  # fold from nose to mouth
            canvas.line(np.array([[side * 0.25, tip], [side * 0.48, tip + 0.3]]), canvas.skin - 25, 0.04)
    width = rng.uniform(0.36, 0.46) * (1 + 0.35 * face.stretch)
    y = rng.uniform(0.58, 0.7)
    t = np.linspace(-1, 1, 11)
    bend = -0.24 * face.corners * t**2  # corners up is negative y
    arch = 1 - t**2
    upper = np.stack([width * t, y + bend - (0.03 + 0.12 * max(face.upper_lip, 0)) * arch], axis=1)
    lower = np.stack([width * t, y + bend + (0.03 + 0.4 * max(face.jaw, 0)) * np.sqrt(arch)], axis=1)
    if face.jaw > 0.12 or face.upper_lip > 0.3:
        canvas.fill(np.concatenate([upper, lower[::-1]]), canvas.skin - 95)
        if face.upper_lip > 0.15:
            teeth = upper + np.array([0.0, 0.07])
            canvas.fill(np.concatenate([upper, teeth[::-1]]), min(canvas.skin + 70, 250))
    lips = rng.uniform(0.05, 0.09)
    canvas.line(upper, ink, lips)
    canvas.line(lower, ink, lips)
    if rng.random() < 0.08:  # beard
        canvas.line(np.array([[-0.3, y + 0.3], [0.0, y + 0.38], [0.3, y + 0.3]]), ink, 0.12)
