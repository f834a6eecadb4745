"""The comparison with other tools: its protocol, how it reads their answers, and its tables."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"

TOY = """
from protocol import serve

class Toy:
    classes = ("contempt", "happy", "angry")
    def __init__(self):
        print("loading the toy")
    def classify(self, crops):
        print("working")
        return [[9.0, float(crop[0, 0]), 100.0] for crop in crops]
    def read_photo(self, path):
        raise ValueError("no such photo: " + path)

serve(Toy)
"""


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The runner of a tool that calls bright crops happy, all others angry, and none contempt."""
    from peers import process
    from peers.installing import Peer

    script = tmp_path / "toy.py"
    script.write_text(TOY)
    crops = np.zeros((3, 48, 48), np.uint8)
    crops[1] = 255
    np.save(tmp_path / "crops.npy", crops)
    monkeypatch.setenv("PYTHONPATH", str(BENCHMARKS / "peers"))
    monkeypatch.setattr(
        process, "command", lambda peer, folder, job: [sys.executable, str(script), json.dumps(job)]
    )
    monkeypatch.setattr(process, "environment", lambda peer, folder: tmp_path)
    with process.Runner(
        Peer("toy", "toy", "toy.py", ()), tmp_path, {"crops": str(tmp_path / "crops.npy")}
    ) as runner:
        yield runner


def test_classes_are_mapped_by_name_and_unknown_ones_never_win(toy: Any) -> None:
    assert toy.ask("labels")["labels"] == [0, 3, 0]


def test_what_a_tool_prints_does_not_come_between_the_answers(toy: Any) -> None:
    assert toy.ask("batch", count=7)["seconds"] > 0
    assert toy.ask("latency", calls=2)["seconds"] > 0
    assert toy.ask("memory")["peak_mb"] > 5


def test_a_failure_is_an_answer_and_the_runner_lives_on(toy: Any) -> None:
    from peers.process import NoAnswerError

    with pytest.raises(NoAnswerError, match=r"ValueError: no such photo: a\.jpg"):
        toy.ask("photo", path="a.jpg")
    assert toy.ask("labels")["labels"] == [0, 3, 0]


def tool(name: str, **values: Any) -> dict[str, Any]:
    from peers.tables import MEASURES

    empty: dict[str, Any] = {key: None for key, _ in MEASURES.values()}
    return {"name": name, "version": "1", "photos": {}, "problems": {}, **empty, **values}


def test_tables_show_ratios_to_the_first_tool_and_name_what_could_not_be_run() -> None:
    from peers.tables import tables

    machine = {"date": "today", "processor": "abacus", "cores": 2, "system": "Linux", "python": "3",
               "load_before": 0.0, "load_after": 0.0, "minutes": 1.0}  # fmt: skip
    tools = [
        tool("facelex", crops_per_s=1000.0, one_crop_ms=2.0),
        tool("quick", crops_per_s=1500.0, problems={"photo": "NotImplementedError: finds no faces"}),
        tool("absent", problems={"cold crop": "URLError: no such host", "cold photo": "again"}),
    ]
    text = tables({"machine": machine, "crops": "3 crops", "tools": tools, "own": {}})
    assert "| crops/s in a batch | 1,000 | 1,500 (x1.5) |" in text
    assert "| one crop, ms | 2.00 | - |" in text
    assert "* quick 1 gave no photo: NotImplementedError: finds no faces" in text
    assert "* absent 1 could not be run: URLError: no such host" in text


def test_a_difference_of_accuracies_stands_beside_its_interval_where_there_is_one() -> None:
    from peers.tables import _accuracy

    own = {"accuracy": 0.7, "accuracy_deduplicated": 0.6}
    tools = [
        tool("facelex", accuracy_difference=[0.0, None, None], **own),
        tool("alike", accuracy_difference=[0.0, None, None], **own),
        tool("worse", accuracy_difference=[-0.1, -0.12, -0.08], **own),
    ]
    ends = [line.split("|")[-2].strip() for line in _accuracy(tools)[2:5]]
    assert ends == ["", "+0.00", "-10.00 (-12.00 to -8.00)"]


def test_installed_size_leaves_out_pip_and_byte_code(tmp_path: Path) -> None:
    from peers.installing import Peer, installed_bytes

    packages = tmp_path / "lib" / "python3.11" / "site-packages"
    for name, size in {
        "a/a.py": 10,
        "a/__pycache__/a.pyc": 99,
        "pip/b.py": 99,
        "pip-1.dist-info/c": 99,
    }.items():
        (packages / name).parent.mkdir(parents=True, exist_ok=True)
        (packages / name).write_bytes(b"x" * size)
    assert installed_bytes(tmp_path, Peer("a", "a", "run_a.py", ())) == 10


def test_folder_pictures_are_as_many_as_asked_and_readable(tmp_path: Path) -> None:
    from peers.own_speed import PHOTO_SIZE, write_crops, write_photos
    from PIL import Image

    samples = sorted((BENCHMARKS.parent / "src" / "facelex" / "samples").glob("*.jpg"))
    for name, write, size in (("crops", write_crops, (48, 48)), ("photos", write_photos, PHOTO_SIZE)):
        (tmp_path / name).mkdir()
        write(tmp_path / name, 4, samples)
        assert [Image.open(path).size for path in sorted((tmp_path / name).iterdir())] == [size] * 4
