"""Measure the face detectors on scenes made of the packaged photographs.

    python tools/measure_detectors.py FACE_FREE_PICTURE... --detectors centerface dlib

Prints for each detector which of the sample faces it finds by size and by rotation, and how many boxes it
reports on face-free pictures (those of scikit-image other than astronaut and camera will do).
"""

from __future__ import annotations

import argparse
import time
from importlib.resources import files
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tell_mistakes import tell_mistakes

from facelex.recognize.faces import Detector, create_detector
from facelex.recognize.images import load_image

FACES = {  # x, y, width, height of the face in each sample, brow to chin, drawn by hand
    "astronaut.jpg": (183, 62, 85, 116),
    "grace_hopper.jpg": (177, 130, 180, 205),
    "cameraman.jpg": (200, 118, 58, 80),
}
HEIGHTS = (12, 16, 20, 24, 32, 48, 80, 120, 200, 400)
ANGLES = tuple(range(0, 360, 15))


def sample(name: str) -> Image.Image:
    """Open a packaged photograph as RGB."""
    with files("facelex").joinpath(f"samples/{name}").open("rb") as stream:
        return Image.open(stream).convert("RGB")


def hit(detector: Detector, image: Image.Image, center: NDArray[np.float64], height: float) -> bool:
    """Say whether a face of about this height is found at ``center``."""
    for face in detector.detect(np.asarray(image)):
        x, y, width, tall = face.box
        away = np.hypot(*(np.array([x + width / 2, y + tall / 2]) - center))
        if away < 0.35 * height and 0.5 < max(width, tall) / height < 2:
            return True
    return False


def found_by_height(detector: Detector, height: int) -> list[bool]:
    """Scale each sample so that its face is ``height`` pixels high and lay it on 640x480 of grey noise."""
    hits = []
    for name, (x, y, w, h) in FACES.items():
        image, scale = sample(name), height / h
        image = image.resize(
            (round(image.width * scale), round(image.height * scale)), Image.Resampling.LANCZOS
        )
        noise = np.random.default_rng(0).normal(128, 12, (480, 640, 1)).clip(0, 255).astype(np.uint8)
        scene = Image.fromarray(np.repeat(noise, 3, axis=2))
        middle = np.array([(x + w / 2) * scale, (y + h / 2) * scale])
        corner = (round(320 - middle[0]), round(240 - middle[1]))
        scene.paste(image, corner)
        hits.append(hit(detector, scene, middle + corner, height))
    return hits


def found_by_angle(detector: Detector, angle: int) -> list[bool]:
    """Turn each sample counter-clockwise."""
    hits = []
    for name, (x, y, w, h) in FACES.items():
        image = sample(name)
        turned = image.rotate(angle, Image.Resampling.BICUBIC, expand=True, fillcolor=(128, 128, 128))
        away = np.array([x + w / 2 - image.width / 2, y + h / 2 - image.height / 2])
        cosine, sine = np.cos(np.radians(angle)), np.sin(np.radians(angle))
        away = np.array([cosine * away[0] + sine * away[1], -sine * away[0] + cosine * away[1]])
        hits.append(hit(detector, turned, away + np.array(turned.size) / 2, h))
    return hits


def main() -> None:
    """Run all scenes for all detectors that the command line names."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pictures", type=Path, nargs="*")
    parser.add_argument("--detectors", nargs="+", default=["centerface"])
    parser.add_argument(
        "--model", type=Path, help="model file of yunet, or of centerface in place of the packaged"
    )
    arguments = parser.parse_args()
    pictures = {path.stem: load_image(path) for path in arguments.pictures}
    for name in arguments.detectors:
        detector = create_detector(name, arguments.model if name in ("centerface", "yunet") else None)
        print(name)
        for height in HEIGHTS:
            print(f"  face {height:3d} px high: {sum(found_by_height(detector, height))} of {len(FACES)}")
        for angle in ANGLES:
            print(f"  turned {angle:3d} degrees: {sum(found_by_angle(detector, angle))} of {len(FACES)}")
        counts = {stem: len(detector.detect(picture)) for stem, picture in pictures.items()}
        false = {stem: count for stem, count in counts.items() if count}
        print(f"  boxes on {len(counts)} face-free pictures: {sum(counts.values())} {false or ''}")
        image = np.asarray(sample("astronaut.jpg"))
        started = time.perf_counter()
        for _ in range(10):
            detector.detect(image)
        print(f"  512x512 picture: {(time.perf_counter() - started) * 100:.0f} ms")


if __name__ == "__main__":
    tell_mistakes(main)
