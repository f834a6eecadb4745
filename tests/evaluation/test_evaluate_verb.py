import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from evaluation_fakes import make_faces
from PIL import Image

from facelex.cli.main import main
from facelex.data.dataset import FaceDataset
from facelex.evaluation import evaluate as evaluate_module
from facelex.evaluation.evaluate import evaluate
from facelex.evaluation.predictions import Predictions
from facelex.recognize import model

Made = tuple[FaceDataset, Path]
Maker = Callable[..., Path]
Captured = pytest.CaptureFixture[str]


pytestmark = pytest.mark.usefixtures("torch_side")


def error_of(capsys: Captured, *argv: object) -> str:
    assert main([str(arg) for arg in argv]) == 2
    return " ".join(capsys.readouterr().err.split())


def test_a_run_is_scored_on_its_own_dataset_and_keeps_the_result(
    make_run: Maker, faces: Made, capsys: Captured
) -> None:
    run = make_run()
    assert main(["evaluate", str(run), "--format", "json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["views"]["single"]["official"]["accuracy"]["value"] == 1.0
    assert printed["views"]["flip"]["official"]["count"] == len(faces[0].indices("test"))
    assert json.loads((run / "scores.json").read_text()) == {"test": printed}
    stored = Predictions.load(run / "predictions-test.npz")
    assert (stored.model, stored.split, stored.fingerprint) == ("fake-run", "test", faces[0].fingerprint)
    np.testing.assert_array_equal(stored.labels, faces[0].labels[faces[0].indices("test")])


def test_single_view_and_mirror_image_are_asked_for_separately(make_run: Maker) -> None:
    preds = evaluate(make_run()).predictions
    assert preds.mirror_probs is not None
    assert (preds.probs.argmax(axis=1) == preds.labels).all()
    assert not (
        preds.mirror_probs.argmax(axis=1) == preds.labels
    ).all()  # the bright half is on the right now


def test_test_scores_are_calibrated_on_val(make_run: Maker) -> None:
    scores = evaluate(make_run()).scores
    assert scores["views"]["single"]["official"]["calibrated"]["temperature"] != 1


def test_several_splits_share_one_scores_file(make_run: Maker) -> None:
    run = make_run()
    for split in ("val", "test", "train"):
        assert main(["evaluate", str(run), "--split", split, "--no-flip", "--format", "json"]) == 0
    scores = json.loads((run / "scores.json").read_text())
    assert set(scores) == {"val", "test", "train"}
    assert list(scores["test"]["views"]) == ["single"]
    assert (
        scores["train"]["views"]["single"]["official"] == scores["train"]["views"]["single"]["deduplicated"]
    )


def test_the_table_is_printed_by_default(make_run: Maker, capsys: Captured) -> None:
    assert main(["evaluate", str(make_run())]) == 0
    out, err = capsys.readouterr()
    assert "balanced accuracy" in out
    assert "100.00 [94.87, 100.00]" in out  # of 70 faces
    assert "scores.json" in err


def test_a_run_folder_from_another_dataset_is_refused_unless_asked_for(
    make_run: Maker, tmp_path: Path, capsys: Captured
) -> None:
    run = make_run()
    make_faces(seed=5).save(tmp_path / "other.npz")
    sentence = error_of(capsys, "evaluate", run, "--data", tmp_path / "other.npz")
    assert "run folder from another dataset" in sentence
    assert "--other-data" in sentence
    before = sorted(run.iterdir())
    assert main(["evaluate", str(run), "--data", str(tmp_path / "other.npz"), "--other-data"]) == 0
    assert sorted(run.iterdir()) == before  # the run's own scores are not overwritten
    assert "nothing was written" in capsys.readouterr().err


def test_an_onnx_file_is_scored_and_its_calibration_too(
    onnx_file: Path, faces: Made, tmp_path: Path, capsys: Captured
) -> None:
    out = tmp_path / "out" / "scores.json"
    assert (
        main(["evaluate", str(onnx_file), "--data", str(faces[1]), "--format", "json", "-o", str(out)]) == 0
    )
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads(out.read_text())
    assert printed["model"] == "nearest"
    entry = printed["views"]["single"]["official"]
    assert entry["accuracy"]["value"] == 1.0
    assert entry["calibrated"]["temperature"] == 2.0


def test_an_onnx_file_answers_with_the_softmax_of_its_logits(
    onnx_file: Path, faces: Made, tmp_path: Path
) -> None:
    dataset = faces[0]
    preds = evaluate(onnx_file, data=faces[1]).predictions
    left = dataset.pixels[dataset.indices("test")][:, :, :8].mean(axis=(1, 2)) / 255
    logits = -500 * (left[:, None] - (np.arange(7) * 30 + 9.5) / 255) ** 2
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(preds.probs, expected, rtol=1e-3, atol=1e-5)
    mirrored = FaceDataset.create(
        dataset.pixels[:, :, ::-1].copy(), dataset.labels, dataset.splits, dataset.class_names, "mirrored"
    )
    mirrored.save(tmp_path / "mirrored.npz")
    assert preds.mirror_probs is not None
    np.testing.assert_array_equal(
        preds.mirror_probs, evaluate(onnx_file, data=tmp_path / "mirrored.npz").predictions.probs
    )


def test_faces_of_another_size_are_scaled_for_the_model(onnx_file: Path, tmp_path: Path) -> None:
    small = make_faces()
    large = FaceDataset.create(
        small.pixels.repeat(3, axis=1).repeat(3, axis=2),
        small.labels,
        small.splits,
        small.class_names,
        "larger",
    )
    large.save(tmp_path / "large.npz")
    scores = evaluate(onnx_file, data=tmp_path / "large.npz").scores
    assert scores["views"]["single"]["official"]["accuracy"]["value"] == 1.0


def test_a_folder_with_its_own_names_is_scored_through_a_mapping(
    onnx_file: Path, tmp_path: Path, capsys: Captured
) -> None:
    names = {"Joy": 3, "smirk": 6, "contempt": 0}
    for name, brightness in names.items():
        (tmp_path / "photos" / name).mkdir(parents=True)
        for k in range(4):
            face = np.full((16, 16), k, np.uint8)
            face[:, :8] = brightness * 30 + 9
            Image.fromarray(face).save(tmp_path / "photos" / name / f"{k}.png")
    sentence = error_of(capsys, "evaluate", onnx_file, "--data", tmp_path / "photos")
    assert "no class for 'contempt', 'smirk'" in sentence
    argv = ["evaluate", str(onnx_file), "--data", str(tmp_path / "photos"), "--format", "json"]
    assert main([*argv, "--map", "smirk=neutral,contempt=ignore"]) == 0
    entry = json.loads(capsys.readouterr().out)["views"]["single"]["official"]
    assert (entry["count"], entry["accuracy"]["value"]) == (8, 1.0)
    assert entry["per_class"]["neutral"]["support"] == 4


def test_classes_of_the_data_that_are_taken_for_one_are_told(onnx_file: Path, tmp_path: Path) -> None:
    for name in ("calm", "neutral", "smirk"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        Image.fromarray(np.full((16, 16), 9, np.uint8)).save(tmp_path / "photos" / name / "1.png")
    mapping = {"smirk": "neutral"}
    notes = evaluate(onnx_file, data=tmp_path / "photos", mapping=mapping).notes
    assert "Several names are taken for neutral: calm, neutral." in notes
    mapping["calm"] = "neutral"  # as asked for
    notes = evaluate(onnx_file, data=tmp_path / "photos", mapping=mapping).notes
    assert not any("taken for" in note for note in notes)


def test_a_mapping_that_leaves_no_validation_face_leaves_the_calibration_out(
    make_run: Maker, faces: Made
) -> None:
    run, dataset = make_run(), faces[0]
    splits, happy = dataset.splits.copy(), dataset.labels == 3
    splits[(splits == 1) & ~happy] = 2  # only happy faces in val
    FaceDataset.create(dataset.pixels, dataset.labels, splits, dataset.class_names, "x").save(faces[1])
    (run / "environment.json").unlink()
    entry = evaluate(run, mapping={"happy": "ignore"}).scores["views"]["flip"]["official"]
    assert entry["count"] == int(((splits == 2) & ~happy).sum())
    assert "calibrated" not in entry


def test_copies_in_train_are_left_out_of_the_deduplicated_score(onnx_file: Path, tmp_path: Path) -> None:
    dataset = make_faces(63)
    pixels, test, train = dataset.pixels.copy(), dataset.indices("test"), dataset.indices("train")
    pixels[test[:5]] = pixels[train[:5]]
    FaceDataset.create(pixels, dataset.labels, dataset.splits, dataset.class_names, "x").save(
        tmp_path / "d.npz"
    )
    entry = evaluate(onnx_file, data=tmp_path / "d.npz").scores["views"]["single"]
    assert entry["official"]["count"] - entry["deduplicated"]["count"] == 5


def test_predictions_can_be_written_instead_of_scores(onnx_file: Path, faces: Made, tmp_path: Path) -> None:
    assert main(["evaluate", str(onnx_file), "--data", str(faces[1]), "-o", str(tmp_path / "p.npz")]) == 0
    assert Predictions.load(tmp_path / "p.npz").temperature == 2.0


def test_bad_arguments_are_one_sentence_each(
    make_run: Maker,
    onnx_file: Path,
    faces: Made,
    tmp_path: Path,
    capsys: Captured,
) -> None:
    data = ("--data", faces[1])
    missing = error_of(capsys, "evaluate", tmp_path / "runs")
    assert "hf:owner/name or the word shipped or small or tiny" in missing
    assert "there is no such file or folder" in missing
    (tmp_path / "empty").mkdir()
    assert "holds neither metrics.csv nor config.yaml" in error_of(capsys, "evaluate", tmp_path / "empty")
    (tmp_path / "notes.txt").write_text("x")
    assert "it is none of them" in error_of(capsys, "evaluate", tmp_path / "notes.txt")
    (tmp_path / "bad.onnx").write_bytes(b"not a model")
    assert "ONNX" in error_of(capsys, "evaluate", tmp_path / "bad.onnx", *data)
    assert ".json (scores) or .npz" in error_of(
        capsys, "evaluate", onnx_file, *data, "-o", tmp_path / "s.txt"
    )
    assert "name=class pairs" in error_of(capsys, "evaluate", onnx_file, *data, "--map", "joy")
    assert "half holds no finished run" in error_of(capsys, "evaluate", make_run("half", finished=False))


@pytest.mark.parametrize("content", ["seed: 3\nmethods: [align,\nmodel: {", "\x00\x01", "seed", ""])
def test_a_damaged_configuration_is_one_clear_sentence(
    make_run: Maker, capsys: Captured, content: str
) -> None:
    run = make_run()
    (run / "config.yaml").write_text(content)
    said = error_of(capsys, "evaluate", run)
    assert f"{run / 'config.yaml'} is damaged: it " in said
    assert "^" not in said


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES, errno.ENOSPC])
def test_a_run_folder_that_cannot_be_written_is_scored_and_said_not_to_be_kept(
    make_run: Maker, monkeypatch: pytest.MonkeyPatch, capsys: Captured, code: int
) -> None:
    run = make_run()
    before = sorted(run.iterdir())

    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(Path, "replace", refuse)
    assert main(["evaluate", str(run), "--format", "json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["views"]["single"]["official"]["accuracy"]["value"] == 1.0
    assert err.count("Not kept in the run folder: ") == 3
    for name in ("predictions-val.npz", "predictions-test.npz", "scores.json"):
        assert str(run / name) in err
    assert "Written" not in err
    assert sorted(run.iterdir()) == before


def test_scores_are_shown_before_a_place_of_ones_own_refuses_them(
    make_run: Maker, tmp_path: Path, capsys: Captured
) -> None:
    (tmp_path / "file").write_text("")
    argv = ["evaluate", str(make_run()), "--format", "json", "-o", str(tmp_path / "file" / "scores.json")]
    assert main(argv) == 2
    out, err = capsys.readouterr()
    assert json.loads(out)["views"]["single"]["official"]["accuracy"]["value"] == 1.0
    assert "Could not write" in err


def test_a_negative_seed_is_refused_before_anything_is_asked(
    make_run: Maker, capsys: Captured, torch_side: list[Path]
) -> None:
    run = make_run()
    assert "Expected a seed of 0 or more, but got -1" in error_of(capsys, "evaluate", run, "--seed=-1")
    assert torch_side == []


def test_an_empty_split_is_refused(onnx_file: Path, tmp_path: Path, capsys: Captured) -> None:
    dataset = make_faces(14)
    splits = np.zeros(14, np.uint8)
    FaceDataset.create(dataset.pixels, dataset.labels, splits, dataset.class_names, "x").save(
        tmp_path / "d.npz"
    )
    sentence = error_of(capsys, "evaluate", onnx_file, "--data", tmp_path / "d.npz")
    assert "nothing to score in the split 'test' (x has 14 train, 0 val, 0 test)" in sentence


def test_a_run_without_torch_names_the_extra(
    make_run: Maker, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)  # importing it fails
    assert "pip install 'facelex[train]'" in error_of(capsys, "evaluate", make_run())


def test_scoring_an_onnx_file_needs_neither_torch_nor_matplotlib(onnx_file: Path, faces: Made) -> None:
    code = (
        "import sys\n"
        "for name in ('torch', 'matplotlib', 'yaml', 'scipy', 'sklearn'): sys.modules[name] = None\n"
        "from facelex.cli.main import main\n"
        f"sys.exit(main(['evaluate', {str(onnx_file)!r}, '--data', {str(faces[1])!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "accuracy" in done.stdout


def test_output_never_replaces_the_record_of_the_run(make_run: Maker, capsys: Captured) -> None:
    run = make_run()
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    for name in ("scores.json", "model.json", "predictions-test.npz"):
        assert "the run's own record" in error_of(capsys, "evaluate", run, "-o", run / name)
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before


def test_threads_are_those_of_pytorch_for_a_run_and_of_the_session_for_a_file(
    make_run: Maker, onnx_file: Path, faces: Made, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    asked: list[tuple[str, int | None]] = []
    options = model.session_options

    def session_options(threads: int | None) -> object:
        asked.append(("session", threads))
        return options(threads)

    monkeypatch.setattr(model, "session_options", session_options)
    monkeypatch.setattr("facelex.cli.evaluate.set_torch_threads", lambda n: asked.append(("torch", n)))
    assert main(["evaluate", str(make_run()), "--threads", "2"]) == 0
    assert main(["evaluate", str(onnx_file), "--data", str(faces[1]), "--threads", "1"]) == 0
    assert asked == [("torch", 2), ("session", 1)]
    capsys.readouterr()
    refused = error_of(capsys, "evaluate", onnx_file, "--data", faces[1], "--threads", "0")
    assert "Expected threads to be 1 or more" in refused


def test_pictures_of_a_folder_are_read_as_large_as_those_the_network_has_learned_from(
    make_run: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network of 40 pixels that has learned from 48 scales both alike, with its own filter."""
    run, photos = make_run(), tmp_path / "photos" / "happy"
    photos.mkdir(parents=True)
    Image.new("L", (64, 64), 99).save(photos / "1.png")
    read, sizes = evaluate_module.load_labelled, []

    def recorded(place: str, size: int, *others: object, **named: object) -> object:
        sizes.append(size)
        return read(place, size, *others, **named)

    monkeypatch.setattr(evaluate_module, "load_labelled", recorded)
    evaluate(run, data=photos.parent, other_data=True)
    environment = json.loads((run / "environment.json").read_text())
    environment["dataset"]["size"] = 24
    (run / "environment.json").write_text(json.dumps(environment))
    evaluate(run, data=photos.parent, other_data=True)
    assert sizes == [16, 24]
