"""Reading frames: sampling, seeking past what is not needed, rotation, damaged files, cameras."""

from __future__ import annotations

import itertools
import sys
import threading
import time as clock
from contextlib import suppress
from fractions import Fraction
from types import SimpleNamespace

import av
import numpy as np
import pytest
from av.video.stream import VideoStream
from drawn_video import HEIGHT, SIDE, WIDTH, overwrite_the_middle, still, write_video

from facelex.errors import FacelexError
from facelex.recognize.frames import (
    FrameReader,
    _displayed,
    _Newest,
    _OnwardTimes,
    camera_input,
    camera_number,
)
from facelex.recognize.sources import is_camera, is_video


def moving(time: float) -> list[tuple[int, int]]:
    return [(int(8 * time) % 90, 30)]


def read(path, every, **options):
    with FrameReader(path) as reader:
        return [
            (f.index, round(f.time, 3), f.due, f.pixels()) for f in reader.frames(every, **options)
        ], reader


@pytest.mark.parametrize("every", [0.0, 0.25, 0.5, 1.3, 4.0, 60.0])
@pytest.mark.parametrize(
    ("suffix", "codec", "b_frames", "gop"),
    [
        (".mp4", "libx264", 0, 10),
        (".mp4", "libx264", 3, 25),
        (".mkv", "libx264", 2, 200),
        (".ts", "libx264", 0, 15),
        (".mpg", "mpeg2video", 2, 12),
        (".avi", "mpeg4", 2, 12),
    ],
)
def test_skipping_gives_the_very_frames_that_reading_all_gives(tmp_path, every, suffix, codec, b_frames, gop):
    rate = 10 if codec == "libx264" else 25
    path = write_video(
        tmp_path / f"a{suffix}", moving, seconds=80 / rate, rate=rate, gop=gop, b_frames=b_frames, codec=codec
    )
    everything, _ = read(path, every, all_frames=True)
    quick, reader = read(path, every)
    assert reader.damaged == 0
    due = [frame for frame in everything if frame[2]]
    assert len(everything) == 80
    assert [frame[:2] for frame in quick] == [frame[:2] for frame in due]
    for one, other in zip(quick, due):
        np.testing.assert_array_equal(one[3], other[3])


def test_frames_come_at_the_spacing_asked_for(tmp_path):
    path = write_video(tmp_path / "a.mp4", moving, seconds=2)
    frames, _ = read(path, 0.5)
    assert [(index, time) for index, time, *_ in frames] == [(0, 0.0), (5, 0.5), (10, 1.0), (15, 1.5)]
    with FrameReader(path) as reader:
        assert reader.duration == pytest.approx(2.0, abs=0.05)
        assert reader.rate == pytest.approx(10, rel=0.1)


@pytest.mark.parametrize("every", [0.0, 0.2])
@pytest.mark.parametrize("sound", [False, 2, 4])
def test_parts_joined_end_to_end_follow_each_other(tmp_path, every, sound):
    part = write_video(tmp_path / "part.ts", still((10, 10)), seconds=3, sound=sound)
    joined = tmp_path / "joined.ts"
    joined.write_bytes(part.read_bytes() * 3)
    packets: list = []
    with FrameReader(joined) as reader:
        times = [frame.time for frame in reader.frames(every, sound=packets)]
        assert reader.complaint(ended=True) is None
    assert abs(len(times) - 3 * (15 if every else 30)) <= 2
    assert np.all(np.diff(times) > 0.05)
    assert 8.5 < times[-1] < 11.5  # of a part whose sound is longer the picture waits for its end
    stamps = [packet.dts for packet in packets]
    assert stamps == sorted(stamps)
    assert bool(stamps) == bool(sound)


def packet_at(stamp: float | None, stream: int = 0, *, pts: float | None = None) -> SimpleNamespace:
    """A packet of a stream whose stamps are in thousandths of a second."""
    dts = None if stamp is None else round(1000 * stamp)
    shown = dts if pts is None else round(1000 * pts)
    base = Fraction(1, 1000)
    return SimpleNamespace(
        stream=SimpleNamespace(index=stream), dts=dts, pts=shown, time_base=base, duration=100
    )


def test_times_go_on_over_damage_and_parts_that_lack_a_stream():
    times = _OnwardTimes(0.1)

    def corrected(*args, **kwargs) -> float:
        packet = packet_at(*args, **kwargs)
        times.correct(packet)
        return packet.pts / 1000

    assert [corrected(stamp) for stamp in (0.0, 0.1, 900.0, 0.3, 0.4)] == [0.0, 0.1, 900.0, 0.3, 0.4]
    times = _OnwardTimes(0.1)
    assert [corrected(stamp) for stamp in (5.0, 5.1, 5.2)] == [5.0, 5.1, 5.2]
    assert corrected(5.0, 1) == 5.0
    assert [corrected(stamp) for stamp in (0.0, 0.1)] == [5.3, 5.4]  # the second part has no sound
    assert corrected(None, pts=0.2) == 5.5
    assert [corrected(stamp) for stamp in (-2.0, -1.9)] == [5.6, 5.7]
    assert corrected(-2.0, 1) == 5.6  # the third has


def test_a_title_need_not_be_utf_8(tmp_path):
    path = write_video(tmp_path / "a.avi", moving, seconds=0.5, codec="mpeg4", title="Film über uns")
    path.write_bytes(path.read_bytes().replace("ü".encode(), b"\xfc\xfc"))
    assert len(read(path, 0.0)[0]) == 5


def test_groups_without_a_due_frame_are_not_decoded(tmp_path, monkeypatch):
    path = write_video(tmp_path / "a.mp4", moving, seconds=20, gop=10)
    decoded = []
    pictures = FrameReader._pictures
    monkeypatch.setattr(
        FrameReader, "_pictures", lambda self, packet: decoded.append(1) or pictures(self, packet)
    )
    frames, _ = read(path, 5.0)
    assert [time for _, time, *_ in frames] == [0.0, 5.0, 10.0, 15.0]
    assert len(decoded) < 60  # of 200


def test_a_variable_frame_rate_is_read_by_its_times(tmp_path):
    times = [0.0, 0.1, 0.2, 1.0, 1.01, 1.02, 2.5]
    path = write_video(tmp_path / "a.mkv", moving, times=times)
    frames, _ = read(path, 0.5)
    assert [time for _, time, *_ in frames] == pytest.approx([0.0, 1.0, 2.5])
    assert [index for index, *_ in frames] == [0, 3, 6]


@pytest.mark.skipif(not hasattr(VideoStream, "set_display_rotation"), reason="PyAV writes it from 18 on")
@pytest.mark.parametrize("rotation", [90, 180, -90])
def test_the_rotation_a_phone_writes_is_honoured(tmp_path, rotation):
    path = write_video(tmp_path / "a.mp4", still((0, 0)), seconds=0.3, rotation=rotation)
    (first, *_), _ = read(path, 0.0)
    bright = first[3].mean(axis=2) > 120
    height, width = bright.shape
    assert (width, height) == ((WIDTH, HEIGHT) if rotation == 180 else (HEIGHT, WIDTH))
    # the square of the upper left corner turns counter-clockwise by the angle
    rows, columns = {90: (-SIDE, 0), 180: (-SIDE, -SIDE), -90: (0, -SIDE)}[rotation]
    rows, columns = rows % height, columns % width
    assert bright[rows : rows + SIDE, columns : columns + SIDE].mean() > 0.95
    assert bright.sum() == pytest.approx(SIDE * SIDE, rel=0.1)


@pytest.mark.parametrize(
    "matrix",
    [(a, 0, 0, d) for a, d in itertools.product((-1, 1), repeat=2)]
    + [(0, b, c, 0) for b, c in itertools.product((-1, 1), repeat=2)],
)
def test_mirrored_and_turned_pictures_are_shown_as_the_matrix_says(matrix):
    a, b, c, d = matrix
    pixels = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)
    shown = _displayed(pixels, np.array([a, b, 0, c, d, 0, 7, 9, 1], np.int32).tobytes())
    places = {(a * p + c * q, b * p + d * q): pixels[q, p] for q in range(4) for p in range(6)}
    left, top = min(x for x, _ in places), min(y for _, y in places)
    assert shown.shape == ((6, 4, 3) if a == 0 else (4, 6, 3))
    for (x, y), colour in places.items():
        assert shown[y - top, x - left].tolist() == colour.tolist()


def test_pixels_that_are_not_square_are_stretched(tmp_path):
    path = write_video(tmp_path / "a.mp4", still((20, 30)), seconds=0.3, pixel_aspect=Fraction(3, 2))
    (first, *_), _ = read(path, 0.0)
    assert first[3].shape == (HEIGHT, WIDTH * 3 // 2, 3)
    bright = first[3].mean(axis=2) > 120
    assert np.flatnonzero(bright.any(axis=0))[[0, -1]] == pytest.approx([30, 65], abs=2)


def test_a_file_cut_short_gives_what_is_there(tmp_path):
    whole = write_video(tmp_path / "a.mkv", moving, seconds=6)
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    frames, _ = read(cut, 0.0)
    assert 15 < len(frames) < 60
    assert [index for index, *_ in frames] == list(range(len(frames)))


def test_damage_in_the_middle_is_counted_and_passed_over(tmp_path):
    path = write_video(tmp_path / "bad.mkv", moving, seconds=6)
    overwrite_the_middle(path, 600)
    frames, reader = read(path, 0.0)
    assert frames[-1][1] > 4.0  # what comes behind the damage is read
    assert len(frames) < 60 or reader.damaged


def test_a_frame_that_is_decoded_only_in_part_is_counted_and_given(tmp_path):
    path = write_video(tmp_path / "bad.mkv", moving, seconds=6)
    overwrite_the_middle(path, 60)
    frames, reader = read(path, 0.0)
    assert (len(frames), reader.damaged, reader.fault) == (60, 1, None)


@pytest.mark.parametrize(("every", "all_frames"), [(0.0, False), (5.0, False), (60.0, False), (5.0, True)])
def test_the_end_is_that_of_the_last_frame_whatever_the_spacing(tmp_path, every, all_frames):
    path = write_video(tmp_path / "a.mp4", moving, seconds=10)
    assert read(path, every, all_frames=all_frames)[1].end == pytest.approx(9.9)


def complaint_of(path, **options) -> str | None:
    with FrameReader(path) as reader:
        for _ in reader.frames(0.5, **options):
            pass
        return reader.complaint(ended=True)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
@pytest.mark.parametrize("sound", [2, 5, 20])
def test_a_whole_file_may_hold_more_or_less_sound_than_picture(tmp_path, suffix, sound):
    path = write_video(tmp_path / f"a{suffix}", moving, seconds=5, sound=sound)
    assert [complaint_of(path), complaint_of(path, sound=[])] == [None, None]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_the_last_frame_may_stand_for_long(tmp_path, suffix):
    path = write_video(tmp_path / f"a{suffix}", moving, seconds=5, last_frame=20.0)
    assert complaint_of(path) is None
    with FrameReader(path) as reader:
        assert reader.duration == pytest.approx(24.9)


@pytest.mark.parametrize(("suffix", "sound"), [(".mkv", 10), (".mkv", 30), (".mp4", 10), (".mp4", 30)])
def test_a_file_cut_short_is_noticed_whatever_its_sound(tmp_path, suffix, sound):
    path = write_video(tmp_path / f"a{suffix}", moving, seconds=10, sound=sound, index_first=True)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert "but ends at" in complaint_of(path)
    assert "but ends at" in complaint_of(path, sound=[])


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi", ".ts"])
def test_random_damage_gives_frames_or_a_sentence_nothing_else(tmp_path, suffix):
    codec = "mpeg4" if suffix == ".avi" else "libx264"
    whole = write_video(tmp_path / f"a{suffix}", moving, seconds=1, codec=codec).read_bytes()
    rng = np.random.default_rng(0)
    for round_ in range(25):
        data = bytearray(whole[: rng.integers(1, len(whole) + 1)] if round_ % 2 else whole)
        for place in rng.integers(0, len(data), rng.integers(1, 40)):
            data[place] = rng.integers(256)
        path = tmp_path / f"bad{suffix}"
        path.write_bytes(data)
        with suppress(FacelexError):  # anything else is a bug
            frames, _ = read(path, 0.3)
            assert all(time >= 0 for _, time, *_ in frames)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: folder, "is a folder"),
        (lambda folder: "https://example.org/film.mp4", "the address 'https.*Download it first"),
        (lambda folder: folder / "flim.mp4", "Did you mean 'film.mp4'"),
        (lambda folder: folder / "text.mp4", "Could not read"),
        (lambda folder: folder / "empty.mp4", "Could not read"),
        (lambda folder: folder / "sound.m4a", "no moving picture"),
    ],
)
def test_what_is_no_video_is_refused_with_a_reason(tmp_path, make, message):
    write_video(tmp_path / "film.mp4", moving, seconds=0.2)
    (tmp_path / "text.mp4").write_text("not a film\n" * 50)
    (tmp_path / "empty.mp4").write_bytes(b"")
    with av.open(str(tmp_path / "sound.m4a"), "w", format="mp4") as container:
        voice = container.add_stream("aac", rate=16000)
        tone = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        tone.sample_rate = 16000
        container.mux(voice.encode(tone))
        container.mux(voice.encode(None))
    with pytest.raises(FacelexError, match=message):
        FrameReader(make(tmp_path))


def test_a_playlist_cannot_lead_to_the_network(tmp_path):
    (tmp_path / "list.mp4").write_text("#EXTM3U\n#EXTINF:5,\nhttp://198.51.100.7/a.ts\n#EXT-X-ENDLIST\n")
    with pytest.raises(FacelexError, match=r"Could not read|no moving picture"):
        FrameReader(tmp_path / "list.mp4")


def test_cameras_are_named_by_number():
    assert is_camera("webcam:0")
    assert is_camera("Webcam:0")
    assert not is_camera("film.mp4")
    assert [name for name in ("WEBCAM:0", "a/film.MP4", "a.mkv", "mp4", "a.jpg") if is_video(name)] == [
        "WEBCAM:0", "a/film.MP4", "a.mkv",
    ]  # fmt: skip
    assert camera_number("webcam:2") == 2
    for wrong in ("webcam:", "webcam:front", "webcam:-1", "webcam:1.5", "webcam:²"):
        with pytest.raises(FacelexError, match="Expected a camera as webcam:0"):
            camera_number(wrong)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux's device names")
def test_a_camera_that_is_not_there_is_said_to_be_missing():
    with pytest.raises(FacelexError, match="There is no camera webcam:97"):
        FrameReader("webcam:97")


def test_each_system_gets_its_own_kind_of_camera_input():
    class Camera:
        name, description, media_types = "cam one", "Camera", ["video"]

    class Microphone:
        name, description, media_types = "mic", "Microphone", ["audio"]

    class Device:
        @staticmethod
        def enumerate_input_devices(kind):
            assert kind == "dshow"
            return [Microphone, Camera]

    class Av:
        device = Device

    assert camera_input(Av, 1, "darwin")[:2] == ("1", "avfoundation")
    assert camera_input(Av, 0, "win32")[:2] == ("video=cam one", "dshow")
    with pytest.raises(FacelexError, match=r"no camera webcam:1. There is: Camera"):
        camera_input(Av, 1, "win32")


def test_a_slow_consumer_of_a_camera_sees_the_newest_picture():
    shown = threading.Semaphore(0)

    def camera():
        for i in range(1000):
            yield i
            shown.release()
            clock.sleep(0.002)

    newest = _Newest(camera())
    seen = []
    for index, picture in newest:
        assert index == picture
        seen.append(picture)
        clock.sleep(0.05)
        if len(seen) == 5:
            break
    assert newest.stop()
    assert seen == sorted(set(seen))
    assert seen[-1] >= 8  # frames in between were passed over, not queued


def test_a_camera_that_fails_ends_with_its_fault():
    def camera():
        yield 0
        raise OSError(19, "No such device")

    newest = _Newest(camera())
    assert [index for index, _ in newest] in ([0], [])
    assert newest.fault == "No such device"


@pytest.mark.parametrize("gop", [5, 25, 200])
def test_frames_at_some_times_are_the_very_frames_of_an_earlier_reading(tmp_path, gop):
    path = write_video(tmp_path / "a.mp4", moving, seconds=8.0, gop=gop, b_frames=2)
    everything, _ = read(path, 0.0)
    wanted = [everything[i] for i in (0, 3, 41, 42, 79)]
    with FrameReader(path) as reader:
        found = [
            (f.index, f.time, f.pixels()) for f in reader.frames_at(time for _, time, *_ in wanted[::-1])
        ]
    assert [index for index, *_ in found] == [index for index, *_ in wanted]
    for (_, _, pixels), (*_, expected) in zip(found, wanted):
        np.testing.assert_array_equal(pixels, expected)


def test_a_time_without_a_frame_gives_the_next_one_and_one_after_the_end_none(tmp_path):
    path = write_video(tmp_path / "a.mp4", moving, seconds=1.0)
    with FrameReader(path) as reader:
        assert [round(frame.time, 3) for frame in reader.frames_at([0.25, 7.0])] == [0.3]
