"""Files written whole or not at all."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import IO

import pytest

from facelex.errors import FacelexError
from facelex.files import check_suffix, replace_file, replacing, write_text


def test_a_failure_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    target = write_text(tmp_path / "a.txt", "old")

    def interrupted() -> None:
        with replacing(target) as part:
            part.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_failure_removes_the_folders_that_were_made_for_the_file_and_no_others(tmp_path: Path) -> None:
    def fill_the_disk(file: IO[bytes]) -> None:
        file.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "old").mkdir()
    for target in (tmp_path / "old" / "new" / "newer" / "a.txt", tmp_path / "old" / "a.txt"):
        with pytest.raises(FacelexError, match="The disk is full"):
            replace_file(target, fill_the_disk)
    assert list(tmp_path.rglob("*")) == [tmp_path / "old"]


def test_missing_folders_are_made_and_the_part_has_the_suffix(tmp_path: Path) -> None:
    target = tmp_path / "new" / "a.png"
    with replacing(target) as part:
        assert (part.parent, part.suffix) == (target.parent, ".png")
        assert not target.exists()
        part.write_bytes(b"whole")
    assert list(target.parent.iterdir()) == [target]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    write_text(tmp_path / "file", "")
    with pytest.raises(FacelexError, match=r"Could not write '.*file/a.txt': .*\. Choose another place\."):
        write_text(tmp_path / "file" / "a.txt", "text")


@pytest.mark.parametrize("fault", [FileNotFoundError(errno.ENOENT, "", "other.jpg"), BrokenPipeError()])
def test_what_fails_elsewhere_while_a_file_is_written_is_not_blamed_on_it(
    tmp_path: Path, fault: OSError
) -> None:
    def fail(file: IO[bytes]) -> None:
        raise fault

    with pytest.raises(type(fault)) as caught:
        replace_file(tmp_path / "a.txt", fail)
    assert caught.value is fault
    assert not list(tmp_path.iterdir())


def test_a_suffix_is_checked_without_regard_to_case(tmp_path: Path) -> None:
    check_suffix(Path("A.PNG"), (".png",), "a picture")
    with pytest.raises(FacelexError, match=r"a picture named \.png, but got 'a\.b'\. Name it a\.png instead"):
        check_suffix(Path("a.b"), (".png",), "a picture")
