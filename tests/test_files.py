"""Files written whole or not at all."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

import pytest

from facelex.errors import FacelexError
from facelex.files import check_place, check_suffix, leftovers, replace_file, replacing, write_text


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


def test_a_place_is_checked_without_leaving_a_trace(tmp_path: Path) -> None:
    target = write_text(tmp_path / "a.txt", "old")
    for path in (target, tmp_path / "b.txt", tmp_path / "new" / "c.txt"):
        check_place(path)
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]
    with pytest.raises(FacelexError, match=r"Could not write '.*a.txt/b.txt': .*\. Choose another place\."):
        check_place(target / "b.txt")


@pytest.mark.parametrize(
    "fault",
    [
        FileNotFoundError(errno.ENOENT, "", "other.jpg"),
        BrokenPipeError(),
        ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"),
        TimeoutError(errno.ETIMEDOUT, "Connection timed out"),
    ],
)
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


posix = pytest.mark.skipif(os.name != "posix", reason="permissions, links and pipes of POSIX")


@posix
def test_a_file_keeps_its_permissions_and_is_private_while_it_is_written(tmp_path: Path) -> None:
    target = write_text(tmp_path / "a.txt", "old")
    for mode in (0o600, 0o640, 0o444):
        target.chmod(mode)
        with replacing(target) as part:
            part.write_text(f"{mode:o}")
            assert part.stat().st_mode & 0o777 == 0o600
        assert (target.stat().st_mode & 0o777, target.read_text()) == (mode, f"{mode:o}")
    with replacing(tmp_path / "b.txt", mode=0o600) as part:
        part.write_text("new")
        assert part.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "b.txt").stat().st_mode & 0o777 == 0o600


def write_half(file: IO[bytes]) -> None:
    file.write(b"half")
    raise RuntimeError


@posix
def test_a_link_stays_and_what_it_leads_to_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    target = write_text(tmp_path / "there" / "a.csv", "old")
    for name, leads_to in (("b.txt", target), ("c.txt", tmp_path / "there" / "new.txt")):
        (tmp_path / name).symlink_to(leads_to)
        write_text(tmp_path / name, "text")
        assert (tmp_path / name).is_symlink()
        assert leads_to.read_text() == "text"
    with pytest.raises(RuntimeError):
        replace_file(tmp_path / "b.txt", write_half)
    assert target.read_text() == "text"
    assert sorted(tmp_path.rglob("*.*")) == [
        tmp_path / "b.txt", tmp_path / "c.txt", target, tmp_path / "there" / "new.txt",
    ]  # fmt: skip


@posix
def test_a_pipe_is_written_to_and_stays(tmp_path: Path) -> None:
    pipe, link = tmp_path / "pipe.csv", tmp_path / "link.csv"
    os.mkfifo(pipe)
    link.symlink_to(pipe)
    for name in (pipe, link):
        with ThreadPoolExecutor(1) as pool:
            reader = pool.submit(pipe.read_text)
            write_text(name, "text")
            assert reader.result(timeout=30) == "text"
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    with pytest.raises(RuntimeError):
        replace_file(pipe, write_half)
    os.close(reading)
    assert pipe.is_fifo()
    assert sorted(tmp_path.iterdir()) == [link, pipe]


def test_writers_of_one_file_at_once_leave_it_whole(tmp_path: Path) -> None:
    target, texts = tmp_path / "a.txt", ["one" * 50_000, "two" * 50_000]

    def write_often(text: str) -> None:
        for _ in range(30):
            write_text(target, text)
            assert target.read_text() in texts

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(write_often, texts))
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("letter", ["a", "é", "😀", "["])
def test_a_name_may_be_as_long_as_the_file_system_takes_it(tmp_path: Path, letter: str) -> None:
    target = tmp_path / (letter * (250 // len(letter.encode())) + ".txt")
    assert write_text(target, "text").read_text() == "text"
    with replacing(target) as part:
        part.touch()
        assert leftovers(target) == [part]
    assert list(tmp_path.iterdir()) == [target]
    with pytest.raises(FacelexError, match="name too long"):
        write_text(tmp_path / ("1." + " long" * 48), "text")


@pytest.mark.skipif(not Path("/dev/stdout").exists(), reason="no /dev/stdout")
def test_a_file_behind_the_screen_is_not_replaced(tmp_path: Path) -> None:
    target = write_text(tmp_path / "all.csv", "old")
    code = (
        "from pathlib import Path; from facelex.files import write_text\n"
        "write_text(Path('/dev/stdout'), 'new')"
    )
    with target.open("a") as stream:
        done = subprocess.run([sys.executable, "-c", code], stdout=stream, stderr=subprocess.PIPE, text=True)
    assert "what '" in done.stderr
    assert target.read_text() == "old"
    piped = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert piped.stdout == "new"


@pytest.mark.parametrize("path", ["", ".", "/"])
def test_a_place_without_a_name_is_no_file_for_anything(path: str) -> None:
    with pytest.raises(FacelexError, match=r"Name it NAME\.png instead"):
        check_suffix(Path(path), (".png", ".jpg"), "a contact sheet")
