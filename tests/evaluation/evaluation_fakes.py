"""Fake predictions, faces and run folders."""

import json
from pathlib import Path

import numpy as np

from facelex.data.dataset import FaceDataset
from facelex.data.votes import Votes
from facelex.emotions import EMOTIONS
from facelex.evaluation.calibration import softmax
from facelex.evaluation.predictions import Predictions


def make_predictions(
    count: int = 400, seed: int = 0, sharpness: float = 1.0, **changes: object
) -> Predictions:
    """Draw labels from the model's own probabilities (calibrated), then sharpen what the model says."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(count, 7)) * 1.5
    probs = softmax(logits)
    labels = (probs.cumsum(axis=1) > rng.random((count, 1))).argmax(axis=1)
    fields = {
        "probs": softmax(logits * sharpness),
        "mirror_probs": softmax((logits + rng.normal(size=logits.shape) * 0.2) * sharpness),
        "labels": labels,
        "seen": rng.random(count) < 0.1,
        "classes": EMOTIONS,
        "votes": Votes(rng.multinomial(10, np.full(10, 0.1), size=count)),
        "model": "fake",
        "split": "test",
        "fingerprint": "f" * 64,
    }
    return Predictions(**(fields | changes))  # type: ignore[arg-type]


def make_crop_probs(count: int, seed: int = 0) -> np.ndarray:
    """Draw probabilities of ten windows, ``(10, count, 7)``."""
    return softmax(np.random.default_rng(seed + 100).normal(size=(10, count, 7)))


def make_faces(count: int = 210, seed: int = 0, class_names: tuple[str, ...] = EMOTIONS) -> FaceDataset:
    """Grey squares whose left half is as bright as the class id says; a third of them in each split."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % len(class_names)
    pixels = rng.integers(0, 20, size=(count, 16, 16), dtype=np.uint8)
    pixels[:, :, :8] += (labels * 30).astype(np.uint8)[:, None, None]
    splits = (np.arange(count) // len(class_names) % 3).astype(np.uint8)
    return FaceDataset.create(pixels, labels, splits, class_names, "made for tests")


METRICS = """\
phase,epoch,lr,image_size,train_loss,train_accuracy,val_loss,val_accuracy,seconds,images_per_second,\
peak_memory_mb,alignment,cross_entropy
align,1,0.01,48,4.2,0.14,1.9,0.16,2.5,1000,900,4.2,
align,2,0.005,48,4.0,0.15,1.8,0.21,2.5,1000,900,4.0,
classify,1,0.01,48,2.6,0.4,1.6,0.45,2.0,1000,900,3.7,1.9
classify,2,0.001,48,2.1,0.5,1.4,0.52,2.0,1000,900,3.6,1.4
"""

CONFIG = """\
data: {data}
seed: 3
method: multimodal
image_size: 16
methods:
  multimodal:
  - {{name: align, epochs: 2, losses: {{alignment: 1.0}}}}
  - {{name: classify, epochs: 2, losses: {{cross_entropy: 1.0}}}}
model: {{image_encoder: vgg11, text_encoder: glove}}
"""


SPEC = {
    "image_encoder": "vgg11", "classes": list(EMOTIONS), "image_size": 16, "mean": 0.5, "std": 0.25,
    "hidden_dim": 8, "embed_dim": 8, "dropout": 0, "temperature": 0.1, "center_words": False,
    "mix_words": False, "has_words": True,
}  # fmt: skip
"""The least that ``model.json`` holds, as early versions wrote it."""


def make_run_folder(folder: Path, dataset: FaceDataset, data: Path, finished: bool = True) -> Path:
    """Write a run folder in the documented layout, as far as the third of four epochs or whole."""
    folder.mkdir()
    (folder / "metrics.csv").write_text(METRICS if finished else METRICS[: METRICS.index("classify,2")])
    (folder / "config.yaml").write_text(CONFIG.format(data=data))
    environment = {
        "versions": {"facelex": "0.1.0"},
        "device": "cpu",
        "parameters": 1234,
        "dataset": {"source": dataset.source, "fingerprint": dataset.fingerprint},
    }
    (folder / "environment.json").write_text(json.dumps(environment))
    if finished:
        (folder / "model.safetensors").write_bytes(b"weights are read by the training side")
        (folder / "model.json").write_text(json.dumps(SPEC))
    return folder
