import base64
import json
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from evaluation_fakes import make_faces, make_predictions, make_run_folder

from facelex.cli.main import main
from facelex.errors import FacelexError
from facelex.evaluation.comparison import compare_predictions
from facelex.evaluation.figures import LIGHT, draw_curves, figure_style
from facelex.evaluation.predictions import Predictions
from facelex.evaluation.report import compare_runs, unique_names, write_report
from facelex.evaluation.run_folder import Phase, RunFolder, load_run_folder, merge_scores, weights_digest
from facelex.evaluation.score_records import read_split_scores
from facelex.evaluation.score_tables import percent_interval
from facelex.evaluation.scores import score_predictions

pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")
PIL = pytest.importorskip("PIL.Image")


class Addresses(HTMLParser):
    """Collects every address a page refers to."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.found += [value or "" for name, value in attrs if name in ("src", "srcset", "href")]


def own(preds: Predictions, run: Path) -> Predictions:
    """Say that a run's present weights gave these answers about its own dataset."""
    return replace(preds, weights=weights_digest(run), fingerprint=load_run_folder(run).fingerprint)


def scored(run: Path, seed: int = 0, splits: tuple[str, ...] = ("test", "val")) -> Path:
    for split in splits:
        preds = make_predictions(200, seed=seed, split=split, model=run.name)
        if seed:  # another network on the same faces
            rng = np.random.default_rng(seed)
            same = make_predictions(200, split=split)
            preds = make_predictions(
                200, labels=same.labels, seen=same.seen, split=split, probs=rng.dirichlet(np.ones(7), 200)
            )
        own(preds, run).save(run / f"predictions-{split}.npz")
        merge_scores(run, split, score_predictions(preds, temperature=1.2, resamples=100))
    return run


def comparisons(*runs: Path) -> list[dict[str, str]]:
    """Compare runs that answered about 20 faces."""
    for run in runs:
        own(make_predictions(20), run).save(run / "predictions-test.npz")
    return compare_runs([load_run_folder(run) for run in runs], [run.name for run in runs])


def page_of(folder: Path) -> str:
    return (folder / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, scored on two splits, with its report."""
    folder = tmp_path_factory.mktemp("finished")
    run = scored(make_run_folder(folder / "fake-run", make_faces(), folder / "faces.npz"))
    assert main(["report", str(run)]) == 0
    return run


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Path], Path]:
    """Two runs scored on the same faces and one that has not finished, with their report."""
    folder = tmp_path_factory.mktemp("several")
    runs = [
        make_run_folder(folder / name, make_faces(), folder / "faces.npz") for name in ("first", "second")
    ]
    for seed, run in enumerate(runs):
        scored(run, seed, ("test",))
    runs.append(make_run_folder(folder / "waiting", make_faces(), folder / "faces.npz", finished=False))
    assert main(["report", *map(str, runs), "--output", str(folder / "page")]) == 0
    return runs, folder / "page"


def test_one_run_gives_a_page_and_every_figure(finished: Path) -> None:
    figures = {path.name for path in (finished / "report").glob("*.png")}
    assert figures == {
        "loss-align.png", "accuracy-align.png", "loss-classify.png", "accuracy-classify.png", "lr.png",
        "confusion-test-counts.png", "confusion-test-percent.png", "reliability-test.png",
        "confusion-val-counts.png", "confusion-val-percent.png", "reliability-val.png",
    }  # fmt: skip
    for path in (finished / "report").glob("*.png"):
        with PIL.open(path) as image:
            colors = image.convert("L").getcolors(100000)
            assert image.width > 600
            assert len(colors) > 10  # something is drawn


def test_the_page_refers_to_nothing_outside_itself(finished: Path) -> None:
    parser = Addresses()
    parser.feed(page_of(finished / "report"))
    assert len(parser.found) == 2 * 11  # each figure in light and dark
    assert all(address.startswith("data:image/svg+xml;base64,") for address in parser.found)
    assert not {"script", "link", "iframe"} & parser.tags
    for address in parser.found:
        svg = base64.b64decode(address.partition(",")[2]).decode()
        assert svg.rstrip().endswith("</svg>")
        assert all(inside.startswith(("#", "data:")) for inside in re.findall(r'href="([^"]*)', svg))


def test_the_page_holds_the_scores_the_settings_and_the_environment(finished: Path) -> None:
    page = page_of(finished / "report")
    scores = read_split_scores(load_run_folder(finished))
    for split in ("test", "val"):
        for view in ("single", "flip"):
            for _, part in scores[split].views[view].sets:
                assert percent_interval(part.accuracy) in page
    for text in ("vgg11", "image_encoder: vgg11", "versions.facelex", "1,234", "4 of 4 epochs", "disgust"):
        assert text in page
    assert "has not finished" not in page


def test_an_unfinished_run_is_shown_as_far_as_it_has_come(several: tuple[list[Path], Path]) -> None:
    page = page_of(several[1])
    assert page.count("This run has not finished: 3 of 4 epochs done") == 1
    assert "validation accuracy after the last epoch 45.00 %" in page
    assert (several[1] / "waiting" / "loss-classify.png").exists()


def test_a_finished_run_that_was_not_scored_says_how_to(make_run: Callable[..., Path]) -> None:
    run = make_run()
    (run / "metrics.csv").write_text("phase,epoch,lr\nx,1,0.1\n")
    assert main(["report", str(run)]) == 0
    assert f"facelex evaluate {run}" in page_of(run / "report")


def test_several_runs_are_compared_pair_by_pair_with_the_first(several: tuple[list[Path], Path]) -> None:
    page = page_of(several[1])
    a, b = (Predictions.load(run / "predictions-test.npz") for run in several[0][:2])
    expected = compare_predictions(a, b, "flip")
    assert "Compared with first" in page
    assert f"<td>{expected.only_a}</td>" in page
    assert f"{100 * expected.difference.value:+.2f}".replace("-", "−") in page
    assert (several[1] / "accuracy.png").exists()
    assert (several[1] / "second" / "lr.png").exists()


def test_networks_that_never_differ_are_compared_without_an_interval(make_run: Callable[..., Path]) -> None:
    (row,) = comparisons(make_run("first"), make_run("second"))
    assert (row["difference"], row["p_value"]) == ("+0.00", "1.0000")


def test_runs_of_different_datasets_are_told_apart(
    several: tuple[list[Path], Path], make_run: Callable[..., Path], tmp_path: Path
) -> None:
    assert "different datasets" not in page_of(several[1])
    assert '<th class="left">data</th>' not in page_of(several[1])
    elsewhere = make_faces(seed=9)
    foreign = scored(make_run_folder(tmp_path / "foreign", elsewhere, tmp_path / "x.npz"), splits=("test",))
    assert main(["report", str(scored(make_run("mine"))), str(foreign), "-o", str(tmp_path / "page")]) == 0
    page = page_of(tmp_path / "page")
    assert "These runs have different datasets: " in page
    assert page.count(f'<td class="left">{elsewhere.fingerprint[:12]}</td>') == 2  # one row a view
    assert "Not compared with mine: foreign (other faces or classes than mine)." in page


def test_runs_left_out_of_the_comparison_are_named(
    several: tuple[list[Path], Path], make_run: Callable[..., Path], tmp_path: Path
) -> None:
    note = "Not compared with first: waiting (no answers of its present weights)."
    assert page_of(several[1]).count(note) == 1
    runs = [str(make_run(name)) for name in ("a", "b")]
    assert main(["report", *runs, "-o", str(tmp_path / "page")]) == 0
    assert "Not compared over examples: a, b. It takes" in page_of(tmp_path / "page")
    assert main(["report", runs[0]]) == 0
    assert "Not compared" not in page_of(Path(runs[0]) / "report")


def test_words_are_named_for_runs_that_align_faces_with_them(make_run: Callable[..., Path]) -> None:
    run = make_run()
    assert main(["report", str(run)]) == 0
    assert "<span>words</span>glove" in page_of(run / "report")
    text = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(text.replace("{alignment: 1.0}", "{cross_entropy: 1.0}"))
    assert main(["report", str(run)]) == 0
    assert "<span>words</span>" not in page_of(run / "report")


def test_runs_on_other_faces_are_not_compared(make_run: Callable[..., Path]) -> None:
    first, second = make_run("first"), make_run("second")
    environment = json.loads((second / "environment.json").read_text())
    environment["dataset"]["fingerprint"] = "0" * 64
    (second / "environment.json").write_text(json.dumps(environment))
    assert comparisons(first, second) == []


@pytest.mark.parametrize("changes", [{"weights": ""}, {"weights": "0" * 64}, {"fingerprint": "0" * 64}])
def test_answers_that_are_not_those_of_the_present_weights_and_data_are_not_compared(
    make_run: Callable[..., Path], changes: dict[str, str]
) -> None:
    first, second = make_run("first"), make_run("second")
    assert len(comparisons(first, second)) == 1
    stale = replace(own(make_predictions(20), second), **changes)  # type: ignore[arg-type]
    stale.save(second / "predictions-test.npz")
    assert compare_runs([load_run_folder(run) for run in (first, second)], ["first", "second"]) == []


def test_runs_that_do_not_name_their_dataset_are_compared_by_what_they_answered(
    make_run: Callable[..., Path],
) -> None:
    runs = make_run("first"), make_run("second")
    found = comparisons(*runs)
    for run in runs:
        (run / "environment.json").unlink()
    assert compare_runs([load_run_folder(run) for run in runs], ["first", "second"]) == found


def test_a_run_whose_weights_are_gone_is_not_compared(make_run: Callable[..., Path]) -> None:
    first, second = make_run("first"), make_run("second")
    assert len(comparisons(first, second)) == 1
    (second / "model.safetensors").unlink()
    assert compare_runs([load_run_folder(run) for run in (first, second)], ["first", "second"]) == []


def trained_anew(run: Path) -> Path:
    (run / "model.safetensors").write_bytes(b"other weights")
    return run


@pytest.mark.usefixtures("torch_side")
def test_scores_of_other_weights_are_left_out_with_a_note(make_run: Callable[..., Path]) -> None:
    run = make_run()
    for split in ("test", "val"):
        assert main(["evaluate", str(run), "--split", split]) == 0
    assert list(read_split_scores(load_run_folder(run))) == ["test", "val"]
    trained_anew(run)
    assert main(["evaluate", str(run), "--split", "val"]) == 0
    assert list(read_split_scores(load_run_folder(run))) == ["val"]
    assert main(["report", str(run)]) == 0
    page = page_of(run / "report")
    assert (
        f"The scores of test are of other weights than these and left out. Run: facelex evaluate {run}"
        in page
    )
    assert not (run / "report" / "reliability-test.png").exists()


def test_scores_that_do_not_name_their_weights_are_left_out_beside_answers_of_other_weights(
    make_run: Callable[..., Path],
) -> None:
    run = scored(make_run())
    assert list(read_split_scores(load_run_folder(run))) == ["test", "val"]
    own(make_predictions(20, split="val"), trained_anew(run)).save(run / "predictions-val.npz")
    assert read_split_scores(load_run_folder(run)) == {}  # the answers about test are still the old ones
    assert main(["report", str(run)]) == 0
    assert "The scores of test, val are of other weights" in page_of(run / "report")


def test_runs_of_one_name_are_told_apart() -> None:
    runs = [RunFolder(Path(path)) for path in ("/a/run", "/b/run", "/b/other", "/a/run")]
    assert unique_names(runs) == ["a-run-1", "b-run", "other", "a-run-4"]


def test_links_of_runs_whose_names_differ_in_a_mark_lead_to_each(
    make_run: Callable[..., Path], tmp_path: Path
) -> None:
    write_report([make_run("a.1"), make_run("a-1")], tmp_path)
    links = re.findall(r'<a href="#([^"]+)">([^<]+)</a>', page_of(tmp_path))
    sections = re.findall(r'<section id="([^"]+)">\s*<h2>([^<]+)', page_of(tmp_path))
    assert dict(links) == {place: name.strip() for place, name in sections}
    assert sorted(name for _, name in links) == ["a-1", "a.1"]


def test_names_are_escaped(make_run: Callable[..., Path], tmp_path: Path) -> None:
    run = make_run("a<b>&c")
    (run / "metrics.csv").write_text("phase,epoch,lr\nx,1,0.1\n")
    assert main(["report", str(run), "-o", str(tmp_path / "page")]) == 0
    page = page_of(tmp_path / "page")
    assert "a&lt;b&gt;&amp;c" in page
    assert "a<b>" not in page


def test_folders_without_a_run_are_refused_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    for folder, sentence in (("none", "no such folder"), ("empty", "neither metrics.csv nor config.yaml")):
        assert main(["report", str(tmp_path / folder)]) == 2
        assert sentence in " ".join(capsys.readouterr().err.split())
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "config.yaml").write_text("seed: 1\n")
    assert main(["report", str(tmp_path / "new")]) == 2
    assert "Nothing to report yet" in capsys.readouterr().err
    assert main(["report"]) == 2
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["config.yaml", "empty", "new"]


def test_the_extra_is_named_without_matplotlib(
    make_run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["report", str(make_run())]) == 2
    assert "pip install 'facelex[report]'" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    "entry",
    [
        {"views": {}},
        {"views": []},
        {"views": {"single": None}},
        {"views": {"double": {}}},
        {"views": {"single": {"official": {}, "deduplicated": {}}}, "classes": None},
    ],
)
def test_scores_of_another_shape_are_refused_before_anything_is_drawn(
    make_run: Callable[..., Path], capsys: pytest.CaptureFixture[str], entry: dict[str, object]
) -> None:
    run = make_run()
    (run / "scores.json").write_text(json.dumps({"test": {"model": "x", "split": "test"} | entry}))
    assert main(["report", str(run)]) == 2
    error = " ".join(capsys.readouterr().err.split())
    assert f"The scores of the split 'test' in {run / 'scores.json'} are damaged" in error
    assert not (run / "report").exists()


@pytest.mark.parametrize("parameters", [None, "many"])
def test_an_environment_that_does_not_count_the_weights_is_still_shown(
    make_run: Callable[..., Path], parameters: object
) -> None:
    run = make_run()
    (run / "metrics.csv").write_text("phase,epoch,lr\nx,1,0.1\n")
    (run / "environment.json").write_text(json.dumps({"parameters": parameters, "device": "cpu"}))
    assert main(["report", str(run)]) == 0
    assert "cpu" in page_of(run / "report")


def test_curves_are_read_by_phase_with_gaps_as_nan(make_run: Callable[..., Path]) -> None:
    phases = load_run_folder(make_run()).phases
    assert [phase.name for phase in phases] == ["align", "classify"]
    assert phases[0].columns["val_accuracy"] == [0.16, 0.21]
    assert set(phases[0].losses) == {"alignment"}
    assert set(phases[1].losses) == {"alignment", "cross_entropy"}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("epoch,lr\n1,0.1\n", "column phase in"),
        ("phase,epoch\nalign,one\n", "number in column 'epoch' of .* row 2, but got 'one'"),
        ("phase,epoch\n" + "x" * 140_000, "CSV file in UTF-8, but it is not: field larger than .* Restore"),
        ("phase,epoch\n\xff", "CSV file in UTF-8, but it is not: 'utf-8' codec .* Restore"),
    ],
)
def test_a_damaged_table_is_named(make_run: Callable[..., Path], text: str, sentence: str) -> None:
    run = make_run()
    (run / "metrics.csv").write_text(text, encoding="latin-1")
    with pytest.raises(FacelexError, match=sentence):
        load_run_folder(run)


def test_two_phases_of_one_name_are_two_curves(make_run: Callable[..., Path]) -> None:
    run = make_run()
    (run / "metrics.csv").write_text("phase,epoch,lr\nx,1,0.1\nx,2,0.1\nx,1,0.2\nx,2,0.3\nx,3,0.3\n")
    phases = load_run_folder(run).phases
    assert [(phase.name, phase.columns["epoch"]) for phase in phases] == [("x", [1, 2]), ("x", [1, 2, 3])]


def test_names_of_losses_that_end_close_to_each_other_do_not_overlap() -> None:
    columns = {"epoch": [1.0, 2.0], "lr": [0.1, 0.1], "train_loss": [5.0, 4.0]}
    losses = {"cross_entropy": [2.0, 1.02], "distillation": [2.0, 1.0], "alignment": [4.0, 3.0]}
    with figure_style(LIGHT):
        figure = draw_curves(Phase("joint", {**columns, **losses}), "loss", LIGHT, "loss")
        figure.draw_without_rendering()
    boxes = {text.get_text(): text.get_window_extent() for text in figure.axes[0].texts}
    assert set(boxes) == {"cross entropy", "distillation", "alignment"}
    assert boxes["distillation"].y1 <= boxes["cross entropy"].y0 < boxes["alignment"].y0


def test_a_row_cut_short_shows_the_numbers_before_the_cut(
    make_run: Callable[..., Path],
) -> None:
    run = make_run()
    text = (run / "metrics.csv").read_text()
    (run / "metrics.csv").write_text(text[: text.index("classify,2") + len("classify,2,0.0")])
    phase = load_run_folder(run).phases[-1]
    assert phase.columns["epoch"] == [1, 2]
    assert np.isnan(phase.columns["val_loss"][1])
