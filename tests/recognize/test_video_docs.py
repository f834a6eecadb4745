"""The examples of docs/video.md and docs/search.md run as they stand."""

from __future__ import annotations

import re
import shlex
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from drawn_video import BrightSquares, draw, still, write_video
from PIL import Image
from tiny_recognition import FixedDetector, write_shipped_model

from facelex.cli.main import main
from facelex.recognize import faces, model
from facelex.recognize.recognizer import Recognizer

DOCS = Path(__file__).parents[2] / "docs"


def blocks(name: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (DOCS / name).read_text(), re.DOTALL)


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A folder with the film and the photos of the examples; the tiny model stands for the shipped one."""
    for package in ("matplotlib", "pandas"):
        pytest.importorskip(package)
    monkeypatch.setitem(model.PACKAGED, "shipped", write_shipped_model(tmp_path / "model.onnx"))
    (tmp_path / "films" / "more").mkdir(parents=True)
    for name in ("film.mp4", "films/a.mp4", "films/more/b.mp4"):
        write_video(tmp_path / name, still((30, 30)), seconds=1.0, sound=True)
    for seed in range(3):
        pixels = np.random.default_rng(seed).integers(0, 256, (120, 160, 3), dtype=np.uint8)
        for name in ("photos", "footage"):
            (tmp_path / name).mkdir(exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / name / f"{seed}.png")
    write_video(tmp_path / "footage" / "a.mp4", still((30, 30)), seconds=1.0)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(params=["video.md", "search.md"])
def page(request, monkeypatch) -> str:
    detector = BrightSquares() if request.param == "video.md" else FixedDetector((0.1, 0.2, 0.3, 0.4))
    monkeypatch.setattr(faces, "create_detector", lambda name="auto", path=None, **_: detector)
    monkeypatch.setattr(Recognizer, "detector", detector)
    return request.param


def test_command_line_examples_run(folder, page, capsys):
    lines = [line for block in blocks(page, "sh") for line in block.splitlines()]
    assert len(lines) == {"video.md": 8, "search.md": 7}[page]
    for line in lines:
        command, *arguments = shlex.split(line, comments=True)
        assert command == "facelex"
        assert main(arguments) == 0, (line, capsys.readouterr().err)
    made = {
        "video.md": [
            "faces.csv",
            "faces.jsonl",
            "faces.parquet",
            "summary.csv",
            "emotions.png",
            "out/film-faces.mp4",
            "redacted/film-faces.mp4",
            "out/a-faces.mp4",
            "out/b-faces.mp4",
        ],
        "search.md": ["best.png", "redacted.png", "album.index", "footage.index"],
    }[page]
    assert [name for name in made if not (folder / name).exists()] == []


class Camera:
    """What the examples take of ``cv2.VideoCapture``: three frames in OpenCV's order, then none."""

    def __init__(self, number: int) -> None:
        self._frames = [draw([(30 + i, 30)])[:, :, ::-1] for i in range(3)]

    def read(self) -> tuple[bool, np.ndarray | None]:
        return (True, self._frames.pop()) if self._frames else (False, None)


def test_python_examples_run(folder, page, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", types.SimpleNamespace(VideoCapture=Camera))
    names: dict = {}
    for block in blocks(page, "python"):
        exec(block, names)
    if page == "video.md":
        assert len(names["frame"]) == 5
        assert (folder / "marked.mp4").exists()
        assert (names["seen"].ids, names["seen"].frame) == ((1,), 2)
    else:
        assert len(names["matches"]) == 3
        assert (folder / "best.png").exists()
