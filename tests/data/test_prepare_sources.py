from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from fake_fer2013 import faces, ferplus_csv, official_csv, write
from PIL import Image

import facelex.data.official as module
from facelex.data import FaceDataset
from facelex.data.dataset import FORMAT, read_signature
from facelex.data.options import ReadOptions
from facelex.data.prepare import prepare
from facelex.emotions import EMOTIONS
from facelex.errors import FacelexError


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write(tmp_path / "fer2013.csv", official_csv())


@pytest.fixture
def votes(tmp_path: Path) -> Path:
    return write(tmp_path / "fer2013new.csv", ferplus_csv())


def image_folder(root: Path) -> Path:
    for number, image in enumerate(faces(3)):
        folder = root / ("train", "val", "test")[number] / "happy"
        folder.mkdir(parents=True)
        Image.fromarray(image).save(folder / "1.png")
    return root


def test_csv_and_votes_become_one_file(tmp_path: Path, source: Path, votes: Path) -> None:
    output = tmp_path / "out" / "faces.npz"
    prepared = prepare(source, output, ReadOptions(ferplus=votes))
    dataset = FaceDataset.load(output)
    assert (dataset.pixels == faces(14)).all()
    assert dataset.votes is not None
    assert dataset.votes.counts.sum(axis=1).tolist() == [10] * 14
    assert (dataset.class_names, dataset.source) == (
        EMOTIONS,
        "FER2013 from fer2013.csv, FER+ from fer2013new.csv",
    )
    assert not prepared.reused
    assert any(
        "not the complete FER2013 (35,887 faces): it has 10 train, 2 val, 2 test" in n for n in prepared.notes
    )


def test_second_prepare_reads_nothing(
    tmp_path: Path, source: Path, votes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output, options = tmp_path / "faces.npz", ReadOptions(ferplus=votes)
    first = prepare(source, output, options)
    changed = output.stat().st_mtime_ns
    monkeypatch.setattr(module, "read_fer2013", lambda *_: pytest.fail("read again"))
    second = prepare(source, output, options)
    assert second.reused
    assert second.dataset.fingerprint == first.dataset.fingerprint
    assert output.stat().st_mtime_ns == changed


@pytest.mark.parametrize("change", ["time", "votes", "size", "force", "cut", "flip", "format"])
def test_any_change_is_read_again(
    tmp_path: Path, source: Path, votes: Path, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    output, options = tmp_path / "faces.npz", ReadOptions(ferplus=votes)
    with monkeypatch.context() as earlier:
        earlier.setattr("facelex.data.dataset.FORMAT", 0 if change == "format" else FORMAT)
        prepare(source, output, options)
    if change == "time":
        os.utime(source, ns=(1, 1))
    elif change == "votes":
        os.utime(votes, ns=(1, 1))
    elif change == "size":
        options = ReadOptions(ferplus=votes, size=64)
    elif change == "cut":
        output.write_bytes(output.read_bytes()[:900])
    elif change == "flip":  # the pixels alone: what the file says it was made from stays readable
        data = bytearray(output.read_bytes())
        data[3_000:3_010] = bytes(byte ^ 255 for byte in data[3_000:3_010])
        output.write_bytes(bytes(data))
        assert read_signature(output)
    assert not prepare(source, output, options, force=change == "force").reused
    assert FaceDataset.load(output).pixels.shape[1] == options.size


def test_folder_is_read_again_when_an_image_is_added(tmp_path: Path) -> None:
    root, output = image_folder(tmp_path / "faces"), tmp_path / "faces.npz"
    assert not prepare(root, output).reused
    assert prepare(root, output).reused
    Image.fromarray(faces(1, seed=9)[0]).save(root / "train" / "happy" / "2.png")
    assert len(prepare(root, output).dataset) == 4


@pytest.mark.parametrize("link", ["train", "train/happy"])
def test_folders_that_are_links_are_read_again_when_an_image_changes(tmp_path: Path, link: str) -> None:
    root, output = image_folder(tmp_path / "faces"), tmp_path / "faces.npz"
    (root / link).rename(tmp_path / "elsewhere")
    (root / link).symlink_to(tmp_path / "elsewhere")
    assert not prepare(root, output).reused
    assert prepare(root, output).reused
    Image.fromarray(faces(1, seed=9)[0]).save(root / "train" / "happy" / "1.png")
    assert not prepare(root, output).reused


def test_cache_inside_its_source_does_not_count_as_a_change(tmp_path: Path) -> None:
    root = image_folder(tmp_path / "faces")
    prepare(root, root / "faces.npz")
    assert prepare(root, root / "faces.npz").reused


def test_shares_are_not_drawn_where_the_csv_has_splits_and_a_note_says_so(
    tmp_path: Path, source: Path
) -> None:
    drawn = prepare(source, tmp_path / "d.npz", ReadOptions(split=(0, 0, 1)))
    usual = prepare(source, tmp_path / "e.npz", ReadOptions())
    note = "The images have splits, so --split is not used."
    assert (note in drawn.notes, note in usual.notes) == (True, False)
    assert (drawn.dataset.splits == usual.dataset.splits).all()


@pytest.mark.parametrize("place", ["fer2013.csv", "icml_face_data.csv", "fer2013/fer2013.csv"])
def test_csv_is_found_in_a_downloaded_folder(tmp_path: Path, place: str) -> None:
    write(tmp_path / "download" / place, official_csv())
    assert len(prepare(tmp_path / "download", tmp_path / "faces.npz").dataset) == 14


def test_votes_for_a_folder_of_images_are_refused(tmp_path: Path, votes: Path) -> None:
    with pytest.raises(FacelexError, match=r"--ferplus is for FER2013's CSV, and .* is a folder of images"):
        prepare(image_folder(tmp_path / "faces"), tmp_path / "faces.npz", ReadOptions(ferplus=votes))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (ReadOptions(size=8), "size from 16 to 512"),
        (ReadOptions(seed=-1), "seed of 0 or more"),
        (ReadOptions(mapping={"a": "b"}), "--map is for a folder of images or a CSV"),
        (ReadOptions(ferplus=Path("nowhere.csv")), "There is no file nowhere.csv"),
    ],
)
def test_wrong_option_is_refused_and_nothing_is_written(
    tmp_path: Path, source: Path, options: ReadOptions, message: str
) -> None:
    with pytest.raises(FacelexError, match=message):
        prepare(source, tmp_path / "new" / "faces.npz", options)
    assert not (tmp_path / "new").exists()


def test_missing_source_says_what_can_be_given(tmp_path: Path) -> None:
    with pytest.raises(FacelexError, match=r"no file or folder .*nowhere; give fer2013.csv.*data download"):
        prepare(tmp_path / "nowhere", tmp_path / "faces.npz")


def test_a_file_of_another_kind_is_told_what_a_source_is(tmp_path: Path) -> None:
    (tmp_path / "labels.docx").write_bytes(b"PK")
    with pytest.raises(FacelexError, match=r"labels\.docx to be .* fer2013\.csv .* but it is none of these"):
        prepare(tmp_path / "labels.docx", tmp_path / "faces.npz")


def test_output_of_another_kind_is_refused_before_reading(tmp_path: Path, source: Path) -> None:
    with pytest.raises(FacelexError, match=r"ends in .npz, but got .*faces.csv"):
        prepare(source, tmp_path / "faces.csv")


def test_prepared_file_as_source_points_to_info(tmp_path: Path, source: Path) -> None:
    prepare(source, tmp_path / "faces.npz")
    with pytest.raises(FacelexError, match="facelex data info"):
        prepare(tmp_path / "faces.npz", tmp_path / "again.npz")


def test_failed_prepare_leaves_the_old_file_and_no_other(tmp_path: Path, source: Path) -> None:
    output = tmp_path / "out" / "faces.npz"
    before = prepare(source, output).dataset.fingerprint
    source.write_text(source.read_text()[:30_000])
    with pytest.raises(FacelexError, match="cut short"):
        prepare(source, output)
    assert FaceDataset.load(output).fingerprint == before
    assert [path.name for path in output.parent.iterdir()] == ["faces.npz"]


def test_other_size_scales_the_faces(tmp_path: Path) -> None:
    ramp = np.repeat(np.arange(48, dtype=np.uint8)[None] * 5, 48, axis=0)
    text = "emotion,pixels,Usage\n3," + " ".join(map(str, ramp.ravel())) + ",Training\n"
    pixels = prepare(
        write(tmp_path / "fer2013.csv", text), tmp_path / "f.npz", ReadOptions(size=96)
    ).dataset.pixels
    assert pixels.shape == (1, 96, 96)
    assert (np.diff(pixels[0, 5].astype(int)) >= 0).all()
    assert abs(int(pixels[0, 5, 48]) - int(ramp[0, 24])) <= 3


def test_somebody_elses_file_is_replaced_only_if_that_is_asked_for(tmp_path: Path, source: Path) -> None:
    output = tmp_path / "faces.npz"
    np.savez(output, mine=np.arange(3))
    for content in (output.read_bytes(), b"notes"):
        output.write_bytes(content)
        with pytest.raises(FacelexError, match=r"is no dataset of facelex, and would be lost\. .* --force"):
            prepare(source, output)
        assert output.read_bytes() == content
    assert len(prepare(source, output, force=True).dataset) == 14
    output.write_bytes(output.read_bytes()[:3000])  # ours, cut short, may be written again
    assert len(prepare(source, output, replace=False).dataset) == 14


def test_want_of_memory_is_no_damage(tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = tmp_path / "faces.npz"
    prepare(source, output)

    def no_room(*args: object, **kwargs: object) -> None:
        raise MemoryError("Unable to allocate 78.8 MiB")

    monkeypatch.setattr(np.lib.npyio.NpzFile, "__getitem__", no_room)
    with pytest.raises(MemoryError):
        FaceDataset.load(output)
