from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import IO, Any

import pytest
import torch

from facelex.errors import FacelexError
from facelex.training import checkpoint
from facelex.training.checkpoint import load_checkpoint, remove_leftovers, save_checkpoint

STATE = {"model": {"weight": torch.arange(6.0)}, "phase": 1, "rows": [{"phase": "a", "lr": 0.1}]}


def test_state_comes_back_as_it_was(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "checkpoint.pt", STATE)
    state = load_checkpoint(tmp_path / "checkpoint.pt")
    assert torch.equal(state["model"]["weight"], STATE["model"]["weight"])  # type: ignore[index]
    assert (state["phase"], state["rows"]) == (1, STATE["rows"])
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_checkpoint_cut_short_is_refused(tmp_path: Path, share: float) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, STATE)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(FacelexError, match="not a complete facelex checkpoint"):
        load_checkpoint(path)


def test_pickled_objects_are_refused_and_not_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "ran"),)

    torch.save({"format": 1, "model": Evil()}, tmp_path / "checkpoint.pt")
    with pytest.raises(FacelexError, match="not a complete facelex checkpoint"):
        load_checkpoint(tmp_path / "checkpoint.pt")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [{"model": {}}, {"format": 99}, [1, 2]])
def test_another_programs_file_is_refused(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "checkpoint.pt")
    with pytest.raises(FacelexError, match="not a facelex checkpoint of format 1"):
        load_checkpoint(tmp_path / "checkpoint.pt")


def test_missing_checkpoint_says_to_start_without_resume(tmp_path: Path) -> None:
    with pytest.raises(FacelexError, match="without --resume"):
        load_checkpoint(tmp_path / "checkpoint.pt")


class FullDisk:
    """A file that takes some bytes and then has no space left."""

    def __init__(self, file: IO[bytes], room: int) -> None:
        self.file, self.room = file, room

    def write(self, data: bytes) -> int:
        self.room -= len(data)
        if self.room < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self.file.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)


@pytest.mark.parametrize("room", [0, 300, 1000])
def test_full_disk_keeps_the_checkpoint_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, STATE)
    save = torch.save
    monkeypatch.setattr(checkpoint.torch, "save", lambda state, file: save(state, FullDisk(file, room)))
    with pytest.raises(FacelexError, match=r"disk is full.*last complete checkpoint is kept.*--resume"):
        save_checkpoint(path, STATE | {"phase": 2})
    assert load_checkpoint(path)["phase"] == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_full_disk_before_the_first_checkpoint_speaks_of_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = torch.save
    monkeypatch.setattr(checkpoint.torch, "save", lambda state, file: save(state, FullDisk(file, 0)))
    with pytest.raises(FacelexError, match=r"disk is full.*There is no checkpoint yet: the same command"):
        save_checkpoint(tmp_path / "run" / "checkpoint.pt", STATE)
    assert list(tmp_path.iterdir()) == []


def test_folder_that_cannot_be_made_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FacelexError, match="Could not write"):
        save_checkpoint(tmp_path / "file" / "checkpoint.pt", STATE)


def test_leftovers_of_killed_processes_are_removed_and_nothing_else(tmp_path: Path) -> None:
    for name in (".checkpoint.123.part.pt", ".scores.9.part.json", "checkpoint.pt"):
        (tmp_path / name).write_bytes(b"")
    remove_leftovers(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".scores.9.part.json", "checkpoint.pt"]
