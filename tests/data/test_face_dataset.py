from __future__ import annotations

import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fake_fer2013 import faces

import facelex.data.dataset as module
from facelex.data import FaceDataset, load_dataset
from facelex.data.dataset import read_signature
from facelex.data.votes import Votes
from facelex.emotions import EMOTIONS
from facelex.errors import FacelexError


def small(votes: bool = True) -> FaceDataset:
    pixels = faces(8)
    pixels[5] = pixels[0]  # a test picture that is also in train
    pixels[7] = pixels[4]  # a test picture that is also in val
    pixels[2] = 90
    return FaceDataset.create(
        pixels,
        np.arange(8) % 7,
        np.array([0, 0, 0, 0, 1, 2, 2, 2], np.uint8),
        EMOTIONS,
        "fake",
        Votes(np.arange(80).reshape(8, 10)) if votes else None,
    )


@pytest.mark.parametrize("votes", [True, False])
def test_saved_dataset_comes_back_the_same(tmp_path: Path, votes: bool) -> None:
    before = small(votes)
    before.save(tmp_path / "new" / "faces.npz")
    after = FaceDataset.load(tmp_path / "new" / "faces.npz")
    for name in ("pixels", "labels", "splits", "groups"):
        assert (getattr(after, name) == getattr(before, name)).all()
        assert getattr(after, name).dtype == getattr(before, name).dtype
    assert (after.votes is None) == (before.votes is None)
    if after.votes is not None and before.votes is not None:
        assert (after.votes.counts == before.votes.counts).all()
        assert (after.votes.names, after.votes.counts.dtype) == (before.votes.names, np.uint8)
    assert (after.class_names, after.source, after.fingerprint) == (EMOTIONS, "fake", before.fingerprint)


def test_saved_file_holds_no_pickles(tmp_path: Path) -> None:
    small().save(tmp_path / "faces.npz")
    with np.load(tmp_path / "faces.npz", allow_pickle=False) as file:
        assert {file[name].dtype.kind for name in file.files} <= set("uiU")


def test_indices_and_length_follow_the_splits() -> None:
    dataset = small()
    assert len(dataset) == 8
    assert [dataset.indices(split).tolist() for split in ("train", "val", "test")] == [
        [0, 1, 2, 3],
        [4],
        [5, 6, 7],
    ]


def test_seen_marks_identical_copies_in_the_order_of_indices() -> None:
    dataset = small()
    assert dataset.seen_in("test").tolist() == [True, False, False]
    assert dataset.seen_in("test", "val").tolist() == [False, False, True]
    assert dataset.seen_in("val").tolist() == [False]


def test_blank_marks_only_pictures_that_show_nothing() -> None:
    assert small().blank().tolist() == [row == 2 for row in range(8)]


def test_unknown_split_names_the_nearest_known_one() -> None:
    with pytest.raises(FacelexError, match=r"Unknown split 'tests'. Did you mean 'test'\?"):
        small().indices("tests")


def test_fingerprint_changes_with_each_thing_it_covers_and_with_nothing_else() -> None:
    base = small()
    parts = {
        "pixels": base.pixels,
        "labels": base.labels,
        "splits": base.splits,
        "class_names": base.class_names,
        "votes": base.votes,
    }

    def print_of(source: str = "fake", **changes: object) -> str:
        return FaceDataset.create(**{**parts, **changes}, source=source).fingerprint  # type: ignore[arg-type]

    pixels = base.pixels.copy()
    pixels[3, 4, 5] ^= 1
    prints = [
        print_of(),
        print_of(pixels=pixels),
        print_of(labels=base.labels[::-1].copy()),
        print_of(splits=base.splits[::-1].copy()),
        print_of(votes=None),
        print_of(class_names=tuple(reversed(EMOTIONS))),
    ]
    assert len(set(prints)) == len(prints)
    assert print_of(source="elsewhere") == base.fingerprint


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pixels": np.zeros((8, 48, 48))}, "uint8"),
        ({"labels": np.zeros(7, np.int64)}, "8 labels"),
        ({"labels": np.full(8, 7)}, "labels below 7"),
        ({"splits": np.full(8, 3, np.uint8)}, "splits below 3"),
        ({"votes": Votes(np.zeros((7, 10)))}, "votes on 8 faces, but got them on 7"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(changes: dict[str, object], message: str) -> None:
    base = small()
    parts = {
        name: getattr(base, name) for name in ("pixels", "labels", "splits", "class_names", "votes", "source")
    }
    with pytest.raises(ValueError, match=message):
        FaceDataset.create(**{**parts, **changes})  # type: ignore[arg-type]


def test_missing_file_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(FacelexError, match=r"There is no dataset at .*facelex data prepare SOURCE"):
        load_dataset(tmp_path / "faces.npz")


def test_source_in_place_of_a_dataset_says_to_prepare_it(tmp_path: Path) -> None:
    (tmp_path / "fer2013.csv").write_text("emotion,pixels,Usage\n")
    for source in (tmp_path, tmp_path / "fer2013.csv"):
        with pytest.raises(FacelexError, match=f"not a prepared dataset.*facelex data prepare {source}"):
            load_dataset(source)


@pytest.mark.parametrize("kept", [0, 1, 30, 5_000, -40, -1])
def test_file_cut_short_is_refused_in_one_sentence(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "faces.npz"
    small().save(path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(FacelexError, match=r"cut short|damaged"):
        load_dataset(path)


def test_file_with_flipped_bytes_is_said_to_be_damaged(tmp_path: Path) -> None:
    path = tmp_path / "faces.npz"
    small().save(path)
    data = bytearray(path.read_bytes())
    data[3_000:3_010] = bytes(byte ^ 255 for byte in data[3_000:3_010])
    path.write_bytes(bytes(data))
    with pytest.raises(FacelexError, match="damaged"):
        load_dataset(path)


def test_file_of_another_format_says_to_prepare_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "faces.npz"
    monkeypatch.setattr(module, "FORMAT", 9)
    small().save(path)
    monkeypatch.undo()
    with pytest.raises(FacelexError, match=r"another .*format 9, this one reads 1 and 2.*prepare it again"):
        load_dataset(path)


def test_votes_on_other_names_make_another_fingerprint_and_a_file_that_older_versions_refuse(
    tmp_path: Path,
) -> None:
    base = small()
    assert base.votes is not None
    facts, counts = (base.pixels, base.labels, base.splits, EMOTIONS, "fake"), base.votes.counts
    given = [
        FaceDataset.create(*facts, Votes(counts, tuple(names))) for names in ("abcdefghij", "jihgfedcba")
    ]
    assert len({base.fingerprint, *(one.fingerprint for one in given)}) == 3
    for dataset, number in ((base, 1), (given[0], 2)):
        dataset.save(tmp_path / "faces.npz")
        assert np.load(tmp_path / "faces.npz")["facelex_dataset"] == number
        after = FaceDataset.load(tmp_path / "faces.npz")
        assert after.votes is not None
        assert dataset.votes is not None
        assert after.votes.names == dataset.votes.names


def test_npz_of_somebody_else_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", pixels=faces(2))
    with pytest.raises(FacelexError, match="not a dataset written by facelex"):
        load_dataset(tmp_path / "other.npz")
    np.save(tmp_path / "other.npy", faces(2))
    (tmp_path / "other.npy").rename(tmp_path / "other.npz")
    with pytest.raises(FacelexError, match="not a dataset written by facelex"):
        load_dataset(tmp_path / "other.npz")


def test_pickle_is_never_loaded(tmp_path: Path) -> None:
    np.savez(tmp_path / "evil.npz", facelex_dataset=1, pixels=np.array([{"a": 1}], object))
    with pytest.raises(FacelexError, match="damaged"):
        load_dataset(tmp_path / "evil.npz")


def test_full_disk_gives_one_sentence_and_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "faces.npz"
    small().save(path, signature="old")
    code = textwrap.dedent(f"""
        import resource, signal
        from facelex.data import load_dataset
        from facelex.errors import FacelexError
        dataset = load_dataset("sketch:40")
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))  # writing more fails, as on a full disk
        try:
            dataset.save({str(path)!r})
        except FacelexError as error:
            print(error)
    """)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"The disk is full: {path} could not be written")
    assert read_signature(path) == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["faces.npz"]


def test_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FacelexError, match="Could not write"):
        small().save(tmp_path / "file" / "faces.npz")


def test_dataset_can_be_changed_by_replace_without_new_groups() -> None:
    dataset = replace(small(), source="renamed")
    assert dataset.source == "renamed"
    assert "4 train, 1 val, 3 test; 7 classes; renamed" in repr(dataset)


@pytest.mark.parametrize("name", ["sketch:0", "sketch:many", "sketch:-3", "sketch:１"])
def test_sketch_name_without_a_proper_count_is_refused(name: str) -> None:
    with pytest.raises(FacelexError, match="sketch:COUNT"):
        load_dataset(name)


def test_data_side_imports_without_torch() -> None:
    code = "import sys; import facelex.data as d; d.load_dataset('sketch:3'); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_attributes_are_text_whatever_they_were_and_survive_the_file(tmp_path: Path) -> None:
    dataset = load_dataset("sketch:14")
    columns = {"Age": np.arange(14) / 2, "kind": np.array(["a", None] * 7, object)}
    dataset = replace(dataset, attributes=columns)
    assert dataset.attributes["age"].tolist()[:3] == ["0.0", "0.5", "1.0"]
    assert dataset.attributes["kind"].tolist()[:2] == ["a", ""]
    dataset.save(tmp_path / "d.npz")
    held = FaceDataset.load(tmp_path / "d.npz")
    assert {name: values.tolist() for name, values in held.attributes.items()} == {
        name: values.tolist() for name, values in dataset.attributes.items()
    }
    with pytest.raises(ValueError, match="14 values of age"):
        replace(dataset, attributes={"age": ["3"]})


@pytest.mark.parametrize(
    "changes",
    [
        {"votes": np.full((8, 10), "2")},
        {"votes": np.full((8, 10), np.datetime64("2024-01-01"))},
        {"votes": np.full((8, 10), 1j)},
        {"votes": np.zeros((7, 10))},
        {"votes": np.zeros((8, 10)), "vote_names": np.array(3)},
        {"class_names": np.array(3)},
        {"groups": np.zeros(7, np.int64)},
    ],
)
def test_a_file_whose_arrays_cannot_be_is_told_as_damaged(
    tmp_path: Path, changes: dict[str, np.ndarray]
) -> None:
    path = tmp_path / "damaged.npz"
    small().save(path)
    np.savez(path, **{**np.load(path), **changes})
    with pytest.raises(FacelexError, match=r"damaged\.npz is cut short, damaged or not a dataset"):
        FaceDataset.load(path)
