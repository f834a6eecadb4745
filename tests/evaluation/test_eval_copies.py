import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from evaluation_fakes import make_faces, make_predictions, make_run_folder

from facelex.cli.main import main
from facelex.data.dataset import SPLITS, FaceDataset
from facelex.data.fer2013 import ROWS
from facelex.emotions import EMOTIONS
from facelex.errors import FacelexError
from facelex.evaluation.comparison import compare_predictions
from facelex.evaluation.copies import seen_in_training
from facelex.evaluation.evaluate import evaluate
from facelex.evaluation.networks import Network
from facelex.evaluation.predictions import Predictions

pytestmark = pytest.mark.usefixtures("torch_side")

Made = tuple[FaceDataset, Path]
Maker = Callable[..., Path]


@pytest.fixture
def other(faces: Made, tmp_path: Path) -> Path:
    """Another dataset: 14 test faces, of which the first 4 are training faces of ``faces``."""
    fresh, mine = make_faces(14, seed=8), faces[0]
    pixels, labels = fresh.pixels.copy(), fresh.labels.copy()
    rows = mine.indices("train")[:4]
    pixels[:4], labels[:4] = mine.pixels[rows], mine.labels[rows]
    splits = np.full(14, 2, np.uint8)
    FaceDataset.create(pixels, labels, splits, EMOTIONS, "others").save(tmp_path / "other.npz")
    return tmp_path / "other.npz"


def counts(scores: dict[str, dict[str, dict[str, dict[str, int]]]]) -> dict[str, int]:
    return {name: part["count"] for name, part in scores["views"]["flip"].items()}


def test_copies_of_the_runs_own_training_faces_are_left_out_on_other_data(
    make_run: Maker, other: Path
) -> None:
    found = evaluate(make_run(), data=other, other_data=True)
    assert counts(found.scores) == {"official": 14, "deduplicated": 10}
    assert found.predictions.seen.tolist() == [True] * 4 + [False] * 10
    assert not any("deduplicated" in note for note in found.notes)


@pytest.mark.parametrize("change", ["gone", "another", "unnamed"])
def test_without_the_training_faces_there_are_no_deduplicated_scores(
    make_run: Maker,
    faces: Made,
    other: Path,
    tmp_path: Path,
    change: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = make_run()
    if change == "gone":
        faces[1].unlink()
    elif change == "another":
        make_faces(seed=9).save(faces[1])
    else:
        (run / "config.yaml").unlink()
    argv = ["evaluate", str(run), "--data", str(other), "--other-data"]
    assert main([*argv, "--format", "json"]) == 0
    out, err = capsys.readouterr()
    assert counts(json.loads(out)) == {"official": 14}
    assert "copies of pictures that fake-run was trained on is not known" in err
    assert main([*argv, "-o", str(tmp_path / "p.npz")]) == 0
    assert "deduplicated" not in capsys.readouterr().out
    held = Predictions.load(tmp_path / "p.npz")
    assert held.seen is None
    with pytest.raises(FacelexError, match="Expected to know which examples fake-run was trained on"):
        compare_predictions(held, held, deduplicated=True)


def test_training_faces_of_another_size_say_nothing_about_copies(make_run: Maker, tmp_path: Path) -> None:
    large = make_faces(21)
    pixels = large.pixels.repeat(2, axis=1).repeat(2, axis=2)
    FaceDataset.create(pixels, large.labels, large.splits, EMOTIONS, "large").save(tmp_path / "large.npz")
    assert counts(evaluate(make_run(), data=tmp_path / "large.npz", other_data=True).scores).keys() == {
        "official"
    }


def altered(dataset: FaceDataset, split: str, copies: int = 0) -> FaceDataset:
    """A split with other pixels, as after JPEG, and before it as train what its first ``copies`` show."""
    rows = dataset.indices(split)
    rows = np.concatenate([rows[:copies], rows])
    splits = np.full(len(rows), SPLITS.index(split), np.uint8)
    splits[:copies] = 0
    return FaceDataset.create(dataset.pixels[rows] + 3, dataset.labels[rows], splits, EMOTIONS, "altered")


def test_copies_in_the_training_split_of_other_data_are_left_out_as_well(
    make_run: Maker, faces: Made, tmp_path: Path
) -> None:
    altered(faces[0], "test", copies=4).save(tmp_path / "altered.npz")
    count = len(faces[0].indices("test"))
    for split, kept in (("test", count - 4), ("train", 4)):
        found = evaluate(make_run(split), split, data=tmp_path / "altered.npz", other_data=True)
        assert counts(found.scores)["deduplicated"] == kept


def test_copies_cannot_be_told_by_pixels_that_were_encoded_anew(
    make_run: Maker, faces: Made, tmp_path: Path
) -> None:
    altered(faces[0], "test").save(tmp_path / "altered.npz")
    found = evaluate(make_run(), data=tmp_path / "altered.npz", other_data=True)
    assert counts(found.scores).keys() == {"official"}
    assert any("there are no deduplicated scores" in note for note in found.notes)


def test_an_ensemble_is_scored_without_what_any_member_has_seen(
    make_run: Maker, other: Path, tmp_path: Path
) -> None:
    elsewhere = make_faces(seed=9)
    elsewhere.save(tmp_path / "elsewhere.npz")
    foreign = make_run_folder(tmp_path / "foreign", elsewhere, tmp_path / "elsewhere.npz")
    found = evaluate([foreign, make_run()], data=other, other_data=True)
    assert counts(found.scores) == {"official": 14, "deduplicated": 10}
    assert [bool(one.seen.any()) for one in found.members] == [False, True]
    (tmp_path / "elsewhere.npz").unlink()
    found = evaluate([foreign, make_run("again")], data=other, other_data=True)
    assert counts(found.scores) == {"official": 14}
    assert all(set(one["views"]["flip"]) == {"official"} for one in found.scores["members"])
    assert any("that foreign was trained on" in note for note in found.notes)


def network(fingerprint: str, source: str = "") -> Network:
    return Network("n", "n.onnx", EMOTIONS, 16, lambda: None, fingerprint=fingerprint, dataset=source)  # type: ignore[arg-type, return-value]


def test_a_file_that_names_the_dataset_is_compared_with_its_training_split(faces: Made) -> None:
    dataset = faces[0]
    expected = dataset.seen_in("test")
    for fingerprint in (dataset.fingerprint, ""):
        np.testing.assert_array_equal(seen_in_training(network(fingerprint), dataset, "test"), expected)
        assert not seen_in_training(network(fingerprint), dataset, "train").any()  # type: ignore[union-attr]


def test_a_file_about_other_data_knows_no_copies(other: Path, faces: Made) -> None:
    assert seen_in_training(network("f" * 64), faces[0], "test") is None
    assert seen_in_training(network(""), FaceDataset.load(other), "test") is None


def test_a_files_training_faces_are_looked_for_where_fer2013_lies(
    faces: Made, other: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    faces[0].save(tmp_path / "data" / "fer2013.npz")
    seen = seen_in_training(network(faces[0].fingerprint), FaceDataset.load(other), "test")
    assert seen is not None
    assert seen.tolist() == [True] * 4 + [False] * 10


def test_fer2013_without_votes_holds_the_pictures_of_fer2013_with_votes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    splits = np.repeat(np.arange(3, dtype=np.uint8), list(ROWS.values()))
    pixels = np.arange(len(splits), dtype="<u4").view(np.uint8).reshape(-1, 2, 2)
    pixels[-1] = pixels[0]
    labels = np.zeros(len(splits), np.int64)
    dataset = FaceDataset.create(pixels, labels, splits, EMOTIONS, "FER2013 from fer2013.csv")
    voted = network("f" * 64, "FER2013 from fer2013.csv, FER+ from fer2013new.csv")
    seen = seen_in_training(voted, dataset, "test")
    assert seen is not None
    assert seen.sum() == seen[-1] == 1
    assert seen_in_training(replace(voted, dataset="photos"), dataset, "test") is None


def test_predictions_without_knowledge_of_copies_are_compared_as_they_are() -> None:
    preds = make_predictions(40, seen=None)
    assert compare_predictions(preds, preds).count == 40
