"""A few rows in the true formats of FER2013 and FER+."""

from __future__ import annotations

from pathlib import Path

import numpy as np

USAGES = ("Training", "Training", "Training", "Training", "PublicTest", "PrivateTest")
FERPLUS_HEADER = "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"


def faces(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 48, 48), dtype=np.uint8)


def rows(count: int = 14) -> list[tuple[int, str, str]]:
    """Emotion, pixels as text and Usage of each row."""
    return [
        (row % 7, " ".join(map(str, image.ravel())), USAGES[row % len(USAGES)])
        for row, image in enumerate(faces(count))
    ]


def official_csv(count: int = 14) -> str:
    lines = [f"{emotion},{pixels},{usage}\n" for emotion, pixels, usage in rows(count)]
    return "emotion,pixels,Usage\n" + "".join(lines)


def icml_csv(count: int = 14) -> str:
    """``icml_face_data.csv``: another column order, and headers with leading spaces."""
    lines = [f"{emotion},{usage},{pixels}\n" for emotion, pixels, usage in rows(count)]
    return "emotion, Usage, pixels\n" + "".join(lines)


def ferplus_csv(count: int = 14) -> str:
    lines = [
        f"{usage},fer{row:07d}.png,{row % 5},0,0,1,3,2,0,0,{4 - row % 5},0\n"
        for row, (_, _, usage) in enumerate(rows(count))
    ]
    return FERPLUS_HEADER + "\n" + "".join(lines)


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="")
    return path
