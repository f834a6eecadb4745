"""Accuracy against speed and size: which files count as best, and what the table says of a real one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from facelex.data.load import load_dataset
from facelex.evaluation.onnx_model import predict_onnx
from facelex.recognize.model import load_model


@pytest.fixture
def front(load_script: Callable[[str], ModuleType]) -> ModuleType:
    return load_script("front")


def test_a_file_is_on_the_front_unless_another_is_better_in_one_way_and_no_worse_in_the_other(
    front: ModuleType,
) -> None:
    points = [(66.0, 900.0), (67.0, 500.0), (65.0, 800.0), (66.0, 700.0), (66.0, 900.0)]
    rows = [{"single": accuracy, "faces_per_second": speed} for accuracy, speed in points]
    assert front.on_front(rows) == [True, True, False, False, True]


def test_the_shipped_file_beside_itself(
    front: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output, figure = tmp_path / "front.json", tmp_path / "front.png"
    front.main(["shipped", "shipped", "--data", "sketch:70", "--rounds", "2", "--seconds", "0.01",
                "--output", str(output), "--figure", str(figure)])  # fmt: skip
    first, second = json.loads(output.read_text())["rows"]
    faces = load_dataset("sketch:70")
    index = faces.indices("val")
    right = predict_onnx(load_model(), faces.pixels[index]).argmax(1) == faces.labels[index]
    assert first["single"] == second["single"] == pytest.approx(100 * right.mean())
    assert len(first["all_faces_per_second"]) == 2
    assert min(first["all_faces_per_second"]) > 0
    assert "| shipped | int8 | " in capsys.readouterr().out
    assert figure.read_bytes().startswith(b"\x89PNG")
