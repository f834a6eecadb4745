"""predict_many: order, broken files, batches, and a bounded number of pictures in work."""

from __future__ import annotations

import io
import re
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageSequence
from tiny_recognition import FixedDetector

from facelex.errors import FacelexError
from facelex.recognize.recognizer import Recognizer


def pictures(count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(11)
    return [rng.integers(0, 256, (30 + i, 40, 3), dtype=np.uint8) for i in range(count)]


def test_results_come_in_order_and_equal_single_predictions(recognizer):
    images = pictures(23)
    results = list(recognizer.predict_many(images, batch_size=4, workers=3, words="bored"))
    assert [result.source for result in results] == [f"array {i}" for i in range(23)]
    assert [result.height for result in results] == [image.shape[0] for image in images]
    for image, result in zip(images, results):
        for one, other in zip(recognizer.predict(image, words="bored"), result.faces, strict=True):
            assert one.box == other.box
            assert list(one.probabilities.values()) == pytest.approx(
                list(other.probabilities.values()), abs=1e-5
            )
            assert one.words == pytest.approx(other.words, abs=1e-5)


@pytest.mark.parametrize("form", ["array", "float array", "tensor", "bytearray", "memoryview"])
def test_a_buffer_that_is_filled_again_for_each_picture_gives_each_pictures_faces(recognizer, form):
    images = [image[:30] for image in pictures(40)]
    buffer = np.zeros_like(images[0], np.float64 if form == "float array" else np.uint8)
    encoded = [as_bmp(image) for image in images]
    octets = bytearray(encoded[0])
    tensor = type(
        "Tensor", (), {"__array__": lambda self, dtype=None, copy=None: np.array(buffer, copy=copy)}
    )

    def camera():
        for image, data in zip(images, encoded):
            buffer[:] = image / 255 if form == "float array" else image
            octets[:] = data
            yield {"bytearray": octets, "memoryview": memoryview(octets), "tensor": tensor()}.get(
                form, buffer
            )

    results = list(recognizer.predict_many(camera(), workers=3, keep_images=True))
    for image, result in zip(images, results, strict=True):
        np.testing.assert_array_equal(result.image, image)
        assert [face.probabilities for face in result.faces] == [
            pytest.approx(face.probabilities, abs=1e-5) for face in recognizer.predict(image)
        ]


def pasted(paths):
    picture = Image.new("RGB", (40, 30))
    for path in paths:
        picture.paste(Image.open(path))
        yield picture


def frames_of_one_file(paths):
    first, *others = map(Image.open, paths)
    film = paths[0].with_suffix(".tif")
    first.save(film, save_all=True, append_images=others)
    with Image.open(film) as picture:
        yield from ImageSequence.Iterator(picture)


def opened_pictures(paths):
    for path in paths:
        with Image.open(path) as picture:
            yield picture


def opened_files(paths):
    for path in paths:
        with path.open("rb") as stream:
            yield stream


def filled_stream(paths):
    stream = io.BytesIO()
    for path in paths:
        stream.seek(0)
        stream.truncate()
        stream.write(path.read_bytes())
        stream.seek(0)
        yield stream


@pytest.mark.parametrize("inputs", [pasted, frames_of_one_file, opened_pictures, opened_files, filled_stream])
def test_what_is_another_picture_or_closed_a_moment_later_is_read_in_time(recognizer, tmp_path, inputs):
    images = [image[:30] for image in pictures(40)]
    paths = [tmp_path / f"{i}.png" for i in range(len(images))]
    for image, path in zip(images, paths):
        Image.fromarray(image).save(path)
    results = list(recognizer.predict_many(inputs(paths), workers=3, keep_images=True))
    for image, result in zip(images, results, strict=True):
        np.testing.assert_array_equal(result.image, image)
    if inputs in (opened_pictures, opened_files):
        assert [result.source for result in results] == [str(path) for path in paths]


def test_faults_of_pictures_and_files_are_those_of_each(recognizer, photo, save_picture, tmp_path):
    good = save_picture(photo, "good.png")
    (tmp_path / "bad.png").write_bytes(good.read_bytes()[:3000])
    (tmp_path / "empty.png").write_bytes(b"")

    def inputs():
        for name in ("good.png", "bad.png"):
            with Image.open(tmp_path / name) as picture:
                yield picture
        yield picture  # closed
        for name, mode in (("bad.png", "rb"), ("empty.png", "rb"), ("good.png", "r"), ("good.png", "rb")):
            with (tmp_path / name).open(mode) as stream:
                yield stream

    results = list(recognizer.predict_many(inputs()))
    assert [result.ok for result in results] == [True, False, False, False, False, False, True]
    messages = ("damaged", "file is closed", "bad.png.* damaged", "empty.png' is empty", "mode 'rb'")
    for message, result in zip(messages, results[1:-1], strict=True):
        assert re.search(message, result.error)


def test_paths_may_come_from_an_array_of_strings(recognizer, photo, save_picture):
    paths = np.array([str(save_picture(photo, name)) for name in ("a.png", "b.png")])
    expected = [result.faces for result in recognizer.predict_many(paths.tolist())]
    for given in (iter(paths), (path for path in paths), paths):
        results = list(recognizer.predict_many(given))
        assert [result.source for result in results] == paths.tolist()
        assert [result.faces for result in results] == expected


def test_a_picture_that_an_iterator_yields_is_turned_upright(recognizer, photo, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    for name in ("a.jpg", "a.png", "a.tif"):
        Image.fromarray(photo).save(tmp_path / name, exif=exif)
        with Image.open(tmp_path / name) as picture:
            (result,) = recognizer.predict_many(iter([picture]))
        assert (result.width, result.height) == photo.shape[:2]


def test_the_order_of_channels_is_not_turned_where_it_is_known(recognizer, photo):
    results = recognizer.predict_many(iter([Image.fromarray(photo), photo]), bgr=True, keep_images=True)
    picture, array = results
    assert "Leave bgr out" in picture.error
    np.testing.assert_array_equal(array.image, photo[:, :, ::-1])


def as_bmp(image: np.ndarray) -> bytes:
    """Encode uncompressed, so that every picture takes the same number of bytes."""
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "BMP")
    return stream.getvalue()


def test_what_cannot_be_copied_is_reported_beside_the_others(recognizer, photo):
    class OnAnotherDevice:
        def __array__(self, dtype=None, copy=None):
            raise TypeError("copy it to the host first")

    results = list(recognizer.predict_many(iter([photo, OnAnotherDevice(), photo])))
    assert [result.ok for result in results] == [True, False, True]
    assert "copy it to the host first" in results[1].error


def test_a_broken_file_is_reported_beside_the_others(recognizer, photo, save_picture, tmp_path):
    good = save_picture(photo, "good.png")
    (tmp_path / "bad.png").write_bytes(good.read_bytes()[:300])
    results = list(recognizer.predict_many([good, tmp_path / "bad.png", "gone.png", None, good]))
    assert [result.ok for result in results] == [True, False, False, False, True]
    assert "damaged" in results[1].error
    assert "No such file" in results[2].error
    assert results[1].faces == ()
    assert results[0] == replace(results[4], source=results[0].source)


def test_pictures_without_faces_and_with_many_mix_in_one_batch(tiny_model):
    class ByHeight:
        name = "by-height"

        def detect(self, image):
            return FixedDetector(*[(0.1, 0.1, 0.5, 0.5)] * (image.shape[0] % 5)).detect(image)

    recognizer = Recognizer(tiny_model, detector=ByHeight(), threads=1)
    counts = [len(result.faces) for result in recognizer.predict_many(pictures(12), batch_size=3)]
    assert counts == [(30 + i) % 5 for i in range(12)]


def test_faces_of_several_pictures_share_one_batch(recognizer, monkeypatch):
    sizes = []
    faces_of = Recognizer.faces_of
    monkeypatch.setattr(
        Recognizer,
        "faces_of",
        lambda self, found, crops, **kw: sizes.append(len(found)) or faces_of(self, found, crops, **kw),
    )
    list(recognizer.predict_many(pictures(20), batch_size=8))
    assert sizes == [8] * 5


def test_ten_thousand_pictures_are_never_all_in_memory(tiny_model):
    recognizer = Recognizer(tiny_model, detector=FixedDetector((0, 0, 1, 1)), threads=1)
    picture = np.zeros((48, 48, 3), np.uint8)
    drawn = 0

    def endless():
        nonlocal drawn
        for _ in range(10_000):
            drawn += 1
            yield picture

    seen = 0
    furthest = 0
    for _ in recognizer.predict_many(endless(), batch_size=16, workers=2):
        furthest = max(furthest, drawn - seen)
        seen += 1
    assert seen == drawn == 10_000
    assert furthest <= 3 * 16


def test_stopping_early_stops_reading(recognizer):
    drawn = 0

    def endless():
        nonlocal drawn
        while True:
            drawn += 1
            yield np.zeros((48, 48, 3), np.uint8)

    before = threading.active_count()
    results = recognizer.predict_many(endless(), batch_size=4, workers=2)
    for _ in range(5):
        next(results)
    results.close()
    for _ in range(100):
        if threading.active_count() <= before:
            break
        time.sleep(0.01)
    assert threading.active_count() <= before
    assert drawn <= 20


def test_decoding_goes_on_while_the_network_runs(recognizer, monkeypatch):
    """With 8 pictures of 20 ms decoding and batches of 20 ms inference, the two overlap."""
    from facelex.recognize import batches

    decoding_during_inference = []
    in_decoder = threading.Event()
    load = batches.load_image

    def slow_load(item, **kw):
        in_decoder.set()
        time.sleep(0.02)
        return load(item, **kw)

    faces_of = Recognizer.faces_of

    def slow_inference(self, found, crops, **kw):
        in_decoder.clear()
        decoding_during_inference.append(in_decoder.wait(0.2))
        return faces_of(self, found, crops, **kw)

    monkeypatch.setattr(batches, "load_image", slow_load)
    monkeypatch.setattr(Recognizer, "faces_of", slow_inference)
    list(recognizer.predict_many(pictures(16), batch_size=4, workers=2))
    assert decoding_during_inference[0]


def test_pixels_are_kept_on_request_with_less_read_ahead(recognizer):
    images = pictures(40)
    drawn = 0

    def count():
        nonlocal drawn
        for image in images:
            drawn += 1
            yield image

    for seen, result in enumerate(recognizer.predict_many(count(), keep_images=True)):
        np.testing.assert_array_equal(result.image, images[seen])
        assert drawn - seen <= 24
    assert next(recognizer.predict_many(images)).image is None


def test_folder_and_wrong_inputs(recognizer, photo, save_picture, tmp_path):
    for name in ("b.png", "a.png"):
        save_picture(photo, name)
    assert [r.source for r in recognizer.predict_many(tmp_path)] == [
        str(tmp_path / n) for n in ("a.png", "b.png")
    ]
    save_picture(photo, "sub/c.png")
    found = [r.source for r in recognizer.predict_many(tmp_path, recursive=True)]
    assert found == [str(tmp_path / n) for n in ("a.png", "b.png", "sub/c.png")]
    for one in (
        photo,
        b"bytes",
        bytearray(b"bytes"),
        memoryview(b"bytes"),
        3,
        (tmp_path / "a.png").open("rb"),
    ):
        with pytest.raises(FacelexError, match=r"\[image\]"):
            recognizer.predict_many(one)
    assert list(recognizer.predict_many([])) == []
    for name in ("batch_size", "workers"):
        for value in (0, "10", 2.5):
            with pytest.raises(FacelexError, match=f"Expected {name} to be a whole number, 1 or more, but g"):
                recognizer.predict_many([photo], **{name: value})
