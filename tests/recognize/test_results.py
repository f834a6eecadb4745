"""Results: the JSON layout scripts depend on, tidy tables, files that are whole or absent."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
from tiny_recognition import FixedDetector, TinyVocabulary

from facelex.emotions import EMOTIONS
from facelex.errors import FacelexError
from facelex.recognize import writers
from facelex.recognize.layouts import TableLayout
from facelex.recognize.recognizer import Recognizer
from facelex.recognize.results import Face, ImageResult, to_frame
from facelex.recognize.writers import format_of, open_writer

LAYOUT = TableLayout(EMOTIONS, ("proud",))
PROBABILITIES = dict(zip(EMOTIONS, (0.01, 0.02, 0.03, 0.8, 0.04, 0.05, 0.05)))
FACE = Face(
    (1.25, -2.0, 30.0, 40.5),
    0.91234567,
    "happy",
    PROBABILITIES,
    False,
    {"proud": 0.75},
    np.ones(3, np.float32),
)
RESULTS = [
    ImageResult("one.jpg", 640, 480, (FACE, FACE)),
    ImageResult("empty.jpg", 64, 48),
    ImageResult("bad.jpg", error="Could not decode 'bad.jpg'."),
]


def written(kind: str, results=RESULTS, layout=LAYOUT) -> str:
    stream = io.StringIO()
    with open_writer(kind, stream, layout) as writer:
        for result in results:
            writer.write(result)
    return stream.getvalue()


def test_json_has_the_published_layout():
    one, empty, bad = json.loads(written("json"))
    assert list(one) == ["source", "width", "height", "faces"]
    assert one["faces"][0] == {
        "box": [1.25, -2.0, 30.0, 40.5],
        "score": 0.9123,
        "emotion": "happy",
        "unsure": False,
        "probabilities": PROBABILITIES,
        "words": {"proud": 0.75},
        "landmarks": None,
    }
    assert list(one["faces"][0]["probabilities"]) == list(EMOTIONS)
    assert empty == {"source": "empty.jpg", "width": 64, "height": 48, "faces": []}
    assert bad == {"source": "bad.jpg", "error": "Could not decode 'bad.jpg'."}
    assert FACE.to_dict(embedding=True)["embedding"] == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("count", [0, 1, 2])
def test_json_is_valid_with_any_number_of_images(count):
    assert len(json.loads(written("json", RESULTS[:count]))) == count


def test_json_comes_line_by_line():
    stream = io.StringIO()
    with open_writer("json", stream, LAYOUT) as writer:
        writer.write(RESULTS[0])
        assert json.loads(stream.getvalue() + "]")[0]["source"] == "one.jpg"
        writer.write(RESULTS[2])


def test_csv_has_a_row_a_face_and_a_row_an_error():
    rows = list(csv.DictReader(io.StringIO(written("csv"))))
    assert [(row["source"], row["face"]) for row in rows] == [
        ("one.jpg", "0"),
        ("one.jpg", "1"),
        ("bad.jpg", ""),
    ]
    assert list(rows[0])[:9] == ["source", "face", "x", "y", "width", "height", "score", "emotion", "unsure"]
    assert list(rows[0])[9:] == [*EMOTIONS, "word:proud", "error"]
    assert float(rows[0]["happy"]) == 0.8
    assert rows[0]["error"] == ""
    assert rows[2]["error"].startswith("Could not decode")


def test_parquet_streams_row_groups_with_types(tmp_path, monkeypatch):
    parquet = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr(writers, "ROWS_PER_GROUP", 4)
    odd = ImageResult("broken\udcff.jpg", error="gone")
    path = tmp_path / "faces.parquet"
    with open_writer("parquet", path, LAYOUT) as writer:
        for result in [*RESULTS, *RESULTS, odd]:
            writer.write(result)
    table = parquet.read_table(path)
    assert table.num_rows == 7
    assert parquet.ParquetFile(path).num_row_groups == 2
    assert str(table.schema.field("happy").type) == "double"
    assert str(table.schema.field("unsure").type) == "bool"
    assert table.column("face").to_pylist()[:4] == [0, 1, None, 0]
    assert table.column("source").to_pylist()[-1] == "broken\\udcff.jpg"


def test_data_frame_has_the_same_columns_as_csv():
    pandas = pytest.importorskip("pandas")
    frame = to_frame(iter(RESULTS))
    assert isinstance(frame, pandas.DataFrame)
    assert list(frame.columns) == written("csv").splitlines()[0].split(",")
    assert len(frame) == 3
    assert frame["happy"].max() == 0.8
    assert len(to_frame([])) == 0
    with_features = to_frame(iter(RESULTS), embedding=True)
    assert list(with_features.columns) == list(TableLayout(EMOTIONS, ("proud",), 3).columns)
    assert with_features["embedding:2"].tolist()[:2] == [1, 1]


def test_data_frame_has_all_columns_also_without_a_face(tiny_model, photo):
    pytest.importorskip("pandas")
    nobody = Recognizer(tiny_model, detector=FixedDetector(), vocabulary=TinyVocabulary())
    frame = to_frame(nobody.predict_many([photo, b"broken"], words="proud"))
    assert list(frame.columns) == list(LAYOUT.columns)
    assert len(frame) == 1


def test_data_frame_has_the_columns_of_all_results():
    pytest.importorskip("pandas")
    other = Face(FACE.box, 1.0, "calm", {"calm": 1.0}, words={"bored": 0.5})
    results = [RESULTS[2], RESULTS[0], ImageResult("two.jpg", 9, 9, (other,))]
    frame = to_frame(results)
    assert list(frame.columns) == list(TableLayout((*EMOTIONS, "calm"), ("proud", "bored")).columns)
    assert frame["word:bored"].tolist()[-1] == 0.5
    assert to_frame([RESULTS[2]]).columns.tolist() == list(TableLayout().columns)


def test_data_frame_of_faces_says_what_it_takes():
    pytest.importorskip("pandas")
    with pytest.raises(FacelexError, match=r"but got a Face. For one picture call predict_many\(\[picture"):
        to_frame([FACE])


def test_data_frame_takes_file_names_that_are_not_unicode():
    pytest.importorskip("pandas")
    frame = to_frame([ImageResult("broken\udcff.jpg", 9, 9, (FACE,)), ImageResult("a\udcff", error="gone")])
    assert frame["source"].tolist() == ["broken\\udcff.jpg", "a\\udcff"]


def test_table_says_what_a_person_wants_to_know():
    text = written(
        "table",
        [
            *RESULTS,
            ImageResult("[red]x.jpg", 9, 9, (FACE.__class__(FACE.box, 1.0, "sad", PROBABILITIES, True),)),
        ],
    )
    assert "happy 80%" in text
    assert "surprise 5%" in text
    assert "proud 0.75" in text
    assert "no face found" in text
    assert "Could not decode" in text
    assert "unsure" in text
    assert "[red]x.jpg" in text


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.json", "json"), ("a.jsonl", "jsonl"), ("A.CSV", "csv"), ("a.parquet", "parquet"),
        ("a.pq", "parquet"), ("a.txt", "table"), ("a", "table"),
    ],
)  # fmt: skip
def test_a_suffix_names_a_format(name, kind):
    assert format_of(Path(name)) == kind


def test_a_suffix_that_names_no_format_is_refused():
    with pytest.raises(FacelexError, match=r"named .json, .jsonl, .csv, .parquet or .txt, but got 'a.tsv'"):
        format_of(Path("a.tsv"))
    with pytest.raises(FacelexError, match=r"named .json, .jsonl, .csv or .parquet, but got 'a.txt'"):
        format_of(Path("a.txt"), writers.ROW_FORMATS)


def test_a_file_appears_only_when_it_is_complete(tmp_path):
    path = tmp_path / "faces.json"
    path.write_text("before")

    def interrupted() -> None:
        with open_writer("json", path, LAYOUT) as writer:
            writer.write(RESULTS[0])
            raise RuntimeError

    with pytest.raises(RuntimeError):
        interrupted()
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]
    with open_writer("json", path, LAYOUT) as writer:
        writer.write(RESULTS[0])
    assert json.loads(path.read_text())[0]["source"] == "one.jpg"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_a_file_is_readable_by_whom_the_umask_allows(tmp_path, mask):
    before = os.umask(mask)
    try:
        with open_writer("json", tmp_path / "faces.json", LAYOUT) as writer:
            writer.write(RESULTS[0])
    finally:
        os.umask(before)
    assert (tmp_path / "faces.json").stat().st_mode & 0o777 == 0o666 & ~mask


def test_a_full_disk_is_told_in_one_sentence(tmp_path):
    def fill() -> None:
        with open_writer("json", tmp_path / "faces.json", LAYOUT):
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(FacelexError, match="The disk is full"):
        fill()
    assert list(tmp_path.iterdir()) == []


def test_file_names_that_are_not_unicode_are_written(tmp_path):
    odd = ImageResult("broken\udcff.jpg", error="gone")
    for kind in ("json", "csv", "table"):
        with open_writer(kind, tmp_path / f"faces.{kind}", LAYOUT) as writer:
            writer.write(odd)
        assert "broken\\udcff" in (tmp_path / f"faces.{kind}").read_text()
    assert json.loads((tmp_path / "faces.json").read_text())[0]["source"] == odd.source


def test_wrong_targets_are_refused(tmp_path):
    for kind, target, message in (
        ("xml", io.StringIO(), "Unknown format 'xml'"),
        ("parquet", io.StringIO(), "--output"),
        ("json", tmp_path / "none" / "faces.json", "Could not write"),
    ):
        with pytest.raises(FacelexError, match=message), open_writer(kind, target, LAYOUT):
            pass


def test_missing_packages_name_their_extra(monkeypatch, tmp_path):
    import sys

    monkeypatch.setitem(sys.modules, "pandas", None)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(FacelexError, match=r"facelex\[table\]"):
        to_frame(RESULTS)
    with (
        pytest.raises(FacelexError, match=r"facelex\[table\]"),
        open_writer("parquet", tmp_path / "a.parquet", LAYOUT),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_class_called_as_a_column_has_one_of_its_own(tmp_path: Path):
    pandas, _ = pytest.importorskip("pandas"), pytest.importorskip("pyarrow")
    classes = ("unsure", "x", "bored", "error")
    face = Face((1.0, 2.0, 3.0, 4.0), 0.9, "x", dict(zip(classes, (0.1, 0.6, 0.2, 0.1))), True)
    result = ImageResult("one.jpg", 640, 480, (face,), columns=TableLayout(classes).columns)
    for suffix, read in (("csv", pandas.read_csv), ("parquet", pandas.read_parquet)):
        with open_writer(suffix, tmp_path / f"t.{suffix}", TableLayout(classes)) as writer:
            writer.write(result)
        for table in (read(tmp_path / f"t.{suffix}"), to_frame([result])):
            assert table.columns.is_unique
            row = table.iloc[0]
            assert (row["x"], row["unsure"], row["emotion"], row["bored"]) == (1.0, True, "x", 0.2)
            assert (row["class:unsure"], row["class:x"], row["class:error"]) == (0.1, 0.6, 0.1)


def test_one_result_is_no_table():
    pytest.importorskip("pandas")
    with pytest.raises(FacelexError, match=r"but got one ImageResult\. Put it into a list: \[result\]"):
        to_frame(RESULTS[0])
