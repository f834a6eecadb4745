"""What the commands do when the reader of the screen goes away, or the screen lacks a letter."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import facelex

PHOTO = Path(facelex.__file__).parent / "samples" / "astronaut.jpg"
FACELEX = (sys.executable, "-m", "facelex")
TINY = ("--model", "tiny", "--threads", "1")


def run_unread(folder: Path, *arguments: str) -> int:
    """Run the command while nobody reads its screen; returns the exit code."""
    with subprocess.Popen([*FACELEX, *arguments], cwd=folder, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.close()
        return process.wait(timeout=120)


@pytest.mark.parametrize("format", ["csv", "table"])
def test_pictures_are_written_though_nobody_reads_the_screen(tmp_path: Path, format: str) -> None:
    shutil.copy(PHOTO, tmp_path)
    options = ("--format", format, "--annotate", "marked")
    assert run_unread(tmp_path, "predict", PHOTO.name, *options, *TINY) == 0
    assert [path.name for path in (tmp_path / "marked").iterdir()] == ["astronaut-faces.jpg"]


def test_contact_sheet_is_written_though_nobody_reads_the_screen(tmp_path: Path) -> None:
    shutil.copy(PHOTO, tmp_path)
    assert run_unread(tmp_path, "search", "happy", PHOTO.name, "--sheet", "sheet.png", *TINY) == 0
    assert (tmp_path / "sheet.png").is_file()


@pytest.mark.parametrize("format", ["json", "table"])
def test_without_files_to_write_the_command_ends_with_its_reader(tmp_path: Path, format: str) -> None:
    assert run_unread(tmp_path, "predict", str(PHOTO), "--format", format, *TINY) == 0


def test_a_screen_that_is_closed_is_no_bug(tmp_path: Path) -> None:
    command = f"exec {' '.join(FACELEX)} predict {PHOTO} --format csv {' '.join(TINY)} >&-"
    ended = subprocess.run(["sh", "-c", command], cwd=tmp_path, stderr=subprocess.PIPE, timeout=120)
    assert (ended.returncode, ended.stderr) == (0, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
@pytest.mark.parametrize("verb", ["predict --annotate marked", "predict", "search happy"])
def test_a_screen_that_is_a_file_on_a_full_disk_is_one_sentence(tmp_path: Path, verb: str) -> None:
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [*FACELEX, *verb.split(), str(PHOTO), "--format", "csv", "--no-detect", *TINY],
            cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, timeout=120, text=True,
        )  # fmt: skip
    assert (ended.returncode, ended.stderr) == (2, "facelex: No space left on device: the output.\n")


def test_json_is_valid_on_a_screen_that_lacks_letters(tmp_path: Path) -> None:
    shutil.copy(PHOTO, tmp_path / "Café 😀.jpg")
    for verb in (("predict", "."), ("search", "happy", ".")):
        ended = subprocess.run(
            [*FACELEX, *verb, "--format", "json", *TINY],
            cwd=tmp_path, env=os.environ | {"PYTHONIOENCODING": "ascii"}, check=True, timeout=120,
            stdout=subprocess.PIPE,
        )  # fmt: skip
        (record,) = json.loads(ended.stdout)
        assert Path(record["source"]).name == "Café 😀.jpg"
