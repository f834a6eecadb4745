"""Annotated pictures and redaction."""

from __future__ import annotations

import dataclasses
import itertools
import os

import numpy as np
import pytest
from PIL import Image

from facelex.emotions import EMOTIONS
from facelex.errors import FacelexError
from facelex.recognize.annotated import AnnotatedFolder
from facelex.recognize.chart_layout import MOST_OVERLAP, area, arrange, overlap, plan_label, text_font
from facelex.recognize.contact_sheet import draw_contact_sheet
from facelex.recognize.drawing import annotate, colour_of
from facelex.recognize.redaction import redact_faces, redaction_style
from facelex.recognize.results import Face, ImageResult


def face(box, emotion="happy", share=0.9, *, unsure=False, words=None, classes=EMOTIONS) -> Face:
    rest = (1 - share) / (len(classes) - 1) if len(classes) > 1 else 0
    return Face(
        box, 0.9, emotion, {name: share if name == emotion else rest for name in classes}, unsure, words or {}
    )


def layout(faces, size):
    labels = [plan_label(item, 1.0, size, "") for item in faces]
    return arrange(labels, size)


def rgb(colour: str) -> np.ndarray:
    return np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])


def nearest(pixels: np.ndarray, colour: str) -> float:
    return float(np.abs(pixels.reshape(-1, 3).astype(int) - rgb(colour)).max(axis=1).min())


@pytest.mark.parametrize("background", [0, 128, 255])
def test_the_box_shows_in_the_emotions_colour_on_any_background(background):
    image = np.full((400, 600, 3), background, np.uint8)
    for emotion in EMOTIONS:
        drawn = np.asarray(annotate(image, [face((200, 100, 120, 150), emotion)]))
        assert drawn.shape == image.shape
        left_edge = drawn[150:220, 196:206]
        assert nearest(left_edge, colour_of(emotion)) < 12
        assert (drawn[380:] == background).all()
        assert (image == background).all()


def test_unsure_faces_have_a_broken_outline_and_a_question_mark():
    image = np.full((400, 600, 3), 255, np.uint8)
    sure = np.asarray(annotate(image, [face((200, 100, 120, 150), "sad", 0.3)]))
    unsure = np.asarray(annotate(image, [face((200, 100, 120, 150), "sad", 0.3, unsure=True)]))
    column = slice(120, 230), slice(199, 203)

    def share(drawn: np.ndarray) -> float:
        close = np.abs(drawn[column].astype(int) - rgb(colour_of("sad"))).max(axis=2) < 40
        return close.any(axis=1).mean()

    assert share(sure) == 1.0
    assert 0.3 < share(unsure) < 0.9
    assert plan_label(face((0, 0, 99, 99), unsure=True), 1.0, (600, 400), "").text == "happy? 90%"


def test_labels_and_charts_of_a_group_do_not_overlap_any_face():
    faces = [face((100 + 300 * i, 200 + 60 * (i % 2), 120, 150), EMOTIONS[i]) for i in range(5)]
    placed = layout(faces, (1700, 900))
    rectangles = (
        [item.chart for item in placed] + [item.pill for item in placed] + [item.label.box for item in placed]
    )
    assert None not in rectangles
    for one, other in itertools.combinations(rectangles, 2):
        assert overlap(one, [other]) < 1
    for left, top, right, bottom in rectangles:
        assert left >= 0
        assert top >= 0
        assert right <= 1700
        assert bottom <= 900


def test_a_crowd_loses_charts_before_faces_are_covered():
    faces = [face((10 + 60 * (i % 20), 10 + 70 * (i // 20), 44, 52), EMOTIONS[i % 7]) for i in range(200)]
    placed = layout(faces, (1220, 720))
    boxes = [item.label.box for item in placed]
    for i, item in enumerate(placed):
        others = boxes[:i] + boxes[i + 1 :]
        if item.chart is not None:
            assert overlap(item.chart, boxes) < 1
        if item.pill is not None:
            assert overlap(item.pill, others) < MOST_OVERLAP * area(item.pill)


def test_text_grows_with_picture_and_face():
    sizes = [plan_label(face((0, 0, w / 4, w / 4)), 1.0, (w, w), "").font.size for w in (300, 1000, 4000)]
    assert sizes[0] < sizes[1] < sizes[2]


def test_small_crops_are_enlarged_and_get_a_strip_for_their_chart():
    crop = np.zeros((48, 48, 3), np.uint8)
    drawn = annotate(crop, [face((0, 0, 48, 48), words={"proud": 0.9})])
    assert drawn.height == 480
    assert drawn.width > 480
    assert annotate(crop, [face((0, 0, 48, 48))], keep_size=True).size == (48, 48)


def test_no_faces_leave_the_picture_as_it_is():
    image = np.random.default_rng(0).integers(0, 256, (500, 500, 3), dtype=np.uint8)
    np.testing.assert_array_equal(np.asarray(annotate(image, [])), image)


@pytest.mark.parametrize(
    "box", [(-50, -50, 40, 40), (900, 900, 50, 50), (10, 10, 0, 0), (-20, -20, 900, 900), (1, 1, 2, 1)]
)
def test_boxes_at_and_past_the_edge_are_drawn_without_fault(box):
    for unsure in (False, True):
        annotate(np.zeros((500, 500, 3), np.uint8), [face(box, unsure=unsure)] * 2, redact="blur")


def test_classes_and_words_of_any_name_are_drawn():
    classes = ("contempt", "x" * 80, "боль")
    annotate(
        np.zeros((500, 500, 3), np.uint8),
        [face((100, 100, 90, 90), "боль", 0.5, words={"ß" * 90: 1.0}, classes=classes)],
    )
    assert len({colour_of(name, classes) for name in classes}) == 3
    annotate(np.zeros((9, 3000, 3), np.uint8), [face((100, 0, 9, 9), "only", 1.0, classes=("only",))])


@pytest.mark.parametrize("style", ["blur", "pixelate"])
def test_redaction_leaves_nothing_of_the_box_but_averages(style):
    rng = np.random.default_rng(1)
    image = rng.integers(0, 256, (200, 200, 3), dtype=np.uint8)
    box = (60.0, 50.0, 80.0, 100.0)
    hidden = redact_faces(image, [box], style)
    inside = np.s_[50:150, 60:140]
    assert np.corrcoef(hidden[inside].ravel(), image[inside].ravel())[0, 1] < 0.15
    assert np.unique(hidden[inside].reshape(-1, 3), axis=0).shape[0] < (100 if style == "pixelate" else 8000)
    np.testing.assert_array_equal(hidden[:20], image[:20])
    np.testing.assert_array_equal(hidden[:, 180:], image[:, 180:])
    # what the averages do not hold is gone: two pictures with equal averages become one
    other = image.copy()
    other[inside] = image[inside].mean()
    assert np.abs(redact_faces(other, [box], style)[inside].astype(int) - hidden[inside]).mean() < 16


@pytest.mark.parametrize("style", ["blur", "pixelate"])
@pytest.mark.parametrize(
    "box",
    [
        (0, 40, 80, 80),  # at the edge
        (-30, -25, 90, 90),  # partly outside
        (150, 60, 120, 120),  # a sliver is left of it
        (0, 0, 200, 200),  # a crop that is all face
        (-1e6, -1e6, 2e6, 2e6),
    ],
)
def test_a_face_at_the_edge_is_covered_up_to_the_last_pixel(style, box):
    """Each pixel of the box becomes what its surroundings are, on average: noise keeps nothing of itself."""
    image = np.random.default_rng(3).choice(np.array([0, 255], np.uint8), (200, 200, 3))
    hidden = redact_faces(image, [box], style).astype(int)
    x, y, width, height = box
    rows, columns = (slice(int(max(0, a)), int(min(200, a + b))) for a, b in ((y, height), (x, width)))
    assert hidden[rows, columns].min() > 30
    assert hidden[rows, columns].max() < 225
    for edge in (np.s_[0], np.s_[-1], np.s_[:, 0], np.s_[:, -1]):
        line, before = hidden[rows, columns][edge].ravel(), image[rows, columns][edge].ravel()
        if line.std():
            assert abs(np.corrcoef(line, before)[0, 1]) < 0.4


def test_of_a_sliver_no_more_is_shown_than_of_the_whole_face():
    image = np.random.default_rng(4).integers(0, 256, (240, 240, 3), dtype=np.uint8)
    hidden = redact_faces(image, [(220, 40, 160, 160)], "pixelate")
    assert len(np.unique(hidden[60:180, 225:].reshape(-1, 3), axis=0)) <= 8


def test_annotated_pictures_can_be_redacted():
    image = np.random.default_rng(2).integers(0, 256, (500, 500, 3), dtype=np.uint8)
    item = face((150.0, 150.0, 200.0, 200.0))
    inside = np.s_[200:300, 200:300]
    drawn = np.asarray(annotate(image, [item], redact="pixelate"))
    assert np.corrcoef(drawn[inside].ravel(), image[inside].ravel())[0, 1] < 0.15
    with pytest.raises(FacelexError, match="Did you mean 'blur'"):
        annotate(image, [item], redact="blurr")


@pytest.mark.parametrize("redact", [True, False, None, "blur"])
def test_redact_may_be_a_style_or_yes_or_no(redact, tmp_path):
    image = np.random.default_rng(2).integers(0, 256, (500, 500, 3), dtype=np.uint8)
    item = face((150.0, 150.0, 200.0, 200.0))
    style = "blur" if redact else None
    assert redaction_style(redact) == style
    drawn, expected = annotate(image, [item], redact=redact), annotate(image, [item], redact=style)
    np.testing.assert_array_equal(np.asarray(drawn), np.asarray(expected))
    file = AnnotatedFolder(str(tmp_path / "out"), [], redact=redact).save(
        ImageResult("a.png", 500, 500, (item,), image=image)
    )
    np.testing.assert_array_equal(np.asarray(Image.open(file)), np.asarray(expected))


@pytest.mark.parametrize("redact", ["", 2, ["blur"]])
def test_another_kind_of_redact_is_refused(redact, tmp_path):
    for call in (
        lambda: annotate(np.zeros((60, 60, 3), np.uint8), [], redact=redact),
        lambda: draw_contact_sheet([], "proud", redact=redact),
        lambda: AnnotatedFolder(tmp_path, [], redact=redact),
        lambda: redact_faces(np.zeros((60, 60, 3), np.uint8), [], redact),
    ):
        with pytest.raises(FacelexError, match=r"Unknown redaction style .* Known: blur, pixelate"):
            call()


def test_a_picture_may_come_in_any_form_that_recognition_reads(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (500, 500, 3), dtype=np.uint8)
    picture = Image.fromarray(image)
    picture.save(tmp_path / "a.png")
    faces = [face((150.0, 150.0, 200.0, 200.0))]
    expected = np.asarray(annotate(image, faces))
    for form in (picture, tmp_path / "a.png", str(tmp_path / "a.png"), image / 255):
        np.testing.assert_array_equal(np.asarray(annotate(form, faces)), expected)
    with pytest.raises(FacelexError, match=r"Expected an image .*, but got ImageResult"):
        annotate(ImageResult("a.png", image=image), faces)


def test_faces_and_captions_that_do_not_fit_are_refused():
    image = np.zeros((500, 500, 3), np.uint8)
    one, two = face((100, 100, 90, 90)), face((300, 100, 90, 90))
    for wrong in (one, ImageResult("a.png", faces=(one,)), [one.box], None):
        with pytest.raises(FacelexError, match=f"list of faces.* but got {type(wrong).__name__}"):
            annotate(image, wrong)
    for captions in ([], ["#1"], ["#1", "#2", "#3"]):
        with pytest.raises(FacelexError, match=f"each of the 2 faces, but got {len(captions)}"):
            annotate(image, [one, two], captions=captions)
    assert annotate(image, [one, two], captions=["#1", ""]).size == (500, 500)
    strange = dataclasses.replace(one, words={"a\nb\u2029": 0.5})
    assert annotate(image, [strange, two], captions=["a\r\nb\x1c", ""]).size == (500, 500)


def test_letters_of_europe_are_drawn_and_a_font_may_be_named(monkeypatch, tmp_path):
    def drawn(letter: str, size: int = 20) -> bytes:
        return bytes(text_font(size).getmask(letter))

    monkeypatch.delenv("FACELEX_FONT", raising=False)
    missing = drawn("\uffff")
    for letter in "üéßñłřžåøčščșğα\u03c9жщЁ€–“…":
        assert drawn(letter) != missing, letter
    text_font.cache_clear()
    monkeypatch.setenv("FACELEX_FONT", str(tmp_path / "no.ttf"))
    with pytest.raises(FacelexError, match=r"Expected a font file in FACELEX_FONT, but '.*no\.ttf'"):
        text_font(20)


def test_pictures_of_one_name_get_files_of_their_own_and_inputs_stay(tmp_path):
    image = np.zeros((60, 60, 3), np.uint8)
    mine = tmp_path / "a-faces.png"
    mine.write_bytes(b"an input")
    folder = AnnotatedFolder(tmp_path, [str(mine)])
    sources = ["x/a.png", "y/a.png", "A.webp", "a.jpg", "https://example.org/p/a%20b.jpeg?size=9", "array 3"]
    files = [folder.save(ImageResult(source, 60, 60, image=image)).name for source in sources]
    assert files == [
        "a-faces-2.png",
        "a-faces-3.png",
        "A-faces-4.png",
        "a-faces.jpg",
        "a b-faces.jpg",
        "array 3-faces.png",
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*files, mine.name])
    assert Image.open(tmp_path / "a-faces-2.png").size == (480, 480)


def test_names_of_many_pictures_that_are_called_the_same_are_found_without_trying_all(tmp_path, monkeypatch):
    looked_at = []
    follow = os.path.realpath
    monkeypatch.setattr(os.path, "realpath", lambda path, **_: looked_at.append(path) or follow(path))
    folder = AnnotatedFolder(tmp_path, [])
    image = np.zeros((60, 60, 3), np.uint8)
    files = [folder.save(ImageResult(f"{i}/a.jpg", 60, 60, image=image)).name for i in range(40)]
    assert files[-1] == "a-faces-40.jpg"
    assert len(set(files)) == 40
    assert len(looked_at) < 4 * 40


@pytest.mark.parametrize("letter", ["a", "é", "表", "😀"])
def test_a_long_name_is_cut_to_what_a_file_system_takes(tmp_path, letter):
    image = np.zeros((60, 60, 3), np.uint8)
    folder = AnnotatedFolder(tmp_path, [])
    source = letter * (250 // len(letter.encode())) + ".png"  # a name that can be a file's
    first, second = (folder.save(ImageResult(source, 60, 60, image=image)) for _ in range(2))
    assert first.name.endswith("-faces.png")
    assert second.name.endswith("-faces-2.png")
    assert set(first.stem.removesuffix("-faces")) == {letter}
    assert len(first.stem.encode()) > 150
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([first.name, second.name])


def test_a_link_to_an_input_is_not_written_through(tmp_path):
    original = tmp_path / "original.png"
    original.write_bytes(b"an input")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a-faces.png").symlink_to(original)
    folder = AnnotatedFolder(tmp_path / "out", [str(original)])
    assert (
        folder.save(ImageResult("a.png", 60, 60, image=np.zeros((60, 60, 3), np.uint8))).name
        == "a-faces-2.png"
    )
    assert original.read_bytes() == b"an input"


def test_a_folder_that_cannot_be_made_is_the_users_mistake(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(FacelexError, match="Could not create"):
        AnnotatedFolder(tmp_path / "file" / "out", [])
