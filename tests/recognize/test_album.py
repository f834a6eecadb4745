"""Albums: ranking, the index and what it notices, broken photos, contact sheets, the command."""

from __future__ import annotations

import csv
import errno
import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_recognition import FixedDetector, TinyVocabulary, write_model

from facelex.cli.main import main
from facelex.errors import FacelexError
from facelex.recognize import contact_sheet
from facelex.recognize import faces as faces_module
from facelex.recognize import recognizer as recognizer_module
from facelex.recognize.album import Album
from facelex.recognize.album_index import FORMAT, KIND, AlbumIndex
from facelex.recognize.contact_sheet import TILE, draw_contact_sheet, save_contact_sheet
from facelex.recognize.framing import DEFAULT_FRAMING
from facelex.recognize.recognizer import Recognizer


class CountingDetector(FixedDetector):
    """Finds two faces and counts the pictures it saw."""

    def __init__(self) -> None:
        super().__init__((0.1, 0.2, 0.3, 0.4), (0.5, 0.3, 0.4, 0.5))
        self.seen = 0

    def detect(self, image):
        self.seen += 1
        return super().detect(image)


@pytest.fixture
def detector() -> CountingDetector:
    return CountingDetector()


@pytest.fixture
def fer(tiny_model, detector) -> Recognizer:
    return Recognizer(tiny_model, detector=detector, threads=1, vocabulary=TinyVocabulary())  # type: ignore[arg-type]


def save_photo(path: Path, seed: int, size: tuple[int, int] = (160, 120)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(seed).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(path)
    return path


@pytest.fixture
def photos(tmp_path) -> Path:
    """Six photos, one of them in a folder within."""
    for seed in range(5):
        save_photo(tmp_path / "album" / f"{seed}.png", seed)
    save_photo(tmp_path / "album" / "sub" / "5.jpg", 5)
    return tmp_path / "album"


def summary(matches) -> list[tuple[str, int, float]]:
    return [(Path(match.source).name, match.number, round(match.score, 5)) for match in matches]


def test_the_ranking_is_that_of_all_faces_by_their_word_score(photos, fer):
    expected = []
    for path in sorted(photos.glob("*.png")):
        for number, face in enumerate(fer.predict(path, words="delighted")):
            expected.append((path.name, number, round(face.words["delighted"], 5)))
    expected.sort(key=lambda item: -item[2])
    matches = Album(photos, fer).search("delighted", top=None)
    assert [item[:2] for item in summary(matches)] == [item[:2] for item in expected]
    assert [match.score for match in matches] == pytest.approx([item[2] for item in expected], abs=1e-4)
    assert [match.rank for match in matches] == list(range(1, 11))
    assert summary(Album(photos, fer).search("delighted", top=3)) == summary(matches[:3])


def test_several_words_are_averaged_and_each_is_told(photos, fer):
    album = Album(photos, fer)
    best = album.search("proud, barely hidden anger")[0]
    assert set(best.face.words) == {"proud", "barely hidden anger"}
    assert best.score == pytest.approx(np.mean(list(best.face.words.values())), abs=1e-6)
    assert summary(album.search(["proud", "barely hidden anger"])) == summary(
        album.search("proud, barely hidden anger")
    )


def test_photos_are_read_once_and_searched_often(photos, fer, detector):
    album = Album(photos, fer, recursive=True)
    album.search("proud")
    album.search("bored")
    assert detector.seen == 6
    assert album.num_faces == 12


def test_nothing_is_stored_unless_an_index_is_named(photos, fer, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("HOME", "XDG_CACHE_HOME", "TMPDIR"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    before = sorted(tmp_path.rglob("*"))
    Album(photos, fer).search("proud")
    assert sorted(tmp_path.rglob("*")) == before


def test_an_index_spares_reading_and_gives_the_same_ranking(photos, fer, detector, tmp_path):
    index = tmp_path / "album.index"
    first = Album(photos, fer, index).search("proud", top=None)
    assert detector.seen == 5
    again = Album(photos, fer, index)
    assert summary(again.search("proud", top=None)) == summary(first)
    assert detector.seen == 5
    assert again.update().unchanged == 5
    if os.name == "posix":
        assert index.stat().st_mode & 0o777 == 0o600
    assert b"JFIF" not in index.read_bytes()  # no picture


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_an_index_can_be_read_by_its_owner_alone_also_while_it_is_written(photos, fer, tmp_path, monkeypatch):
    modes = []
    savez = np.savez

    def watched(stream, **arrays):
        savez(stream, **arrays)
        modes.append(os.fstat(stream.fileno()).st_mode & 0o777)

    monkeypatch.setattr(np, "savez", watched)
    index = tmp_path / "album.index"
    Album(photos, fer, index).update()
    index.chmod(0o644)
    Album(photos, fer, index, rebuild=True).update()
    assert modes == [0o600, 0o600]
    assert index.stat().st_mode & 0o777 == 0o600


def test_added_changed_and_removed_photos_are_noticed(photos, fer, detector, tmp_path):
    index = tmp_path / "album.index"
    Album(photos, fer, index).update()
    save_photo(photos / "new.png", 77)
    save_photo(photos / "1.png", 78)
    (photos / "2.png").unlink()
    detector.seen = 0
    album = Album(photos, fer, index)
    changes = album.update()
    assert (changes.added, changes.changed, changes.removed, changes.unchanged) == (1, 1, 1, 3)
    assert detector.seen == 2
    names = {name for name, *_ in summary(album.search("proud", top=None))}
    assert names == {"0.png", "1.png", "3.png", "4.png", "new.png"}
    assert summary(album.search("proud", top=None)) == summary(Album(photos, fer).search("proud", top=None))


def counts(changes) -> tuple[int, int, int, int]:
    return changes.added, changes.changed, changes.removed, changes.unchanged


def test_an_album_in_use_notices_what_comes_and_goes_in_its_folders(photos, fer, detector):
    album = Album([photos, f"{photos}/sub/*.jpg"], fer)
    assert len(album.search("proud", top=None)) == 12
    save_photo(photos / "new.png", 77)
    save_photo(photos / "1.png", 78)
    (photos / "2.png").unlink()
    (photos / "sub" / "5.jpg").unlink()  # the glob now matches nothing
    detector.seen = 0
    changes = album.update()
    assert (counts(changes), changes.failed, detector.seen) == ((1, 1, 2, 3), {}, 2)
    names = {name for name, *_ in summary(album.search("proud", top=None))}
    assert names == {"0.png", "1.png", "3.png", "4.png", "new.png"}
    changes = album.update()
    assert (counts(changes), changes.failed, detector.seen) == ((0, 0, 0, 5), {}, 2)


def test_a_photo_named_by_its_path_that_is_gone_is_removed_once_and_told_each_time(photos, fer, tmp_path):
    gone = photos / "0.png"
    album = Album([gone, photos / "1.png"], fer, tmp_path / "album.index")
    album.update()
    gone.unlink()
    for removed in (1, 0):
        changes = album.update()
        assert (counts(changes), list(changes.failed)) == ((0, 0, removed, 1), [str(gone)])
    save_photo(gone, 0)
    changes = album.update()
    assert (counts(changes), changes.failed) == ((1, 0, 0, 1), {})


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        ([], "a folder of photos or videos, but got no path"),
        (None, "paths of folders, photos and videos, but got NoneType"),
        (b"photos", "but got bytes"),
        ([np.zeros((9, 9), np.uint8)], "but got ndarray"),
    ],
)
def test_what_is_no_album_is_told_in_a_sentence(fer, paths, message):
    with pytest.raises(FacelexError, match=message):
        Album(paths, fer)


def test_an_argument_of_the_wrong_type_is_told_in_a_sentence(photos, fer, detector):
    with pytest.raises(FacelexError, match="to be a Recognizer, but got 'tiny'"):
        Album(photos, "tiny")  # type: ignore[arg-type]
    album = Album(photos, fer)
    for top in ("3", 2.5):
        with pytest.raises(FacelexError, match=f"top to be 1 or more or None for all, but got {top!r}"):
            album.search("proud", top)  # type: ignore[arg-type]
    with pytest.raises(FacelexError, match="min_size to be a number of pixels, 0 or more, but got '3'"):
        album.search("proud", min_size="3")  # type: ignore[arg-type]
    assert detector.seen == 0


def test_a_change_that_keeps_the_size_is_noticed_by_its_time(photos, fer, detector, tmp_path):
    index = tmp_path / "album.index"
    Album(photos, fer, index).update()
    os.utime(photos / "3.png", ns=(1, 1))
    assert Album(photos, fer, index).update().changed == 1


def test_one_index_serves_several_folders(photos, fer, detector, tmp_path):
    index = tmp_path / "album.index"
    Album(photos, fer, index, recursive=True).update()
    detector.seen = 0
    part = Album(photos / "sub", fer, index)
    assert {name for name, *_ in summary(part.search("proud"))} == {"5.jpg"}
    Album(photos, fer, index).update()
    assert detector.seen == 0


@pytest.fixture
def disks(tmp_path, fer) -> Path:
    """Two disks of two photos each, known to one index."""
    for seed in range(4):
        save_photo(tmp_path / ("a" if seed < 2 else "b") / "photos" / f"{seed}.png", seed)
    Album([tmp_path / "a", tmp_path / "b"], fer, tmp_path / "i.index", recursive=True).update()
    return tmp_path


def test_rebuilding_keeps_the_photos_of_other_folders(disks, fer, detector):
    detector.seen = 0
    album = Album(disks / "a", fer, disks / "i.index", recursive=True, rebuild=True)
    assert (counts(album.update()), detector.seen) == ((2, 0, 0, 0), 2)
    assert counts(Album(disks / "b", fer, disks / "i.index", recursive=True).update()) == (0, 0, 0, 2)
    assert detector.seen == 2


def test_photos_of_a_disk_that_is_not_there_are_kept(disks, fer, detector):
    (disks / "b").rename(disks / ".unplugged")
    save_photo(disks / "a" / "new.png", 77)
    assert counts(Album(disks / "a", fer, disks / "i.index", recursive=True).update()) == (1, 0, 0, 2)
    assert counts(Album(f"{disks}/*/photos/*", fer, disks / "i.index").update()) == (0, 0, 0, 2)
    (disks / ".unplugged").rename(disks / "b")
    detector.seen = 0
    (disks / "b" / "photos" / "2.png").unlink()  # its folder is there
    assert counts(Album(disks / "a", fer, disks / "i.index", recursive=True).update()) == (0, 0, 1, 3)
    assert counts(Album(disks / "b", fer, disks / "i.index", recursive=True).update()) == (0, 0, 0, 1)
    assert detector.seen == 0


@pytest.mark.parametrize("paths", ["a", "a/**/*.png", "a/**", "**/new.png"])
def test_a_folder_that_is_gone_from_what_is_searched_is_forgotten(disks, fer, monkeypatch, paths):
    monkeypatch.chdir(disks)
    save_photo(disks / "a" / "new.png", 77)
    shutil.rmtree(disks / "a" / "photos")
    assert counts(Album(paths, fer, disks / "i.index").update()) == (1, 0, 2, 0)


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_photos_that_may_not_be_looked_at_are_kept(disks, fer, monkeypatch):
    def guarded(path, **options):
        if "photos" in os.fsdecode(path):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return lstat(path, **options)

    lstat = os.lstat
    monkeypatch.setattr(os, "lstat", guarded)
    index = AlbumIndex.load(disks / "i.index")
    assert (index.forget_missing([str(disks)]), len(index.entries)) == (0, 4)


def test_a_named_photo_that_is_gone_with_its_folder_leaves_nothing_in_the_index(disks, fer):
    shutil.rmtree(disks / "b" / "photos")
    paths = [disks / "a", disks / "b" / "photos" / "2.png"]
    album = Album(paths, fer, disks / "i.index", recursive=True)
    assert (counts(changes := album.update()), list(changes.failed)) == ((0, 0, 1, 2), [str(paths[1])])
    names = [Path(path).name for path in AlbumIndex.load(disks / "i.index").entries]
    assert names == ["0.png", "1.png", "3.png"]


def test_an_index_of_another_model_says_how_many_other_photos_it_loses(disks, fer, detector):
    detector.threshold = 0.6
    changes = Album(disks / "a", fer, disks / "i.index", recursive=True).update()
    assert (counts(changes), changes.dropped) == ((2, 0, 0, 0), 2)
    album = Album([disks / "a", disks / "b"], fer, disks / "i.index", recursive=True)
    assert (counts(album.update()), album.update().dropped) == ((2, 0, 0, 2), 0)
    detector.threshold = 0.7
    album = Album([disks / "a", disks / "b"], fer, disks / "i.index", recursive=True)
    assert (counts(album.update()), album.update().dropped) == ((4, 0, 0, 0), 0)


def test_an_index_that_cannot_be_written_is_refused_before_photos_are_read(photos, fer, detector, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(FacelexError, match=r"Could not write '.*index': .*\. Choose another place"):
        Album(photos, fer, tmp_path / "file" / "album.index").update()
    assert detector.seen == 0
    index = tmp_path / "there" / "album.index"
    Album(photos, fer, index).update()
    assert list(index.parent.iterdir()) == [index]


def test_an_index_inside_its_album_survives_moving_the_album(photos, fer, detector, tmp_path):
    Album(photos, fer, photos / "faces.index").update()
    shutil.copytree(photos, tmp_path / "copy", copy_function=shutil.copy2)
    detector.seen = 0
    assert len(Album(tmp_path / "copy", fer, tmp_path / "copy" / "faces.index").search("proud")) == 10
    assert detector.seen == 0


def test_another_model_or_detector_reads_the_photos_anew(photos, fer, detector, tmp_path):
    index = tmp_path / "album.index"
    Album(photos, fer, index).update()
    detector.seen = 0
    other = Recognizer(
        write_model(tmp_path / "other.onnx", metadata={"flip": False}), detector=detector, threads=1,
        vocabulary=TinyVocabulary(),  # type: ignore[arg-type]
    )  # fmt: skip
    Album(photos, other, index).update()
    assert detector.seen == 5
    detector.name = "another"
    Album(photos, other, index).update()
    assert detector.seen == 10
    Album(photos, other, index, rebuild=True).update()
    assert detector.seen == 15


def test_a_detectors_other_model_file_or_limit_reads_the_photos_anew(photos, fer, detector, tmp_path):
    index = tmp_path / "album.index"
    detector.model_digest, detector.threshold = "one", 0.4
    Album(photos, fer, index).update()
    assert Album(photos, fer, index).update().unchanged == 5
    detector.model_digest = "other"
    assert Album(photos, fer, index).update().added == 5
    detector.threshold = 0.6
    assert Album(photos, fer, index).update().added == 5


def test_other_framing_reads_the_photos_anew(photos, detector, tmp_path):
    def album(name: str, framing: dict) -> Album:
        model = write_model(tmp_path / name, metadata={"framing": framing})
        other = Recognizer(model, detector=detector, threads=1, vocabulary=TinyVocabulary())  # type: ignore[arg-type]
        return Album(photos, other, tmp_path / "album.index")

    album("a.onnx", {}).update()
    assert album("b.onnx", {"side": DEFAULT_FRAMING["side"]}).update().unchanged == 5
    assert album("c.onnx", {"side": 3.5}).update().added == 5


def test_a_detector_needs_no_name(photos, tiny_model, tmp_path):
    class Nameless:
        def detect(self, image):
            return FixedDetector((0.1, 0.2, 0.3, 0.4)).detect(image)

    fer = Recognizer(tiny_model, detector=Nameless(), threads=1, vocabulary=TinyVocabulary())  # type: ignore[arg-type]
    assert len(Album(photos, fer, tmp_path / "album.index").search("proud")) == 5
    assert Album(photos, fer, tmp_path / "album.index").update().unchanged == 5


def test_broken_photos_are_told_each_time_but_read_once(photos, fer, detector, tmp_path):
    index = tmp_path / "album.index"
    (photos / "bad.png").write_bytes((photos / "0.png").read_bytes()[:200])
    for _ in range(2):
        changes = Album(photos, fer, index).update()
        assert [Path(source).name for source in changes.failed] == ["bad.png"]
        assert "bad.png" in next(iter(changes.failed.values()))
    assert detector.seen == 5
    shutil.copy(photos / "0.png", photos / "bad.png")
    assert Album(photos, fer, index).update().failed == {}


def test_a_folder_that_may_not_be_read_is_told_each_time(photos, fer, lock, tmp_path):
    lock(photos / "sub")
    for paths in (photos, [photos, photos / "sub"]):
        album = Album(paths, fer, tmp_path / "album.index", recursive=True)
        for _ in range(2):
            failed = album.update().failed
            assert list(failed) == [str(photos / "sub")]
            assert "Permission denied" in failed[str(photos / "sub")]
        assert len(album.search("proud", top=None)) == 10
    with pytest.raises(FacelexError, match=r"Could not open .*: Permission denied"):
        Album(photos / "sub", fer)


def test_ctrl_c_keeps_what_was_read(photos, fer, detector, tmp_path):
    def progress(done, total):
        assert total == 5
        if done == 3:
            raise KeyboardInterrupt

    index = tmp_path / "album.index"
    album = Album(photos, fer, index)
    assert album.update(progress).interrupted
    assert len(album.search("proud", top=None)) == 6
    assert Album(photos, fer, index).update().unchanged == 3


@pytest.mark.parametrize("content", [b"", b"no index", b"PK\x03\x04" + bytes(300)])
def test_a_file_that_is_no_index_is_refused_and_left_alone(photos, fer, tmp_path, content):
    index = tmp_path / "notes.txt"
    index.write_bytes(content)
    for rebuild in (False, True):
        with pytest.raises(FacelexError, match="Expected an index"):
            Album(photos, fer, index, rebuild=rebuild)
    assert index.read_bytes() == content
    with pytest.raises(FacelexError, match="got the photo"):
        Album(photos, fer, photos / "0.png")


def test_a_damaged_index_is_named(photos, fer, tmp_path):
    index = tmp_path / "album.index"
    Album(photos, fer, index).update()
    with np.load(index) as archive:
        arrays = dict(archive)
    arrays["boxes"] = arrays["boxes"][:-3]
    with index.open("wb") as stream:
        np.savez(stream, **arrays)
    with pytest.raises(FacelexError, match="is damaged"):
        Album(photos, fer, index)


def write_head(path: Path, head: object) -> Path:
    with path.open("wb") as stream:
        np.savez(stream, head=np.frombuffer(json.dumps(head).encode(), np.uint8))
    return path


def test_a_folder_or_a_file_one_may_not_read_is_never_to_be_deleted(photos, fer, tmp_path, monkeypatch):
    with pytest.raises(FacelexError, match="is a folder") as folder:
        Album(photos, fer, tmp_path)
    index = tmp_path / "album.index"
    Album(photos, fer, index).update()

    def refuse(self, *_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(FacelexError, match=r"Could not read the index '.*': Permission denied") as locked:
        Album(photos, fer, index)
    assert "elete" not in f"{folder.value} {locked.value}"


@pytest.mark.skipif(os.name != "posix", reason="pipes of POSIX")
def test_a_pipe_is_no_index(photos, fer, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FacelexError, match=r"for the index, but .* is not a regular file\. Name a file"):
        Album(photos, fer, tmp_path / "pipe")


def test_what_may_be_someone_elses_file_is_not_simply_to_be_deleted(photos, fer, tmp_path):
    notes = tmp_path / "notes.txt"
    notes.write_text("mine")
    for file in (
        notes,
        write_head(tmp_path / "a.npz", {"kind": "other"}),
        write_head(tmp_path / "b.npz", []),
    ):
        with pytest.raises(FacelexError, match="Name another file, or delete this one if you know"):
            Album(photos, fer, file)


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ({"kind": KIND}, "is damaged. Delete it"),
        ({"kind": KIND, "format": FORMAT}, "is damaged. Delete it"),
        ({"kind": KIND, "format": FORMAT + 1}, "written by another version of facelex. Delete it"),
    ],
)
def test_an_index_of_another_version_or_without_its_parts_is_named(photos, fer, tmp_path, head, message):
    with pytest.raises(FacelexError, match=message):
        Album(photos, fer, write_head(tmp_path / "album.index", head))


def test_an_index_may_be_empty(photos, fer, tmp_path):
    index = tmp_path / "album.index"
    Album(photos / "sub", fer, index).update()
    (photos / "sub" / "5.jpg").rename(photos / "sub" / "6.jpg")
    album = Album(photos / "sub", fer, index)
    album._index.forget_missing()
    album._save()
    assert Album(photos / "sub", fer, index).update().added == 1


def test_small_faces_can_be_left_out(photos, fer):
    album = Album(photos, fer)
    assert len(album.search("proud", top=None, min_size=50)) == 5  # 64x60, not 48x48
    assert album.search("proud", min_size=500) == []


def test_an_album_without_faces_has_no_match(photos, tiny_model):
    blind = Recognizer(tiny_model, detector=FixedDetector(), threads=1, vocabulary=TinyVocabulary())  # type: ignore[arg-type]
    assert Album(photos, blind).search("proud") == []
    assert draw_contact_sheet([], "proud").size[0] > 500


def test_what_cannot_be_searched_is_refused_before_photos_are_read(photos, fer, detector, wordless_model):
    album = Album(photos, fer)
    for words, top, message in (("x1", 5, "No vector"), ("", 5, "empty"), ("proud", 0, "top to be 1")):
        with pytest.raises(FacelexError, match=message):
            album.search(words, top)
    with pytest.raises(FacelexError, match="trained with words"):
        Album(photos, Recognizer(wordless_model, detector=detector, threads=1))
    for address in ("https://example.org/a.jpg", "data:image/png;base64,AAAA"):
        with pytest.raises(FacelexError, match="got an address"):
            Album([photos, address], fer)
    with pytest.raises(FacelexError, match="No such file"):
        Album(photos / "gone.png", fer)
    assert detector.seen == 0


def test_a_photo_named_twice_is_searched_once(photos, fer, monkeypatch):
    monkeypatch.chdir(photos)
    assert len(Album(["0.png", photos / "0.png", "./0.png"], fer).search("proud")) == 2


@pytest.mark.skipif(sys.platform == "win32", reason="names that Windows does not have")
def test_a_contact_sheet_shows_whatever_a_file_is_called(photos, fer):
    odd = photos / "a\nb\x1cc\u2029d.png"
    (photos / "0.png").rename(odd)
    matches = [match for match in Album(photos, fer).search("proud", top=None) if match.source == str(odd)]
    assert matches
    assert draw_contact_sheet(matches, "proud").size[0] > 3 * TILE


def test_a_contact_sheet_shows_each_face_and_covers_it_if_asked(photos, fer, tmp_path):
    matches = Album(photos, fer).search("proud", top=4)
    plain = np.asarray(draw_contact_sheet(matches, "proud"))
    hidden = np.asarray(draw_contact_sheet(matches, "proud", redact="pixelate"))
    assert plain.shape == hidden.shape
    assert plain.shape[1] > 3 * TILE
    changed = (plain != hidden).any(axis=2)
    assert changed.mean() > 0.1
    save_contact_sheet(str(tmp_path / "new" / "sheet.png"), matches, "proud")
    assert Image.open(tmp_path / "new" / "sheet.png").size == plain.shape[1::-1]
    with pytest.raises(
        FacelexError,
        match=r"named .png, .jpg, .* Name it sheet.png instead",
    ):
        save_contact_sheet(tmp_path / "sheet.xyz", matches, "proud")
    assert not list(tmp_path.glob(".sheet*"))


def test_a_redacted_tile_covers_the_neighbours_of_its_face_too(tiny_model, tmp_path):
    noise = np.random.default_rng(9).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "pair.png")
    beside = FixedDetector((0.1, 0.3, 0.3, 0.4), (0.47, 0.3, 0.06, 0.4))  # the second one is narrow
    fer = Recognizer(tiny_model, detector=beside, threads=1, vocabulary=TinyVocabulary())  # type: ignore[arg-type]
    matches = Album(tmp_path / "pair.png", fer).search("proud", min_size=60)
    assert [match.number for match in matches] == [0]
    plain, hidden = (
        np.asarray(draw_contact_sheet(matches, "proud", redact=style).crop((20, 96, 240, 316)), float)
        for style in (None, "pixelate")
    )
    scale = TILE / 204  # the tile shows a square of 1.7 times the face's 120 pixels, from (0, 48) on
    rows, columns = (slice(round(a * scale), round(b * scale)) for a, b in ((92 - 48, 208 - 48), (189, 203)))
    assert plain[rows, columns].std() > 20
    assert abs(np.corrcoef(plain[rows, columns].ravel(), hidden[rows, columns].ravel())[0, 1]) < 0.3


def test_a_sheet_of_many_faces_grows_no_longer_than_its_format_and_stops_at_a_thousand(
    photos, fer, tmp_path, monkeypatch
):
    drawn: list[tuple[int, int]] = []
    monkeypatch.setattr(contact_sheet, "_draw_card", lambda sheet, corner, *_: drawn.append(corner))
    matches = Album(photos, fer).search("proud", top=1) * 301
    save_contact_sheet(tmp_path / "sheet.webp", matches, "proud")
    width, height = Image.open(tmp_path / "sheet.webp").size
    assert len(set(drawn)) == 301
    assert all(left + TILE < width and top + TILE < height for left, top in drawn)
    drawn.clear()
    draw_contact_sheet(matches * 4, "proud")
    assert len(drawn) == 1000


def test_a_photo_that_has_gone_leaves_its_place_on_the_sheet(photos, fer):
    matches = Album(photos, fer).search("proud", top=2)
    size = draw_contact_sheet(matches, "proud").size
    Path(matches[0].source).unlink()
    assert draw_contact_sheet(matches, "proud").size == size


@pytest.fixture
def run(tiny_model, detector, monkeypatch, capsys):
    """Run ``search`` with the tiny model; returns exit code, stdout and stderr."""
    monkeypatch.setattr(faces_module, "create_detector", lambda name, model=None, **_: detector)
    monkeypatch.setattr(
        recognizer_module.Recognizer,
        "_vocabulary",
        property(lambda self: TinyVocabulary(), lambda self, value: None),
        raising=False,
    )

    def call(*arguments: object) -> tuple[int, str, str]:
        code = main(["search", *map(str, arguments), "--model", str(tiny_model)])
        return code, *capsys.readouterr()

    return call


def test_the_command_prints_the_best_faces(run, photos):
    code, out, err = run("delighted", photos, "--top", "3")
    assert (code, err) == (0, "")
    assert sum(".png" in line for line in out.splitlines()) == 3
    code, out, _ = run("delighted, proud", photos, "--format", "json", "-r")
    records = json.loads(out)
    assert len(records) == 12
    assert set(records[0]) == {"rank", "score", "source", "face", "box", "emotion", "words"}
    code, out, _ = run("delighted", photos, "--format", "csv")
    rows = list(csv.DictReader(out.splitlines()))
    assert [row["rank"] for row in rows] == [str(i) for i in range(1, 11)]
    assert float(rows[0]["word:delighted"]) == float(rows[0]["score"])


def test_a_sheet_that_could_not_be_written_is_refused_before_photos_are_read(run, photos, detector, tmp_path):
    code, out, err = run("delighted", photos, "--sheet", tmp_path / "best.txt")
    assert (code, out, detector.seen) == (2, "", 0)
    assert "Name it best.png instead" in " ".join(err.split())


@pytest.mark.parametrize("top", [0, -1])
def test_no_face_asked_for_is_refused_before_photos_are_read(run, photos, detector, top):
    code, out, err = run("delighted", photos, "--top", top)
    assert (code, out, detector.seen) == (2, "", 0)
    assert f"--top to be 1 or more, but got {top}" in " ".join(err.split())


def test_the_command_reports_broken_photos_with_exit_code_1(run, photos):
    (photos / "bad.png").write_bytes(b"\x89PNG nothing")
    code, out, err = run("delighted", photos, "--format", "json")
    assert code == 1
    assert "bad.png" in err
    assert set(json.loads(out)[-1]) == {"source", "error"}


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such names")
def test_the_command_writes_out_control_characters_of_names(run, photos):
    (photos / "0.png").rename(photos / "\x1b[31mgood.png")
    (photos / "\x1b[31mbad.png").write_bytes(b"\x89PNG nothing")
    _, out, err = run("delighted", photos)
    assert "\x1b" not in out + err
    assert "\\x1b[31mgood.png" in out
    assert "\\x1b[31mbad.png" in err
    _, out, _ = run("delighted", photos, "--format", "csv")
    assert any(row["source"].endswith("\x1b[31mgood.png") for row in csv.DictReader(out.splitlines()))


def test_the_command_keeps_an_index_and_writes_a_sheet(run, photos, detector, tmp_path):
    sheet, index = tmp_path / "sheet.png", tmp_path / "i.index"
    assert run("delighted", photos, "--index", index, "--sheet", sheet, "--redact")[0] == 0
    assert run("bored", photos, "--index", index)[0] == 0
    assert detector.seen == 5
    assert Image.open(sheet).width > 500


def test_the_command_says_once_how_many_other_photos_the_index_loses(run, disks):
    options = ("-r", "--format", "csv", "--index", disks / "i.index")
    for folder, crops, said in (
        ("a", ["--no-detect"], "2 other files"),
        ("a/photos/0.png", [], "1 other file"),
    ):
        code, _, err = run("delighted", disks / folder, *options, *crops)
        assert code == 0
        assert err.startswith(f"facelex: {said} dropped from the index")
        assert run("delighted", disks / folder, *options, *crops)[::2] == (0, "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["delighted"], "Name a folder"),
        (["delighted", "nowhere"], "No such file"),
        (
            ["delighted", "my film.mp4", "--no-videos"],
            "found the video 'my film.mp4' alone. To search videos, leave out --no-videos",
        ),
        (
            ["delighted", "films", "--no-videos"],
            f"found the video 'films{os.sep}a.mp4' alone. To search videos, leave out --no-videos "
            "(videos=False). To look into its folders too, add --recursive",
        ),
        (["delighted", "film?/*.mp4", "b.mp4", "--no-videos"], "2 videos, such as 'films"),
        (["delighted", "none"], "Expected pictures or videos in the folder 'none', but it holds none. To"),
        (["delighted", "none", "--no-videos"], "in the folder 'none', but it holds none. To look"),
        (["delighted", "album", "--no-videos", "--every", "1"], "--every without --no-videos"),
        (["delighted", "films", "--every", "-1"], "every in seconds, 0 or more, but got -1.0"),
        (["delighted", "my film.mp4"], "No such file: 'my film.mp4'"),
        (["delighted", "webcam:0"], "but got the camera 'webcam:0'. Record it first"),
        (["delighted", "album", "--redact"], "--sheet"),
        (["delighted", "album", "--rebuild"], "--index"),
        (["x1", "album"], "No vector"),
        (["delighted", "album", "--sheet", "album/0.png"], "would replace"),
        (["delighted", "album", "--index", "album/0.png"], "got the photo"),
    ],
)
def test_the_command_refuses_with_a_sentence(run, photos, monkeypatch, arguments, message):
    monkeypatch.chdir(photos.parent)
    (photos.parent / "films").mkdir()
    (photos.parent / "films" / "a.mp4").touch()
    (photos.parent / "none").mkdir()
    before = (photos / "0.png").read_bytes()
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert message in " ".join(err.split())
    assert (photos / "0.png").read_bytes() == before


@pytest.mark.parametrize("films", ["films", "films/*", "films/a.mp4"])
def test_the_command_leaves_out_the_videos_it_is_told_to_wherever_they_lie(run, photos, monkeypatch, films):
    monkeypatch.chdir(photos.parent)
    (photos.parent / "films").mkdir()
    (photos.parent / "films" / "a.mp4").touch()  # no video at all: reading it would be told
    code, out, err = run("delighted", films, "album", "--no-videos", "--format", "json")
    assert (code, err) == (0, "")
    assert {Path(record["source"]).parent.name for record in json.loads(out)} == {"album"}


def test_an_album_without_videos_that_has_lost_its_photos_is_empty(photos, fer):
    (photos / "film.mp4").touch()
    album = Album(photos, fer, videos=False)
    assert len(album.search("proud", top=None)) == 10
    for photo in photos.glob("*.png"):
        photo.unlink()
    assert counts(album.update()) == (0, 0, 5, 0)
    assert album.search("proud") == []


def test_the_sheet_never_replaces_what_the_search_needs(run, photos, tmp_path):
    index = tmp_path / "index.png"
    assert run("delighted", photos, "--index", index)[0] == 0
    before = index.read_bytes()
    code, _, err = run("delighted", photos, "--index", index, "--sheet", index)
    assert code == 2
    assert "would replace a file that the search needs" in err
    assert index.read_bytes() == before
    code, _, err = run("delighted", photos, "--sheet", tmp_path / "s.png", "--redact-style", "blur")
    assert code == 2
    assert "Expected --redact with --redact-style" in err


def test_a_photo_that_could_not_be_read_is_tried_again(photos, fer, tmp_path):
    """What it takes may have come since: a plugin, a permission."""
    path = next(photos.glob("*.png"))
    whole, status = path.read_bytes(), path.stat()
    path.write_bytes(bytes(len(whole)))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    index = tmp_path / "album.index"
    assert list(Album(photos, fer, index).update().failed) == [str(path)]
    path.write_bytes(whole)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    changes = Album(photos, fer, index).update()
    assert (changes.failed, changes.changed) == ({}, 1)
