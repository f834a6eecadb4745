"""Videos in an album: their moments, what the index keeps of them, what cannot be read, the contact sheet."""

from __future__ import annotations

import csv
import json
import logging
import os
import shutil
import sys
from dataclasses import replace
from importlib.resources import files
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from drawn_video import BrightSquares, draw, overwrite_the_middle, still, write_video
from PIL import Image, ImageColor, ImageDraw, ImageFilter

from facelex.cli.main import main
from facelex.errors import FacelexError, MissingExtraError
from facelex.recognize import album_video, contact_sheet, ranking
from facelex.recognize.album import Album
from facelex.recognize.album_index import AlbumIndex
from facelex.recognize.contact_sheet import CARD, DIM, GAP, HEADER, TILE, draw_contact_sheet
from facelex.recognize.images import load_image
from facelex.recognize.moments import APART, window_means
from facelex.recognize.recognizer import Recognizer
from facelex.recognize.video import read_video

SAMPLES = files("facelex").joinpath("samples")
SECONDS = 4
"""How long each photo stands in the film of `footage`."""


def sample(name: str) -> Image.Image:
    with SAMPLES.joinpath(name).open("rb") as stream:
        return Image.open(stream).convert("RGB")


@pytest.fixture(scope="module")
def footage(tmp_path_factory) -> Path:
    """A folder with two photos and a film in which the same two people are seen, one after the other."""
    folder = tmp_path_factory.mktemp("footage")
    shots = []
    for name in ("grace_hopper.jpg", "astronaut.jpg"):
        sample(name).save(folder / name)
        shot = sample(name).resize((640, 480)).filter(ImageFilter.GaussianBlur(40))  # for the cut to be one
        shot.paste(sample(name).resize((400, 400)), (120, 40))
        shots.append(np.asarray(shot))
    with av.open(str(folder / "interview.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"crf": "15", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 640, 480, "yuv420p"
        for shot in shots:
            for _ in range(10 * SECONDS):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(shot, format="rgb24")))
        container.mux(stream.encode(None))
    return folder


@pytest.fixture
def films(tmp_path) -> Path:
    """A film with one drawn face, one with two of which one comes later, and a photo."""
    folder = tmp_path / "films"
    folder.mkdir()
    write_video(folder / "one.mp4", still((30, 30)), seconds=12.0)
    write_video(
        folder / "two.mp4", lambda time: [(10, 30), (80, 40)] if time >= 1 else [(10, 30)], seconds=3.0
    )
    with av.open(str(folder / "two.mp4")) as container:
        next(container.decode(video=0)).to_image().save(folder / "photo.png")
    return folder


def places(matches) -> list[tuple[str, int, float | None]]:
    return sorted(
        ((Path(match.source).name, match.number, match.time) for match in matches),
        key=lambda place: place[:2],
    )


def search(capsys, *arguments: object) -> tuple[int, str, str]:
    code = main(["search", *map(str, arguments), "--model", "tiny"])
    return code, *capsys.readouterr()


def test_a_search_answers_with_photos_and_the_moments_of_films(footage, tmp_path, capsys, monkeypatch):
    """With the packaged networks: the smiling one of two people is found in the photo and in the film."""
    index, sheet = tmp_path / "a.index", tmp_path / "best.png"
    arguments = ("delighted", footage, "--index", index, "--format", "json")
    code, out, err = search(capsys, *arguments, "--sheet", sheet)
    assert (code, err) == (0, "")
    records = json.loads(out)
    assert len(records) == 4  # each person twice, and not each look at them
    smiling = {Path(record["source"]).name: record for record in records[:2]}
    assert set(smiling) == {"astronaut.jpg", "interview.mp4"}
    moment = smiling["interview.mp4"]
    assert SECONDS <= moment["time_s"] < 2 * SECONDS
    assert (moment["start_s"], moment["end_s"]) == (SECONDS, 2 * SECONDS - 0.5)
    assert moment["time"] == f"0:00:{moment['time_s']:04.1f}"
    assert moment["emotion"] == "happy"
    assert moment["score"] == pytest.approx(smiling["astronaut.jpg"]["score"], abs=0.1)
    x, y, width, height = moment["box"]
    assert 120 < x < x + width < 520
    assert 40 < y < y + height < 440
    assert Image.open(sheet).width > 500

    monkeypatch.setattr(album_video, "predict_video", None)  # nothing is read again
    code, out, _ = search(capsys, *arguments)
    assert (code, json.loads(out)) == (0, records)
    code, out, _ = search(capsys, *arguments, "--no-videos")
    assert {Path(record["source"]).suffix for record in json.loads(out)} == {".jpg"}
    code, out, _ = search(capsys, "delighted", footage, "--index", index, "--format", "csv")
    rows = list(csv.DictReader(out.splitlines()))
    assert [row["time_s"] for row in rows] == [str(record.get("time_s", "")) for record in records]
    code, out, _ = search(capsys, "delighted", footage, "--index", index)
    assert f"{moment['time']}   3.5 s" in out


def test_the_scores_of_a_moment_are_those_of_its_looks(films, finder):
    album = Album(films / "two.mp4", finder, every=0.2)
    looks: dict[int, list[tuple[float, float]]] = {1: [], 2: []}
    for frame in read_video(films / "two.mp4", finder, every=0.2, smooth=0.0, words="proud"):
        for number, face in zip(frame.ids, frame.faces):
            looks[number].append((frame.time, face.words["proud"]))
    matches = album.search("proud", top=None)
    assert {match.number for match in matches} == {1, 2}
    for match in matches:
        near = [score for time, score in looks[match.number] if abs(time - match.time) <= 0.6]
        assert match.score == pytest.approx(np.mean(near), abs=1e-4)
        assert match.face.words == {"proud": pytest.approx(match.score)}
        assert sum(match.face.probabilities.values()) == pytest.approx(1.0, abs=1e-4)
    assert album.num_faces == 2


def test_the_emotions_of_moments_are_averaged_about_them_and_not_over_the_film_for_each(
    films, finder, monkeypatch
):
    album = Album(films, finder, every=0.2)
    album.update()
    averaged: list[int] = []

    def counted(times, tracks, values):
        averaged.append(len(times))
        return window_means(times, tracks, values)

    monkeypatch.setattr(ranking, "window_means", counted)
    moments = [match for match in album.search("proud", top=None) if match.time is not None]
    assert len(moments) > len(averaged)
    assert sum(averaged) == 60 + 15 + 10  # each look at a face once, for its scores
    for match in moments:
        entry = album._entries()[match.source]
        means = window_means(entry.looks.times, entry.looks.tracks, entry.probabilities)
        (row,) = np.flatnonzero((entry.looks.times == match.time) & (entry.looks.tracks == match.number))
        assert list(match.face.probabilities.values()) == pytest.approx(means[row].tolist(), abs=1e-7)
        assert match.face.emotion == finder.classes[means[row].argmax()]


def test_a_face_that_stays_is_few_moments_and_not_each_look(films, finder):
    matches = Album(films, finder).search("proud", top=None)
    found = places(matches)
    assert {name for name, *_ in found} == {"one.mp4", "two.mp4", "photo.png"}
    times = sorted(time for name, _, time in found if name == "one.mp4" and time is not None)
    assert 1 <= len(times) <= 2
    assert all(later - earlier >= APART for earlier, later in pairwise(times))
    assert [match.time for match in matches if match.source.endswith("png")] == [None]


def counts(changes) -> tuple[int, int, int, int]:
    return changes.added, changes.changed, changes.removed, changes.unchanged


def test_films_are_read_once_at_the_spacing_asked_for(films, finder, squares, tmp_path):
    index = tmp_path / "a.index"
    assert counts(Album(films, finder, index).update()) == (3, 0, 0, 0)
    assert squares.frames == 1 + 24 + 6  # a photo, two looks a second
    first = places(Album(films, finder, index).search("proud", top=None))
    squares.frames = 0
    assert counts(Album(films, finder, index, every=1).update()) == (0, 2, 0, 1)
    assert squares.frames == 12 + 3
    squares.frames = 0
    assert counts(Album(films, finder, index).update()) == (0, 0, 0, 3)  # as the index has them
    assert counts(Album(films, finder, index, every=0.5).update()) == (0, 2, 0, 1)
    assert places(Album(films, finder, index).search("proud", top=None)) == first
    (films / "one.mp4").unlink()
    shutil.copy(films / "two.mp4", films / "three.mp4")
    assert counts(Album(films, finder, index).update()) == (1, 0, 1, 2)


def test_left_out_films_stay_in_the_index(films, finder, squares, tmp_path):
    index = tmp_path / "a.index"
    Album(films, finder, index).update()
    (films / "new.png").write_bytes((films / "photo.png").read_bytes())
    squares.frames = 0
    album = Album(films, finder, index, videos=False)
    assert {Path(match.source).suffix for match in album.search("proud")} == {".png"}
    assert counts(Album(films, finder, index).update()) == (0, 0, 0, 4)
    assert squares.frames == 1


def test_an_index_of_the_version_without_films_is_read(films, finder, squares, tmp_path):
    index = tmp_path / "a.index"
    Album(films / "photo.png", finder, index).update()
    with np.load(index) as archive:
        arrays = {name: archive[name] for name in archive.files if name not in ("times", "tracks")}
    head = json.loads(arrays["head"].tobytes())
    del head["looks"]
    arrays["head"] = np.frombuffer(json.dumps(head | {"format": 1}).encode(), np.uint8)
    with index.open("wb") as stream:
        np.savez(stream, **arrays)
    squares.frames = 0
    assert counts(Album(films, finder, index, videos=False).update()) == (0, 0, 0, 1)
    assert squares.frames == 0
    assert counts(Album(films, finder, index).update()) == (2, 0, 0, 1)


@pytest.mark.parametrize("name", ["times", "tracks"])
def test_an_index_whose_times_are_damaged_is_named(films, finder, tmp_path, name):
    index = tmp_path / "a.index"
    Album(films / "one.mp4", finder, index).update()
    with np.load(index) as archive:
        arrays = dict(archive)
    arrays[name] = arrays[name][:-1]
    with index.open("wb") as stream:
        np.savez(stream, **arrays)
    with pytest.raises(FacelexError, match=r"is damaged\. Delete it"):
        Album(films, finder, index)


def test_ctrl_c_within_a_film_searches_what_was_read_and_reads_it_anew_next_time(films, finder, tmp_path):
    def progress(done: float, total: int) -> None:
        assert total == 3
        if done > 1.4:
            raise KeyboardInterrupt

    index = tmp_path / "a.index"
    album = Album(films, finder, index)
    assert album.update(progress).interrupted
    (match,) = (match for match in album.search("proud") if match.source.endswith("one.mp4"))
    assert 4.0 < match.end < 6.0
    assert {Path(path).name for path in AlbumIndex.load(index).entries} == {"photo.png", "one.mp4"}
    album = Album(films, finder, index)
    assert counts(album.update()) == (1, 1, 0, 1)
    assert max(match.end for match in album.search("proud") if match.source.endswith("one.mp4")) == 11.5


def test_progress_counts_a_film_by_the_share_that_is_read(films, finder):
    seen: list[float] = []
    Album(films, finder).update(lambda done, total: seen.append(done))
    assert seen == sorted(seen)
    assert (seen[0], seen[-1]) == (1, 3)
    assert any(1.4 < done < 1.6 for done in seen)


def test_a_film_of_which_a_part_cannot_be_read_is_told_each_time_and_read_once(
    films, finder, squares, tmp_path
):
    overwrite_the_middle(films / "one.mp4", 2000)
    index = tmp_path / "a.index"
    for frames in (True, False):
        squares.frames = 0
        album = Album(films, finder, index)
        failed = album.update().failed
        assert list(failed) == [str(films / "one.mp4")]
        assert "incomplete" in failed[str(films / "one.mp4")]
        assert bool(squares.frames) == frames
        assert "one.mp4" in {name for name, *_ in places(album.search("proud", top=None))}


def test_what_is_no_film_is_told_and_tried_again(films, finder, squares, tmp_path):
    whole = (films / "one.mp4").read_bytes()
    status = (films / "one.mp4").stat()
    (films / "one.mp4").write_bytes(bytes(len(whole)))
    index = tmp_path / "a.index"
    for _ in range(2):
        failed = Album(films, finder, index).update().failed
        assert list(failed) == [str(films / "one.mp4")]
    (films / "one.mp4").write_bytes(whole)
    os.utime(films / "one.mp4", ns=(status.st_atime_ns, status.st_mtime_ns))
    assert Album(films, finder, index).update().failed == {}


def test_where_nothing_reads_films_they_are_left_out_beside_photos_alone(films, finder, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "av", None)
    with caplog.at_level(logging.WARNING):
        album = Album(films, finder)
    assert "2 videos are left out. Searching videos needs the package 'av'" in caplog.text
    assert {name for name, *_ in places(album.search("proud"))} == {"photo.png"}
    assert album.update().failed == {}
    for paths in (films / "one.mp4", f"{films}/*.mp4", [films, films / "one.mp4"]):
        with pytest.raises(MissingExtraError, match=r"facelex\[video\]"):
            Album(paths, finder)


def test_wrong_options_of_films_are_refused_before_anything_is_read(films, finder, squares):
    for every in (-1, "often", float("nan")):
        with pytest.raises(FacelexError, match="Expected every in seconds, 0 or more"):
            Album(films, finder, every=every)  # type: ignore[arg-type]
    with pytest.raises(FacelexError, match="but got the camera 'webcam:0'"):
        Album([films, "webcam:0"], finder)
    with pytest.raises(FacelexError, match="but got the video"):
        Album(films, finder, films / "one.mp4")
    assert squares.frames == 0


def test_faces_that_are_too_small_are_no_moments(films, finder):
    assert Album(films, finder).search("proud", min_size=30) == []


def test_the_sheet_shows_the_frames_of_moments(films, finder):
    (match,) = Album(films / "two.mp4", finder).search("proud", top=1)
    sheet = np.asarray(draw_contact_sheet([match], "proud"))
    with av.open(str(films / "two.mp4")) as container:
        frames = {
            round(frame.time, 3): frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)
        }
    x, y, width, height = map(round, match.face.box)
    face = frames[round(match.time, 3)][y : y + height, x : x + width]
    assert np.asarray(sheet[96:316, 20:240]).max() == pytest.approx(face.max(), abs=12)
    redacted = np.asarray(draw_contact_sheet([match], "proud", redact="blur"))
    stripes = [picture[176:236, 100:160].std() for picture in (sheet, redacted)]
    assert stripes[1] < 0.5 * stripes[0]


def test_a_redacted_frame_covers_all_faces_seen_about_that_time(films, finder):
    for match in Album(films / "two.mp4", finder).search("proud", top=None):
        assert {round(box[0], -1) for box in match.boxes} == ({10, 80} if match.time >= 0.4 else {10})


def shown(matches, redact: str | None = None) -> list[bool]:
    """Return of each match's card on a sheet of at most three whether a picture is on it.

    A card without one says so in its middle, in grey.
    """
    sheet = np.asarray(draw_contact_sheet(matches, "proud", redact=redact))
    told = []
    for place in range(len(matches)):
        left = GAP + place * (TILE + GAP)
        tile = sheet[HEADER + 40 : HEADER + TILE, left : left + TILE]  # below the rank
        grey = ImageColor.getrgb(DIM)
        away = np.abs(tile.astype(int) - ImageColor.getrgb(CARD)).max(axis=2)
        written = (tile == grey).all(axis=2)
        if written.any():
            rows = np.flatnonzero(away.any(axis=1))
            assert rows[-1] - rows[0] < 25  # one line of letters and nothing else
            assert tile.max() <= max(grey)
        else:
            assert away.max() > 50
        told.append(not written.any())
    return told


@pytest.mark.parametrize("redact", [None, "blur"])
def test_a_moment_that_has_gone_leaves_its_place_on_the_sheet(films, finder, redact):
    found = Album(films, finder).search("proud", top=None)
    one, two, photo = (
        next(match for match in found if match.source.endswith(name))
        for name in ("one.mp4", "two.mp4", "photo.png")
    )
    assert shown([one, two, photo], redact) == [True] * 3
    (films / "two.mp4").unlink()
    assert shown([one, two, photo], redact) == [True, False, True]


@pytest.mark.parametrize("redact", [None, "blur"])
def test_of_a_film_that_has_no_frame_at_that_time_none_beside_it_is_shown(films, finder, redact):
    """Also where nothing else tells that it is another film."""
    (match, *_) = Album(films / "one.mp4", finder).search("proud", top=1)
    there, beside = (replace(match, time=time, file=None) for time in (1.5, 1.55))
    assert shown([there, beside], redact) == [True, False]
    write_video(films / "one.mp4", still((30, 30)), times=[i / 3 for i in range(36)])
    assert shown([replace(there, time=1.0), there, beside], redact) == [True, False, False]


@pytest.mark.parametrize("redact", [None, "pixelate"])
@pytest.mark.parametrize("name", ["one.mp4", "photo.png"])
def test_a_file_that_has_changed_since_the_search_is_not_shown(films, finder, name, redact):
    """Its faces are in other places, which the boxes would leave uncovered."""
    (match, *_) = Album(films / name, finder).search("proud", top=1)
    assert shown([match], redact) == [True]
    status = (films / name).stat()
    if name == "photo.png":
        Image.fromarray(draw([(70, 60)])).save(films / name)
    else:
        write_video(films / name, still((70, 60)), seconds=12.0)  # with a frame at that time
    assert shown([match], redact) == [False]
    (match, *_) = Album(films / name, finder).search("proud", top=1)
    assert shown([match], redact) == [True]
    os.utime(films / name, ns=(status.st_atime_ns, status.st_mtime_ns))  # of another size then
    assert shown([match], redact) == [False]


def test_a_file_that_changes_while_it_is_read_is_not_shown(films, finder, monkeypatch):
    (match,) = Album(films / "photo.png", finder).search("proud")

    def replaced(source: str) -> np.ndarray:
        Image.fromarray(draw([(70, 60)])).save(source)
        return load_image(source)

    monkeypatch.setattr(contact_sheet, "load_image", replaced)
    assert shown([match], "blur") == [False]


def test_what_is_kept_of_a_film_that_ctrl_c_ended_is_shown_also_by_the_next_search(films, finder, tmp_path):
    def progress(done: float, total: int) -> None:
        if done > 0.4:
            raise KeyboardInterrupt

    def at_once(done: float, total: int) -> None:
        raise KeyboardInterrupt

    index = tmp_path / "a.index"
    for interrupt in (progress, at_once):
        album = Album([films / "one.mp4", *([films / "photo.png"] * (interrupt is at_once))], finder, index)
        assert album.update(interrupt).interrupted
        (match, *_) = (one for one in album.search("proud") if one.source.endswith("one.mp4"))
        assert shown([match]) == [True]
    album = Album(films / "one.mp4", finder, index)
    assert counts(album.update()) == (0, 1, 0, 0)
    assert counts(Album(films / "one.mp4", finder, index).update()) == (0, 0, 0, 1)


def test_a_sheet_calls_moments_so(films, finder, monkeypatch):
    texts: list[str] = []
    write = ImageDraw.ImageDraw.text
    monkeypatch.setattr(
        ImageDraw.ImageDraw,
        "text",
        lambda self, corner, text, **style: texts.append(text) or write(self, corner, text, **style),
    )
    found = Album(films, finder).search("proud", top=None)
    moments = [match for match in found if match.time is not None]
    faces = [match for match in found if match.time is None]
    for matches, said in (
        (found, f"the best {len(found)} faces and moments"),
        (moments, f"the best {len(moments)} moments"),
        (moments[:1], "the best moment"),
        (faces * 2, f"the best {2 * len(faces)} faces"),
        (faces[:1], "the best face"),
        (found * 1000, f"the best 1000 faces and moments of {1000 * len(found)}"),
        ([], "no face found"),
    ):
        texts.clear()
        draw_contact_sheet(matches, "proud")
        assert texts[1] == said


def test_a_crop_that_fills_the_frame_is_searched_without_looking_for_faces(films, tiny_model):
    from tiny_recognition import TinyVocabulary

    squares = BrightSquares()
    fer = Recognizer(tiny_model, detector=squares, threads=1, vocabulary=TinyVocabulary())  # type: ignore[arg-type]
    matches = Album(films / "one.mp4", fer, detect=False).search("proud")
    assert {match.face.box for match in matches} == {(0.0, 0.0, 128.0, 96.0)}
    assert squares.frames == 0
