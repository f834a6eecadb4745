"""The examples of docs/recognize.md run as they stand."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_recognition import FixedDetector, write_shipped_model

from facelex.cli.main import main
from facelex.recognize import faces, model

TEXT = (Path(__file__).parents[2] / "docs" / "recognize.md").read_text()


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A folder with the pictures the examples name; the tiny model stands for the shipped one."""
    shipped = write_shipped_model(tmp_path / "model.onnx")
    monkeypatch.setitem(model.PACKAGED, "shipped", shipped)
    monkeypatch.setattr(
        faces, "create_detector", lambda name="auto", model=None, **_: FixedDetector((0.1, 0.2, 0.3, 0.4))
    )
    pixels = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    for name in ("party.jpg", "photos/a.jpg", "photos/b.png", "photos/sub/c.png", "crops/d.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / name)
    (tmp_path / "photos" / "broken.jpg").write_bytes(b"not a picture")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_python_examples_run(folder, capsys):
    blocks = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    assert len(blocks) >= 6
    pytest.importorskip("pandas")
    names: dict = {}
    for block in blocks:
        exec(block, names)
    assert list(names["frame"]["word:bored"].notna()) == [True, True, False]
    assert "broken.jpg" in capsys.readouterr().out
    assert (folder / "annotated.png").exists()
    assert (folder / "redacted.png").exists()


def test_command_line_examples_run(folder, capsys):
    import shlex

    pytest.importorskip("pyarrow")
    lines = [line for block in re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL) for line in block.splitlines()]
    assert len(lines) >= 7
    for line in lines:
        command, *arguments = shlex.split(line, comments=True)
        assert command == "facelex"
        expected = 1 if "photos" in line else 0  # one of the photos is broken
        assert main(arguments) == expected, (line, capsys.readouterr().err)
    assert (folder / "faces.parquet").exists()
    assert (folder / "out" / "party-faces.jpg").exists()
