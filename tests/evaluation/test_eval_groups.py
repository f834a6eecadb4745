"""Scores by group: how groups are formed, compared and shown."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from evaluation_fakes import make_predictions
from PIL import Image

from facelex.cli.main import main
from facelex.data.dataset import FaceDataset
from facelex.errors import FacelexError
from facelex.evaluation.comparison import holm
from facelex.evaluation.evaluate import evaluate
from facelex.evaluation.groups import (
    MOST_GROUPS,
    Grouping,
    cochran_mantel_haenszel,
    score_groups,
    stratified_difference,
)
from facelex.evaluation.score_records import SplitScores
from facelex.evaluation.score_tables import render_scores
from facelex.evaluation.scores import score_split

Captured = pytest.CaptureFixture[str]

ADMITTED = np.array([[512, 89], [353, 17], [120, 202], [138, 131], [53, 94], [22, 24]])
REJECTED = np.array([[313, 19], [207, 8], [205, 391], [279, 244], [138, 299], [351, 317]])
"""Berkeley's graduate admissions by department, men and women (Bickel et al. 1975; R's UCBAdmissions)."""


def confusion(right: np.ndarray, wrong: np.ndarray) -> np.ndarray:
    """Counts by class of right answers on the diagonal, of wrong ones beside it."""
    return np.diag(right) + np.roll(np.diag(wrong), 1, axis=1)


MEN, WOMEN = (confusion(ADMITTED[:, sex], REJECTED[:, sex]) for sex in (0, 1))


@pytest.mark.parametrize(
    ("values", "groups"),
    [
        (["Male", "male", "MALE", "f"], {"f": [3], "MALE": [0, 1, 2]}),
        (["10", "9", "100"], {"9": [1], "10": [0], "100": [2]}),
        (["Mu\u0308ller", "M\u00fcller"], {"Mu\u0308ller": [0, 1]}),
    ],
    ids=["case", "numbers", "Unicode"],
)
def test_values_that_a_person_would_call_the_same_are(
    values: list[str], groups: dict[str, list[int]]
) -> None:
    found = parted("column", column=values)
    assert list(found.items()) == list(groups.items())


def parted(text: str, **columns: list[str]) -> dict[str, list[int]]:
    attributes = {name: np.array(values) for name, values in columns.items()}
    rows = np.arange(len(next(iter(attributes.values()))))
    return {
        name: np.flatnonzero(marks).tolist() for name, marks in Grouping.parse(text).parts(attributes, rows)
    }


def test_a_column_is_parted_by_its_values_and_empty_ones_come_last() -> None:
    assert parted("Gender", gender=["m", "", "f", "m"]) == {"f": [2], "m": [0, 3], "(empty)": [1]}


def test_numbers_are_parted_at_edges_that_belong_to_the_group_above() -> None:
    ages = ["17.9", "18", "39", "40", "", "7"]
    assert list(parted("age:18,40", age=ages).items()) == [
        ("under 18", [0, 5]), ("18 to 40", [1, 2]), ("40 and over", [3]), ("(empty)", [4]),
    ]  # fmt: skip


def test_columns_joined_by_a_star_are_taken_together() -> None:
    found = parted("gender * age:40", gender=["f", "m", "f", "m"], age=["30", "50", "40", "60"])
    assert found == {"f, under 40": [0], "f, 40 and over": [2], "m, 40 and over": [1, 3]}


def test_only_the_rows_that_are_scored_are_parted() -> None:
    (group,) = Grouping.parse("g").parts({"g": np.array(["a", "b", "a"])}, np.array([0, 2]))
    assert (group[0], group[1].tolist()) == ("a", [True, True])


@pytest.mark.parametrize("text", ["", "age:", "age:a", "age:40,18", "age:18,18", "age:nan", "*age", ":3"])
def test_a_grouping_that_cannot_be_read_is_one_sentence(text: str) -> None:
    with pytest.raises(FacelexError, match="Expected a column for --by, such as gender"):
        Grouping.parse(text)


def test_a_number_that_is_none_and_too_many_groups_are_one_sentence_each() -> None:
    with pytest.raises(FacelexError, match=r"numbers such as 17.5 in the column 'age'.* but got 'old'"):
        parted("age:18", age=["3", "old"])
    with pytest.raises(FacelexError, match=f"at most {MOST_GROUPS} groups .* got 41.*such as age:18,40,65"):
        parted("sex:1*age", sex=["2"] * 41, age=[str(number) for number in range(41)])


def test_the_test_is_the_published_one_on_the_admissions_of_berkeley() -> None:
    p = cochran_mantel_haenszel(MEN, WOMEN)
    excess = variance = 0.0
    for (men, women), (men_out, women_out) in zip(ADMITTED.tolist(), REJECTED.tolist()):
        n, m = men + men_out, women + women_out
        admitted, total = men + women, n + m
        excess += men - n * admitted / total
        variance += n * m * admitted * (total - admitted) / (total**2 * (total - 1))
    assert (abs(excess) - 0.5) ** 2 / variance == pytest.approx(1.4269, abs=1e-4)  # R's, with correction
    assert p == pytest.approx(math.erfc(math.sqrt(excess**2 / variance / 2)))
    assert cochran_mantel_haenszel(WOMEN, MEN) == pytest.approx(p)


def test_the_test_agrees_with_drawing_groups_anew_within_classes() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 300)
    right = rng.random(300) < np.array([0.9, 0.6, 0.4])[labels]
    in_group = rng.random(300) < 0.3
    right |= in_group & (rng.random(300) < 0.2)

    def counts(marks: np.ndarray) -> np.ndarray:
        hit = np.bincount(labels[marks & right], minlength=3)
        return confusion(hit, np.bincount(labels[marks], minlength=3) - hit)

    drawn = []
    for _ in range(2000):
        marks = np.zeros(300, bool)
        for label in range(3):
            rows = np.flatnonzero(labels == label)
            marks[rng.choice(rows, in_group[rows].sum(), replace=False)] = True
        drawn.append(cochran_mantel_haenszel(counts(marks), counts(~marks)))
    p = cochran_mantel_haenszel(counts(in_group), counts(~in_group))
    assert 0.001 < p < 0.5
    assert np.mean(np.array(drawn) <= p + 1e-9) == pytest.approx(p, abs=0.04)


def test_a_group_that_shows_harder_classes_is_not_read_worse() -> None:
    easy, hard = np.array([[90, 10], [0, 0]]), np.array([[0, 0], [60, 40]])
    group, others = easy + 4 * hard, 4 * easy + hard
    assert np.trace(group) / group.sum() < np.trace(others) / others.sum() - 0.05
    difference = stratified_difference(group, others)
    assert difference.value == pytest.approx(0)
    assert difference.low < 0 < difference.high
    assert cochran_mantel_haenszel(group, others) == 1.0


def test_the_difference_is_the_weighted_mean_over_classes_and_its_interval_that_of_binomials() -> None:
    difference = stratified_difference(MEN, WOMEN)
    gaps, weights, variances = [], [], []
    for (men, women), (men_out, women_out) in zip(ADMITTED.tolist(), REJECTED.tolist()):
        n, m = men + men_out, women + women_out
        gaps.append(men / n - women / m)
        weights.append(n * m / (n + m))
        variances.append(men * men_out / n**3 + women * women_out / m**3)
    shares = np.array(weights) / sum(weights)
    assert difference.value == pytest.approx(float(shares @ gaps))
    error = float(np.sqrt(shares**2 @ variances))
    assert difference.high - difference.value == pytest.approx(1.96 * error, rel=0.05)
    assert difference.value - difference.low == pytest.approx(1.96 * error, rel=0.05)
    turned = stratified_difference(WOMEN, MEN)
    mirrored = (-difference.value, -difference.high, -difference.low)
    assert (turned.value, turned.low, turned.high) == pytest.approx(mirrored)


def test_the_interval_of_one_class_is_newcombes() -> None:
    """56 of 70 and 48 of 80: 0.0524 to 0.3339, his example (a), method 10 (Newcombe 1998, table II)."""
    found = stratified_difference(np.array([[56, 14], [0, 0]]), np.array([[48, 32], [0, 0]]))
    assert (found.value, found.low, found.high) == pytest.approx((0.2, 0.0524, 0.3339), abs=1e-4)


@pytest.mark.parametrize(
    ("sizes", "ours", "theirs"),
    [
        ((1, 200), (0.9, 0.7), (0.9, 0.7)),
        ((3, 200), (0.7, 0.6), (0.9, 0.8)),
        ((5, 5), (0.95, 0.85), (0.95, 0.85)),
        ((5, 5), (0.9, 0.9), (1.0, 1.0)),
        ((20, 20), (0.99, 0.95), (0.99, 0.95)),
        ((30, 100), (0.6, 0.3), (0.8, 0.5)),
    ],
)
def test_the_interval_holds_the_truth_as_often_as_it_says(
    sizes: tuple[int, int], ours: tuple[float, float], theirs: tuple[float, float]
) -> None:
    rng = np.random.default_rng(0)
    truth, held = np.mean(np.subtract(ours, theirs)), []
    for _ in range(400):
        right = [rng.binomial(size, recalls) for size, recalls in zip(sizes, (ours, theirs))]
        found = stratified_difference(*(confusion(hit, size - hit) for hit, size in zip(right, sizes)))
        held.append(found.low <= truth <= found.high)
    assert np.mean(held) >= 0.93


def test_where_all_are_read_rightly_the_interval_has_a_width() -> None:
    found = stratified_difference(np.diag([20, 20]), np.diag([20, 20]))
    assert found.value == 0
    assert 0.03 < found.high < 0.15
    assert found.low == pytest.approx(-found.high)


def test_one_example_shows_little() -> None:
    one = np.array([[1, 0], [0, 0]])
    difference = stratified_difference(one, confusion(np.array([300, 200]), np.array([100, 200])))
    assert difference.value == pytest.approx(0.25)
    assert difference.low < -0.3


def test_groups_without_a_common_class_are_not_compared() -> None:
    one, other = np.diag([5, 0]), np.diag([0, 5])
    assert math.isnan(stratified_difference(one, other).value)
    assert math.isnan(cochran_mantel_haenszel(one, other))


def test_each_group_has_the_scores_of_its_own_examples() -> None:
    preds = make_predictions(300)
    marks = np.arange(300) % 3 == 0
    found = score_groups(preds, [("a", marks), ("b", ~marks)], "kind")
    assert (found.by, found.view, [group.count for group in found.groups]) == ("kind", "flip", [100, 200])
    for group, own in zip(found.groups, (marks, ~marks)):
        alone = score_split(preds.subset(own)).views["flip"].official
        assert group.accuracy == alone.accuracy
        assert group.confusion == alone.confusion
        for i, (name, row) in enumerate(group.per_class.items()):
            assert (row.support, row.recall) == (alone.per_class[name].support, alone.per_class[name].recall)
            table = np.array(group.confusion)
            others = np.delete(table, i, axis=0)
            assert row.named_wrongly == pytest.approx(others[:, i].sum() / others.sum())
    first, second = found.groups
    assert first.difference.value == pytest.approx(-second.difference.value)
    assert first.p_value == first.adjusted_p_value == pytest.approx(second.p_value)  # one comparison


def test_p_values_of_several_groups_are_adjusted_and_read_back_from_json() -> None:
    preds = make_predictions(300)
    places = np.arange(300) % 4
    groups = [(str(place), places == place) for place in range(4)]
    scores = score_split(preds)
    with_groups = SplitScores(**{**scores.__dict__, "groups": [score_groups(preds, groups, "place")]})
    assert with_groups.groups is not None
    found = with_groups.groups[0].groups
    assert [group.adjusted_p_value for group in found] == holm([group.p_value for group in found])
    assert SplitScores.from_json(json.loads(json.dumps(with_groups.to_json()))).groups == with_groups.groups


def listing(folder: Path, count: int = 84) -> Path:
    """Faces that `onnx_file` names rightly, but every other one of group b that is labelled angry."""
    (folder / "img").mkdir()
    names = ("angry", "happy", "neutral", "contempt")
    brightness = {"angry": 0, "happy": 3, "neutral": 6, "contempt": 1}
    rows = ["image,label,Group,Age"]
    for number in range(count):
        name, group = names[number % 4], "ab"[number // 4 % 2]
        face = np.zeros((16, 16), np.uint8)
        shown = "happy" if name == "angry" and group == "b" and number // 8 % 2 else name
        face[:, :8] = brightness[shown] * 30 + 9
        face[0, 15] = number  # no two alike
        Image.fromarray(face).save(folder / "img" / f"{number}.png")
        rows.append(f"img/{number}.png,{name},{group},{number % 60 or ''}")
    (folder / "faces.csv").write_text("\n".join(rows))
    return folder / "faces.csv"


def test_a_list_of_images_is_scored_by_its_columns(onnx_file: Path, tmp_path: Path, capsys: Captured) -> None:
    argv = [
        "evaluate",
        str(onnx_file),
        "--data",
        str(listing(tmp_path)),
        "--map",
        "contempt=ignore",
        "--no-flip",
    ]
    assert main([*argv, "--by", "group", "--by", "group*age:30", "--format", "json"]) == 0
    whole, crossed = json.loads(capsys.readouterr().out)["groups"]
    a, b = whole["groups"]
    assert (a["name"], a["count"], a["accuracy"]["value"]) == ("a", 33, 1.0)
    assert (b["name"], b["count"]) == ("b", 30)
    assert b["per_class"]["angry"] == {"support": 10, "recall": 0.5, "named_wrongly": 0.0}
    assert b["per_class"]["happy"]["named_wrongly"] == pytest.approx(5 / 20)
    assert b["difference"]["value"] == pytest.approx(-0.5 * (10 * 11 / 21) / (3 * 10 * 11 / 21))
    assert {group["name"] for group in crossed["groups"]} == {
        "a, under 30", "a, 30 and over", "a, (empty)", "b, under 30", "b, 30 and over",
        "b, (empty)",
    }  # fmt: skip
    assert main([*argv, "--by", "group"]) == 0
    table = " ".join(capsys.readouterr().out.split())
    assert "Accuracy by group (single view, official, %)" in table
    assert "50.0 (10)" in table
    assert "-16.7 [" in table


def test_columns_that_were_kept_part_the_scores_of_a_prepared_file(
    onnx_file: Path, tmp_path: Path, capsys: Captured
) -> None:
    table, file = listing(tmp_path), tmp_path / "faces.npz"
    options = ["--classes", "angry,happy,neutral,contempt", "--split", "0,0,1", "--size", "16"]
    assert main(["data", "prepare", str(table), "-o", str(file), "--keep", "Group, age", *options]) == 0
    assert main(["data", "info", str(file)]) == 0
    assert "Kept columns: group (2 values), age (59 values)" in capsys.readouterr().out
    mapping = {"contempt": "ignore"}
    kept = evaluate(onnx_file, data=file, mapping=mapping, by=["group"]).scores["groups"]
    assert kept == evaluate(onnx_file, data=table, mapping=mapping, by=["group"]).scores["groups"]


def test_a_column_that_is_not_there_is_one_sentence(
    onnx_file: Path, tmp_path: Path, faces: tuple[object, Path], capsys: Captured
) -> None:
    def error_of(*argv: object) -> str:
        assert main([str(arg) for arg in argv]) == 2
        return " ".join(capsys.readouterr().err.split())

    table = listing(tmp_path)
    assert "'gender'. Known: age, group, image, label." in error_of(
        "evaluate", onnx_file, "--data", table, "--by", "gender"
    )
    assert "these have none. Give a CSV" in error_of(
        "evaluate", onnx_file, "--data", faces[1], "--by", "gender"
    )
    assert "--keep is for a CSV that lists images" in error_of(
        "data", "prepare", tmp_path / "img", "--keep", "age", "-o", tmp_path / "x.npz"
    )


@pytest.mark.usefixtures("torch_side")
def test_a_run_folder_keeps_no_scores_by_group(
    make_run: Callable[..., Path], faces: tuple[FaceDataset, Path]
) -> None:
    run, (dataset, data) = make_run(), faces
    parts = np.where(np.arange(len(dataset)) % 2, "odd", "even")
    attributes = {"half": parts}
    FaceDataset.create(
        dataset.pixels, dataset.labels, dataset.splits, dataset.class_names, dataset.source, None, attributes
    ).save(data)
    groups = evaluate(run, by=["half"]).split_scores.groups
    assert groups is not None
    assert [group.name for group in groups[0].groups] == ["even", "odd"]
    for group, start in zip(groups[0].groups, (0, 1)):
        rows = dataset.indices("test")
        labels = dataset.labels[rows[rows % 2 == start]]
        assert [row.support for row in group.per_class.values()] == np.bincount(labels).tolist()
    assert "groups" not in json.loads((run / "scores.json").read_text())["test"]


def test_the_mean_of_networks_is_parted_in_the_last_view_asked_for(
    onnx_file: Path, tmp_path: Path, make_run: Callable[..., Path], faces: tuple[FaceDataset, Path]
) -> None:
    dataset, data = faces
    kinds = np.array(dataset.class_names)[dataset.labels]
    FaceDataset.create(
        dataset.pixels, dataset.labels, dataset.splits, dataset.class_names, "", None, {"Kind": kinds}
    ).save(data)
    other = tmp_path / "other.onnx"
    other.write_bytes(onnx_file.read_bytes())
    found = evaluate([onnx_file, other], data=data, ten_crop=True, by="KIND").split_scores.groups
    assert found is not None
    assert found[0].view == "ten_crop"
    for group in found[0].groups:
        assert group.per_class[group.name].support == group.count == 10
        assert math.isnan(group.difference.value)  # nobody else shows that class
        assert math.isnan(group.adjusted_p_value)


def test_what_a_column_holds_cannot_steer_the_terminal() -> None:
    from rich.console import Console

    preds = make_predictions(20)
    groups = [("\x1b[31mred[bold]", np.ones(20, bool))]
    scores = SplitScores(**{**score_split(preds).__dict__, "groups": [score_groups(preds, groups, "a\x1b")]})
    console = Console(width=120)
    with console.capture() as captured:
        console.print(render_scores(scores))
    assert "\x1b" not in captured.get()
    assert "red[bold]" in captured.get()


def test_many_groups_with_long_names_keep_their_numbers_in_80_columns() -> None:
    from rich.console import Console

    preds = make_predictions(1200)
    places = np.arange(1200) % 12
    groups = [(f"female, {10 * place} to {10 * place + 10}", places == place) for place in range(12)]
    scored = score_groups(preds, groups, "gender*age")
    console = Console(width=80)
    with console.capture() as captured:
        console.print(render_scores(SplitScores(**{**score_split(preds).__dict__, "groups": [scored]})))
    shown = captured.get().partition("Accuracy by gender")[2]
    assert "…" not in shown
    for group in scored.groups:
        interval = group.accuracy
        assert f"{100 * interval.value:.1f} [{100 * interval.low:.1f}, {100 * interval.high:.1f}]" in shown
        for row in group.per_class.values():
            assert f"{100 * row.recall:.1f} ({row.support})" in shown
