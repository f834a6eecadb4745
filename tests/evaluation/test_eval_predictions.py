from pathlib import Path

import numpy as np
import pytest
from evaluation_fakes import make_crop_probs, make_predictions

from facelex.data.votes import Votes
from facelex.errors import FacelexError
from facelex.evaluation.calibration import apply_temperature
from facelex.evaluation.predictions import Predictions


def test_what_is_saved_is_what_is_loaded(tmp_path: Path) -> None:
    preds = make_predictions(
        20, temperature=1.7, crop_probs=make_crop_probs(20), window=0.75, weights="w" * 64, members=("a", "b")
    )
    back = Predictions.load(preds.save(tmp_path / "deep" / "predictions-test.npz"))
    for name in ("probs", "mirror_probs", "crop_probs", "labels", "seen"):
        ours, theirs = getattr(preds, name), getattr(back, name)
        np.testing.assert_array_equal(ours, theirs)
        assert ours.dtype == theirs.dtype
    for name in (
        "classes", "model", "split", "fingerprint", "temperature", "window", "weights", "members",
    ):  # fmt: skip
        assert getattr(preds, name) == getattr(back, name)
    assert preds.votes is not None
    assert back.votes is not None
    np.testing.assert_array_equal(preds.votes.counts, back.votes.counts)
    assert preds.votes.names == back.votes.names
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["predictions-test.npz"]


def test_votes_on_other_names_are_saved_with_them(tmp_path: Path) -> None:
    preds = make_predictions(3, votes=Votes(np.array([[0.5, 0.25], [1, 0], [0, 0]]), ("happy", "sad")))
    back = Predictions.load(preds.save(tmp_path / "p.npz"))
    assert back.votes is not None
    assert back.votes.names == ("happy", "sad")
    assert back.votes.counts.tolist() == [[0.5, 0.25], [1, 0], [0, 0]]
    np.savez(tmp_path / "q.npz", **{**np.load(tmp_path / "p.npz"), "vote_names": np.array(["happy"])})
    with pytest.raises(FacelexError, match=r"q\.npz: expected votes of shape \(N, 1\), but got \(3, 2\)"):
        Predictions.load(tmp_path / "q.npz")


def test_a_file_with_the_documented_arrays_only_can_be_read(tmp_path: Path) -> None:
    preds = make_predictions(5)
    file = tmp_path / "p.npz"
    np.savez(file, probs=preds.probs, labels=preds.labels, seen=preds.seen, classes=np.array(preds.classes))
    back = Predictions.load(file)
    assert (back.votes, back.mirror_probs, back.crop_probs, back.views) == (None, None, None, ("single",))
    assert (back.weights, back.members) == ("", ())


def test_unknown_copies_stay_unknown_on_disk_and_in_files_of_earlier_versions(tmp_path: Path) -> None:
    preds = make_predictions(5, seen=None)
    with np.load(preds.save(tmp_path / "p.npz")) as arrays:
        assert "seen" not in arrays
        earlier = dict(arrays) | {"seen": np.zeros(5, bool), "seen_known": np.array(False)}
    np.savez(tmp_path / "earlier.npz", **earlier)
    for name in ("p.npz", "earlier.npz"):
        back = Predictions.load(tmp_path / name)
        assert back.seen is None
        assert back.subset(np.arange(2)).seen is None
        with pytest.raises(FacelexError, match="Expected to know which examples fake was trained on"):
            back.deduplicated()


def test_views_average_the_picture_and_its_mirror_image() -> None:
    preds = make_predictions(10)
    assert preds.mirror_probs is not None
    np.testing.assert_allclose(preds.view_probs("flip"), (preds.probs + preds.mirror_probs) / 2, rtol=1e-6)
    np.testing.assert_array_equal(preds.view_probs("single"), preds.probs)
    both = [apply_temperature(p, 2.0) for p in (preds.probs, preds.mirror_probs)]
    np.testing.assert_allclose(preds.view_probs("flip", 2.0), np.mean(both, axis=0), rtol=1e-5)


def test_the_ten_crop_view_averages_ten_windows_each_calibrated_before() -> None:
    crops = make_crop_probs(10).astype(np.float32)
    preds = make_predictions(10, crop_probs=crops)
    assert preds.views == ("single", "flip", "ten_crop")
    np.testing.assert_allclose(preds.view_probs("ten_crop"), crops.sum(axis=0) / 10, rtol=1e-5)
    calibrated = [apply_temperature(p, 2.0) for p in crops]
    np.testing.assert_allclose(preds.view_probs("ten_crop", 2.0), np.mean(calibrated, axis=0), rtol=1e-5)
    assert preds.log_views("ten_crop").shape == (10, 10, 7)


def test_looks_can_be_left_out() -> None:
    preds = make_predictions(10, crop_probs=make_crop_probs(10))
    assert preds.only(["flip", "ten_crop"]).views == ("single", "flip", "ten_crop")
    assert preds.only(["ten_crop"]).views == ("single", "ten_crop")
    assert preds.only(["single", "flip"]).views == ("single", "flip")


def test_the_flip_view_needs_the_mirror_image() -> None:
    with pytest.raises(FacelexError, match="among single, but got 'flip'"):
        make_predictions(3, mirror_probs=None).view_probs("flip")


def test_deduplication_leaves_out_exactly_the_seen_examples() -> None:
    preds = make_predictions(50, crop_probs=make_crop_probs(50))
    kept = preds.deduplicated()
    assert len(kept) == int((~preds.seen).sum()) < 50
    assert not kept.seen.any()
    np.testing.assert_array_equal(kept.probs, preds.probs[~preds.seen])
    assert preds.crop_probs is not None
    assert kept.crop_probs is not None
    np.testing.assert_array_equal(kept.crop_probs, preds.crop_probs[:, ~preds.seen])
    assert kept.votes is not None
    assert len(kept.votes) == len(kept)


def test_no_example_is_allowed() -> None:
    assert len(make_predictions(10).subset(np.zeros(10, bool))) == 0


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"probs": np.ones((4, 6)) / 6}, r"probs of shape \(4, 7\), but got \(4, 6\)"),
        ({"probs": np.random.default_rng(0).random((4, 7)) * 9}, "pass probabilities, not logits"),
        ({"probs": np.full((4, 7), np.nan)}, "finite, non-negative probs"),
        ({"mirror_probs": -np.ones((4, 7))}, "finite, non-negative mirror_probs"),
        ({"crop_probs": np.ones((9, 4, 7)) / 7}, r"crop_probs of shape \(10, 4, 7\), but got \(9, 4, 7\)"),
        ({"labels": np.array([0, 1, 2, 7])}, r"labels in 0\.\.6, but got 0\.\.7"),
        ({"seen": np.zeros(3, bool)}, r"seen of shape \(4,\), but got \(3,\)"),
        ({"votes": Votes(np.zeros((3, 10)))}, "votes on 4 examples, but got them on 3"),
        ({"classes": ("a", "b", "c", "d", "e", "f", "a")}, "each class once, but got a, b, c, d, e, f, a"),
        ({"temperature": 0.0}, r"positive temperature, but got 0\.0"),
    ],
)
def test_what_does_not_hold_together_is_refused(changes: dict, sentence: str) -> None:
    with pytest.raises(FacelexError, match=sentence):
        make_predictions(4, **changes)


def test_all_faults_are_named_together() -> None:
    with pytest.raises(FacelexError, match=r"seen of shape .*; expected votes on 4"):
        make_predictions(4, seen=np.zeros(3, bool), votes=Votes(np.zeros((8, 10))))


def test_missing_damaged_and_foreign_files_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(FacelexError, match="no such file"):
        Predictions.load(tmp_path / "none.npz")
    whole = make_predictions(30).save(tmp_path / "p.npz").read_bytes()
    cut = tmp_path / "cut.npz"
    cut.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FacelexError, match="cannot be read"):
        Predictions.load(cut)
    np.savez(tmp_path / "other.npz", probs=np.ones((1, 1)))
    with pytest.raises(FacelexError, match=r"arrays labels, classes in .*other\.npz"):
        Predictions.load(tmp_path / "other.npz")
    np.savez(tmp_path / "pickle.npz", probs=np.array([object()]), labels=0, seen=0, classes=0)
    with pytest.raises(FacelexError, match="cannot be read"):
        Predictions.load(tmp_path / "pickle.npz")
    np.save(tmp_path / "array.npz", np.zeros(3))
    (tmp_path / "array.npz.npy").rename(tmp_path / "array.npz")
    with pytest.raises(FacelexError, match="cannot be read"):
        Predictions.load(tmp_path / "array.npz")


def test_a_failed_save_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_predictions(5).save(tmp_path / "p.npz")
    before = path.read_bytes()

    def full_disk(file: object, **arrays: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("facelex.evaluation.predictions.np.savez", full_disk)
    with pytest.raises(FacelexError, match="disk is full"):
        make_predictions(6).save(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "changes",
    [
        {"seen_known": np.array("no")},
        {"seen_known": np.array([True, False])},
        {"seen": np.full(20, "no")},
        {"votes": np.full((20, 10), "2")},
        {"votes": np.zeros((19, 10))},
    ],
)
def test_arrays_that_cannot_be_are_told(tmp_path: Path, changes: dict[str, np.ndarray]) -> None:
    path = make_predictions(20).save(tmp_path / "predictions-test.npz")
    np.savez(path, **{**np.load(path), **changes})
    with pytest.raises(
        FacelexError, match=rf"{path.name}: .*expected {'votes' if 'votes' in changes else 'seen'}"
    ):
        Predictions.load(path)
