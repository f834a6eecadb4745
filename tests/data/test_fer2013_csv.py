from __future__ import annotations

import csv
import gzip
import io
import lzma
import tarfile
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from fake_fer2013 import faces, icml_csv, official_csv, rows, write
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from facelex.data.fer2013 import _pixel_bytes, read_fer2013
from facelex.errors import FacelexError

GOOD = " ".join(["7"] * 2304)


def assert_is_the_fake(path: Path) -> None:
    read = read_fer2013(path)
    assert (read.pixels == faces(14)).all()
    assert read.labels.tolist() == [row % 7 for row in range(14)]
    assert read.splits.tolist() == [0, 0, 0, 0, 1, 2] * 2 + [0, 0]


def test_official_file_is_read_in_row_order(tmp_path: Path) -> None:
    assert_is_the_fake(write(tmp_path / "fer2013.csv", official_csv()))


def test_headers_with_leading_spaces_and_another_column_order_are_read(tmp_path: Path) -> None:
    assert_is_the_fake(write(tmp_path / "icml_face_data.csv", icml_csv()))


@pytest.mark.parametrize("change", ["bom", "crlf", "no last line end", "blank lines", "quoted"])
def test_harmless_variations_of_the_text_change_nothing(tmp_path: Path, change: str) -> None:
    text = official_csv()
    if change == "bom":
        text = "\ufeff" + text
    elif change == "crlf":
        text = text.replace("\n", "\r\n")
    elif change == "no last line end":
        text = text.rstrip("\n")
    elif change == "blank lines":
        text = text.replace("\n", "\n\n")
    else:
        file = io.StringIO()
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows(csv.reader(io.StringIO(text)))
        text = file.getvalue()
    assert_is_the_fake(write(tmp_path / "fer2013.csv", text))


def packed(folder: Path, kind: str, name: str = "fer2013.csv") -> Path:
    data = official_csv().encode()
    path = folder / f"fer2013.csv.{kind}"
    if kind == "gz":
        path.write_bytes(gzip.compress(data))
    elif kind == "xz":
        path.write_bytes(lzma.compress(data, preset=0))
    elif kind == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("fer2013/README", "about")
            archive.writestr("__MACOSX/._fer2013.csv", "junk")
            archive.writestr(f"fer2013/{name}", data)
    else:
        with tarfile.open(path, "w:gz" if kind != "tar" else "w") as archive:
            info = tarfile.TarInfo(f"fer2013/{name}")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


@pytest.mark.parametrize("kind", ["gz", "xz", "zip", "tar", "tar.gz", "tgz"])
def test_packed_files_are_read_without_unpacking(tmp_path: Path, kind: str) -> None:
    assert_is_the_fake(packed(tmp_path, kind))


@pytest.mark.parametrize("kind", ["gz", "xz", "zip", "tar", "tar.gz"])
def test_packed_file_that_is_cut_short_is_said_to_be_so(tmp_path: Path, kind: str) -> None:
    path = packed(tmp_path, kind)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(FacelexError, match=r"cut short"):
        read_fer2013(path)


def test_archive_with_a_csv_of_another_name_is_read(tmp_path: Path) -> None:
    assert_is_the_fake(packed(tmp_path, "zip", "faces.csv"))


def test_archive_without_the_csv_says_what_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "archive.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("train/happy/1.jpg", b"x")
    with pytest.raises(FacelexError, match=r"holds no fer2013.csv.*train/happy/1.jpg.*unpack it"):
        read_fer2013(path)


BAD_ROWS = {
    "value over 255": (
        f"0,{GOOD[:-1]}256,Training",
        r"row 2 \(line 3\): expected pixels as whole numbers from 0 to 255.*256",
    ),
    "value far over": (f"0,{GOOD[:-1]}99999999999999999999,Training", r"row 2 .*from 0 to 255"),
    "negative": (f"0,{GOOD[:-1]}-1,Training", r"row 2 .*from 0 to 255, but got '-1'"),
    "text": (f"0,{GOOD}x,Training", r"row 2 .*whole numbers .*but got '7x'"),
    "decimal": (f"0,{GOOD[:-1]}7.5,Training", r"row 2 .*whole numbers .*but got '7.5'"),
    "too few": (f"0,{GOOD[:-2]},Training", r"row 2 .*expected 2304 pixels \(48x48\), but got 2303"),
    "too many": (f"0,{GOOD} 7,Training", r"row 2 .*but got 2305"),
    "none": ("0,,Training", r"row 2 .*expected 2304 pixels"),
    "label over": (f"7,{GOOD},Training", r"row 2 .*emotion from 0 to 6 .*but got '7'"),
    "label below": (f"-1,{GOOD},Training", r"row 2 .*emotion from 0 to 6 .*but got '-1'"),
    "label text": (f"happy,{GOOD},Training", r"row 2 .*emotion from 0 to 6 .*but got 'happy'"),
    "label empty": (f",{GOOD},Training", r"row 2 .*emotion from 0 to 6 .*but got ''"),
    "usage": (f"0,{GOOD},Validation", r"row 2 .*Usage of Training, PublicTest, PrivateTest, but got 'Valid"),
    "field missing": (f"0,{GOOD}", r"row 2 .*expected 3 fields, but got 2"),
    "field over": (f"0,{GOOD},Training,1", r"row 2 .*expected 3 fields, but got 4"),
    "open quote": (f'0,"{GOOD},Training' + "\n7" * 100_000, r"row 2 .*field larger than field limit"),
}


@pytest.mark.parametrize("fault", BAD_ROWS)
def test_wrong_row_is_named_with_what_was_expected(tmp_path: Path, fault: str) -> None:
    bad, message = BAD_ROWS[fault]
    text = f"emotion,pixels,Usage\n3,{GOOD},Training\n{bad}\n4,{GOOD},PublicTest\n"
    with pytest.raises(FacelexError, match=message):
        read_fer2013(write(tmp_path / "fer2013.csv", text))


@pytest.mark.parametrize("column", ["emotion", "pixels", "Usage"])
def test_missing_column_is_named(tmp_path: Path, column: str) -> None:
    text = official_csv(1).replace(column, "other", 1)
    with pytest.raises(
        FacelexError, match=f"header: no column '{column}'.*expected the columns emotion, pix"
    ):
        read_fer2013(write(tmp_path / "fer2013.csv", text))


def test_file_that_ends_within_a_row_is_said_to_be_cut_short(tmp_path: Path) -> None:
    text = official_csv()
    path = write(tmp_path / "fer2013.csv", text[: len(text) * 2 // 3])
    with pytest.raises(FacelexError, match=r"row 10 \(line 11\).*ends in the middle of this row"):
        read_fer2013(path)


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n\x00\x00", b"\xff" * 5_000_000])
def test_file_that_is_no_csv_lacks_the_columns(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "fer2013.csv"
    path.write_bytes(content)
    with pytest.raises(FacelexError, match=r"header"):
        read_fer2013(path)


def test_header_alone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FacelexError, match="no rows"):
        read_fer2013(write(tmp_path / "fer2013.csv", "emotion,pixels,Usage\n"))


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FacelexError, match=r"There is no file .*nowhere.csv"):
        read_fer2013(tmp_path / "nowhere.csv")


def test_progress_grows_to_the_size_of_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "fer2013.csv", official_csv(600))
    seen: list[tuple[int, int]] = []
    read_fer2013(path, lambda done, total: seen.append((done, total)))
    assert len(seen) >= 3
    assert seen == sorted(seen)
    assert seen[-1] == (path.stat().st_size, path.stat().st_size)


def test_memory_stays_near_the_size_of_the_pixels(tmp_path: Path) -> None:
    path = tmp_path / "fer2013.csv"
    lines = [f"{emotion},{pixels},{usage}\n" for emotion, pixels, usage in rows(8)]
    with path.open("w") as file:
        file.write("emotion,pixels,Usage\n")
        file.writelines(lines * 250)  # 16 MB of text, 4.6 MB of pixels
    tracemalloc.start()
    try:
        read = read_fer2013(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(read.labels) == 2000
    assert peak < 2.5 * read.pixels.nbytes


def test_line_without_an_end_does_not_fill_the_memory(tmp_path: Path) -> None:
    path = write(tmp_path / "fer2013.csv", "emotion,pixels,Usage\n0," + "7 " * 10_000_000)
    tracemalloc.start()
    try:
        with pytest.raises(
            FacelexError, match=r"row 1 \(line 2\): field larger than field limit \(131072\)\.$"
        ):
            read_fer2013(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8_000_000  # the line has 20 MB


def plain_pixels(text: str) -> bytes:
    """The independent answer: a loop over words, each of which must be digits."""
    words = text.split(" ")
    if not all(word.isascii() and word.isdigit() for word in words if word):
        raise ValueError
    words = [word for word in words if word]
    if len(words) != 2304:
        raise ValueError
    return bytes(int(word) for word in words)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.integers(-3, 300), min_size=0, max_size=4),
    st.text(max_size=6),
    st.integers(0, 2304),
    st.integers(2295, 2306),
)
@example([], "", 0, 2304)
@example([], "\x00", 2304, 2304)
@example([], " - 3", 2304, 2303)
@example([], "１", 2304, 2303)
@example([], "+7", 2304, 2303)
@example([], "\ud800", 2304, 2303)
def test_pixels_are_parsed_like_a_plain_loop(values: list[int], junk: str, at: int, length: int) -> None:
    words = [*map(str, values), *(["200"] * max(0, length - len(values)))]
    text = " ".join(words[:at]) + (" " if at else "") + junk + " " + " ".join(words[at:])
    try:
        expected = plain_pixels(text)
    except ValueError:
        with pytest.raises(FacelexError):
            _pixel_bytes(text)
    else:
        assert _pixel_bytes(text) == expected


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 20_000), st.binary(max_size=3)), min_size=1, max_size=4))
def test_damaged_file_is_read_or_refused_in_words(tmp_path: Path, edits: list[tuple[int, bytes]]) -> None:
    data = bytearray(official_csv(2).encode())
    for place, new in edits:
        data[place % len(data) : place % len(data) + max(1, len(new))] = new
    path = tmp_path / "fer2013.csv"
    path.write_bytes(bytes(data))
    try:
        read = read_fer2013(path)
    except FacelexError as error:
        message = str(error)
    else:
        message = str(path)
        assert len(read.pixels) == len(read.labels) == len(read.splits) >= 1
        assert np.isin(read.labels, range(7)).all()
    assert str(path) in message


def test_empty_file_is_called_empty(tmp_path: Path) -> None:
    with pytest.raises(FacelexError, match=r"fer2013\.csv, header: the file is empty"):
        read_fer2013(write(tmp_path / "fer2013.csv", ""))


@pytest.mark.parametrize("change", ["lower case", "leading blank line", "utf-16", "utf-16 packed"])
def test_the_official_file_saved_again_by_other_programs_is_read(tmp_path: Path, change: str) -> None:
    text = official_csv()
    if change == "lower case":
        text = text.replace("emotion,pixels,Usage", "Emotion,PIXELS,usage")
    elif change == "leading blank line":
        text = "\n" + text
    data = text.encode("utf-16" if "utf-16" in change else "utf-8")
    path = tmp_path / ("fer2013.csv.gz" if "packed" in change else "fer2013.csv")
    path.write_bytes(gzip.compress(data) if "packed" in change else data)
    assert_is_the_fake(path)
