"""ONNX models and run folders in the documented layouts."""

import json
import sys
import types
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from evaluation_fakes import make_faces, make_run_folder

from facelex.data.dataset import FaceDataset
from facelex.emotions import EMOTIONS
from facelex.evaluation.calibration import softmax


@pytest.fixture
def faces(tmp_path: Path) -> tuple[FaceDataset, Path]:
    """A dataset and the file it was saved to."""
    dataset = make_faces()
    dataset.save(tmp_path / "faces.npz")
    return dataset, tmp_path / "faces.npz"


@pytest.fixture
def make_run(tmp_path: Path, faces: tuple[FaceDataset, Path]) -> Callable[..., Path]:
    """Make run folders of that dataset: ``make_run("name", finished=True)``."""

    def make(name: str = "fake-run", finished: bool = True) -> Path:
        return make_run_folder(tmp_path / name, *faces, finished)

    return make


@pytest.fixture
def onnx_file(tmp_path: Path) -> Path:
    """A model that names class k when the left half of the face is as bright as ``make_faces`` draws it."""
    onnx = pytest.importorskip("onnx")
    helper, proto = onnx.helper, onnx.TensorProto
    left = np.zeros((256, 1), np.float32)
    left.reshape(16, 16)[:, :8] = 1 / 128
    centers = (np.arange(7, dtype=np.float32) * 30 + 9.5) / 255

    def constant(name: str, values: np.ndarray) -> object:
        return onnx.numpy_helper.from_array(values.astype(np.float32), name)

    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["images"], ["flat"]),
            helper.make_node("MatMul", ["flat", "left"], ["brightness"]),
            helper.make_node("Sub", ["brightness", "centers"], ["gap"]),
            helper.make_node("Mul", ["gap", "gap"], ["square"]),
            helper.make_node("Mul", ["square", "sharpness"], ["logits"]),
        ],
        "nearest",
        [helper.make_tensor_value_info("images", proto.FLOAT, ["batch", 1, 16, 16])],
        [helper.make_tensor_value_info("logits", proto.FLOAT, ["batch", 7])],
        [constant("left", left), constant("centers", centers), constant("sharpness", np.array([-500.0]))],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    info = {"format": 1, "name": "nearest", "classes": list(EMOTIONS), "image_size": 16, "temperature": 2.0}
    helper.set_model_props(model, {"facelex": json.dumps(info)})
    onnx.save(model, tmp_path / "nearest.onnx")
    return tmp_path / "nearest.onnx"


@pytest.fixture
def torch_side(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Stand in for the training room: reads the class off the left half's brightness.

    Returns the folders whose weights were loaded, one entry each time.
    """
    loaded: list[Path] = []

    def load_predictor(folder: Path) -> Callable[[np.ndarray], np.ndarray]:
        loaded.append(folder)

        def answer(pixels: np.ndarray) -> np.ndarray:
            left = pixels[:, :, :8].mean(axis=(1, 2))
            return softmax(-np.abs(left[:, None] - (np.arange(7) * 30 + 9.5)) / 10).astype(np.float32)

        return answer

    module = types.ModuleType("facelex.models.weights")
    module.load_predictor = load_predictor  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "facelex.models.weights", module)
    monkeypatch.setitem(sys.modules, "torch", types.ModuleType("torch"))
    return loaded
