"""A tiny model that keeps the contract of the ONNX file, and small stand-ins for detector and vocabulary."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from facelex.emotions import EMOTION_WORDS, EMOTIONS
from facelex.errors import FacelexError
from facelex.recognize.detection import Detection

SIZE, EMBED, WORD, HIDDEN = 48, 6, 5, 8


def word_arrays(seed: int = 0, width: int = WORD) -> dict[str, NDArray[np.float32]]:
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(EMBED, EMBED)) * 0.2
    arrays = {
        "text_center": rng.normal(size=width) * 0.1,
        "text_weight1": rng.normal(size=(HIDDEN, width)),
        "text_bias1": rng.normal(size=HIDDEN) * 0.1,
        "text_weight2": rng.normal(size=(EMBED, HIDDEN)),
        "text_bias2": rng.normal(size=EMBED) * 0.1,
        "feature_mean": rng.normal(size=EMBED) * 0.1,
        "feature_cov": root @ root.T + 0.01 * np.eye(EMBED),
    }
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def write_model(
    path: Path,
    *,
    words: bool = True,
    metadata: dict | None = None,
    classes: tuple[str, ...] = EMOTIONS,
    word_dim: int = WORD,
) -> Path:
    """Write ``logits = W x`` and ``image_features = normalize(V x)`` with the contract's metadata."""
    rng = np.random.default_rng(7)
    weights = rng.normal(size=(SIZE * SIZE, len(classes))).astype(np.float32) * 0.2
    projection = rng.normal(size=(SIZE * SIZE, EMBED)).astype(np.float32)
    nodes = [
        helper.make_node("Flatten", ["images"], ["flat"], axis=1),
        helper.make_node("MatMul", ["flat", "weights"], ["logits"]),
    ]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", len(classes)])]
    tensors = [numpy_helper.from_array(weights, "weights")]
    if words:
        nodes += [
            helper.make_node("MatMul", ["flat", "projection"], ["raw"]),
            helper.make_node("LpNormalization", ["raw"], ["image_features"], axis=1, p=2),
        ]
        outputs.append(helper.make_tensor_value_info("image_features", TensorProto.FLOAT, ["batch", EMBED]))
        tensors.append(numpy_helper.from_array(projection, "projection"))
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 1, SIZE, SIZE])
    model = helper.make_model(
        helper.make_graph(nodes, "tiny", [images], outputs, tensors),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=9,
    )
    info = {
        "format": 1, "name": "tiny", "classes": list(classes), "image_size": SIZE, "temperature": 1.5,
        "unsure_below": 0.4, "flip": True, "framing": {},
        "words": {name: list(EMOTION_WORDS.get(name, ())) for name in classes}, "embed_dim": EMBED,
        "word_dim": word_dim, "vocabulary": "tiny", "scores": {}, "training": {}, "card": "",
    }  # fmt: skip
    properties = {"facelex": json.dumps(info | (metadata or {}))}
    if words:
        buffer = io.BytesIO()
        np.savez(buffer, **word_arrays(width=word_dim))
        properties["facelex_arrays"] = base64.b64encode(buffer.getvalue()).decode()
    helper.set_model_props(model, properties)
    onnx.save(model, str(path))
    return path


def write_shipped_model(path: Path) -> Path:
    """Write a model that stands for the shipped one: it was trained with the packaged word vectors."""
    return write_model(path, word_dim=100, metadata={"vocabulary": "glove.6B.100d"})


class TinyVocabulary:
    """Every lower-case word has a random but fixed vector; words with a digit are unknown."""

    dim = WORD
    name = "tiny"

    def phrase(self, text: str) -> NDArray[np.float32]:
        if any(letter.isdigit() for letter in text):
            raise FacelexError(f"No vector for {text!r}.")
        seed = [ord(letter) for letter in text.lower()]
        vector = np.random.default_rng(seed).normal(size=WORD).astype(np.float32)
        return vector / np.linalg.norm(vector)

    def retrofitted(self) -> TinyVocabulary:
        return self


class FixedDetector:
    """Finds faces at fixed fractions of the picture's size."""

    name = "fixed"

    def __init__(self, *boxes: tuple[float, float, float, float]) -> None:
        self.boxes = boxes

    def detect(self, image: NDArray[np.uint8]) -> list[Detection]:
        height, width = image.shape[:2]
        return [Detection((x * width, y * height, w * width, h * height), 0.9) for x, y, w, h in self.boxes]
