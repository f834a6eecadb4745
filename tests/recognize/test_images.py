"""load_image and find_images: every form of picture, and a sentence for everything that is none."""

from __future__ import annotations

import base64
import io
import os
import struct
import urllib.parse
import urllib.request
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from facelex.errors import FacelexError
from facelex.recognize import images, sources
from facelex.recognize.images import load_image
from facelex.recognize.sources import find_images, find_media, source_name


def encoded(picture: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.fixture
def quarters() -> np.ndarray:
    """Red, green, blue and white quarters: every flip, turn or swap of channels shows."""
    pixels = np.zeros((24, 40, 3), np.uint8)
    pixels[:12, :20], pixels[:12, 20:], pixels[12:, :20] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    pixels[12:, 20:] = 255
    return pixels


def test_path_bytes_file_object_pil_and_array_agree(quarters, tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(quarters).save(path)
    with path.open("rb") as stream:
        forms = [
            path,
            str(path),
            path.read_bytes(),
            stream,
            Image.open(path),
            Image.fromarray(quarters),
            quarters,
        ]
        for form in forms:
            np.testing.assert_array_equal(load_image(form), quarters)
    assert load_image(quarters[:, ::-1]).flags.c_contiguous


@pytest.mark.parametrize(
    "kind", ["PNG", "BMP", "TIFF", "GIF", "PPM", "TGA", "WEBP", "JPEG", "JPEG2000", "AVIF", "ICO"]
)
def test_formats_are_read_whatever_the_file_is_called(quarters, kind):
    options = {"sizes": [(40, 24)]} if kind == "ICO" else {"lossless": True} if kind == "WEBP" else {}
    pixels = load_image(encoded(Image.fromarray(quarters), kind, **options))
    assert pixels.shape == (24, 40, 3)
    assert np.abs(pixels.astype(int) - quarters).mean() < 12


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(quarters, orientation):
    undo = {
        1: None, 2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_270,
    }[orientation]  # fmt: skip
    stored = Image.fromarray(quarters)
    stored = stored if undo is None else stored.transpose(undo)
    exif = Image.Exif()
    exif[0x0112] = orientation
    np.testing.assert_array_equal(load_image(encoded(stored, "PNG", exif=exif)), quarters)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_damaged_exif_does_not_hide_the_picture(quarters):
    data = encoded(Image.fromarray(quarters), "PNG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff junk")
    np.testing.assert_array_equal(load_image(data), quarters)


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "La", "P", "PA", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV", "LAB", "I", "F"]
)
def test_every_pil_mode_gives_rgb_or_a_sentence(mode):
    grey = Image.fromarray(np.tile(np.arange(32, dtype=np.uint8) * 8, (16, 1)))
    via = {"La": "LA", "RGBa": "RGBA"}.get(mode, "RGB")
    picture = grey.convert(via).convert(mode) if mode != "LAB" else Image.new("LAB", (32, 16))
    try:
        pixels = load_image(picture)
    except FacelexError:
        assert mode in ("F", "LAB")  # floats up to 248 have no known range
    else:
        assert pixels.shape == (16, 32, 3)
        assert pixels.dtype == np.uint8


def test_cmyk_jpeg_keeps_its_colours(quarters):
    pixels = load_image(encoded(Image.fromarray(quarters).convert("CMYK"), "JPEG", quality=95))
    assert np.abs(pixels.astype(int) - quarters).mean() < 10


def test_transparency_is_laid_over_white(quarters):
    alpha = np.zeros(quarters.shape[:2], np.uint8)
    alpha[:12] = 255
    rgba = np.dstack([quarters, alpha])
    expected = quarters.copy()
    expected[12:] = 255
    np.testing.assert_array_equal(load_image(rgba), expected)
    np.testing.assert_array_equal(load_image(Image.fromarray(rgba)), expected)
    palette = Image.new("P", (20, 20), 0)
    palette.putpalette([0, 0, 0, 9, 9, 9])
    assert (load_image(encoded(palette, "PNG", transparency=0)) == 255).all()


def test_sixteen_bit_pictures_are_scaled_not_clipped():
    deep = np.linspace(0, 65535, 20 * 16).astype(np.uint16).reshape(16, 20)
    expected = np.rint(deep / 257).astype(np.uint8)
    for form in (deep, deep.astype(">u2"), Image.fromarray(deep), encoded(Image.fromarray(deep), "PNG")):
        np.testing.assert_array_equal(load_image(form)[:, :, 0], expected)


def test_first_frame_of_an_animation_is_taken():
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "blue")]
    for kind in ("GIF", "WEBP", "PNG"):
        pixels = load_image(encoded(frames[0], kind, save_all=True, append_images=frames[1:]))
        assert pixels[10, 10, 0] > 200
        assert pixels[10, 10, 2] < 60


def test_bgr_floats_booleans_and_grey_arrays(quarters):
    np.testing.assert_array_equal(load_image(quarters[:, :, ::-1], bgr=True), quarters)
    np.testing.assert_array_equal(load_image(quarters / 255.0), quarters)
    np.testing.assert_array_equal(load_image((quarters / 255).astype(np.float16)), quarters)
    grey = quarters[:, :, 0]
    for form in (grey, grey[:, :, None], grey > 0):
        np.testing.assert_array_equal(load_image(form), np.repeat(grey[:, :, None], 3, 2))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.full((20, 20, 3), 255.0), "Divide by 255"),
        (np.full((20, 20), -0.5), "Divide by 255"),
        (np.full((20, 20), np.nan), "NaN"),
        (np.full((20, 20), np.inf), "infinity"),
        (np.zeros((20, 20), np.int32), "int32"),
        (np.zeros((20, 20), complex), "complex"),
        (np.array([["a"] * 20] * 20), "uint8"),
        (np.array([[None] * 20] * 20), "object"),
        (np.zeros((3, 20, 20), np.uint8), "transpose"),
        (np.zeros((5, 20, 20, 3), np.uint8), "predict_many"),
        (np.zeros((20, 20, 2), np.uint8), "shape"),
        (np.zeros(20, np.uint8), "shape"),
        (np.zeros((0, 0, 3), np.uint8), "at least"),
        (np.zeros((1, 1, 3), np.uint8), "at least"),
        (np.zeros((1, 100_000, 3), np.uint8), "more than"),
        (np.broadcast_to(np.uint8(0), (20_000, 20_000, 3)), "more than"),
    ],
)
def test_arrays_that_could_be_silently_wrong_are_refused(array, message):
    with pytest.raises(FacelexError, match=message):
        load_image(array)


@pytest.mark.parametrize("thing", [None, 3, 2.5, [1, 2], {"a": 1}, object()])
def test_things_that_are_no_picture_are_named(thing):
    with pytest.raises(FacelexError, match=type(thing).__name__):
        load_image(thing)


def test_float_pixels_just_beyond_the_range_are_cut_off(quarters):
    pixels = quarters / 255
    expected = load_image(pixels)
    for change in (1e-7, 9e-4):
        wider = np.where(pixels == 1, 1 + change, np.where(pixels == 0, -change, pixels))
        assert (wider.min(), wider.max()) == (-change, 1 + change)
        np.testing.assert_array_equal(load_image(wider), expected)
    with pytest.raises(FacelexError, match=r"goes from 0 to 1\.002\."):
        load_image(pixels * 1.002)


def test_integer_grey_pictures_up_to_255_are_of_8_bits(tmp_path):
    grey = np.arange(256, dtype=np.int32).reshape(16, 16)
    expected = np.repeat(grey[:, :, None], 3, 2)
    Image.fromarray(grey).save(tmp_path / "a.tiff")
    for form in (Image.fromarray(grey), tmp_path / "a.tiff"):
        np.testing.assert_array_equal(load_image(form), expected)
    assert load_image(Image.fromarray(grey * 257)).max() == 255
    Image.fromarray(grey.astype(np.uint16)).save(tmp_path / "a.png")  # their 16 bits are written in the file
    Image.fromarray(grey.astype(np.uint16)).save(tmp_path / "a.pgm")
    for name in ("a.png", "a.pgm"):
        assert load_image(tmp_path / name).max() == 1


def test_bgr_of_an_encoded_picture_is_refused(quarters):
    with pytest.raises(FacelexError, match="bgr"):
        load_image(encoded(Image.fromarray(quarters), "PNG"), bgr=True)


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds next to nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    size = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", size)
        + chunk(b"IDAT", zlib.compress(b"\0" * 64))
        + chunk(b"IEND", b"")
    )


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(
    "size", [(1, 1), (100_000, 1), (1, 100_000), (13_000, 13_000), (60_000, 60_000), (60_000, 20)]
)
def test_absurd_sizes_are_refused_before_decoding(size):
    with pytest.raises(FacelexError, match="Refused"):
        load_image(png_header(*size))


@pytest.mark.filterwarnings("error::PIL.Image.DecompressionBombWarning")
def test_a_limit_that_the_caller_set_is_told_as_it_is(quarters, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", quarters.shape[0] * quarters.shape[1] - 1)
    with pytest.raises(FacelexError, match=r"Refused .*exceeds limit of 959 pixels"):
        load_image(encoded(Image.fromarray(quarters), "PNG"))


def test_truncated_and_foreign_files_are_reported(quarters, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (80, 80, 3), dtype=np.uint8)
    jpeg = encoded(Image.fromarray(noise), "JPEG")
    with pytest.raises(FacelexError, match="damaged or incomplete"):
        load_image(jpeg[: len(jpeg) // 2])
    with pytest.raises(FacelexError, match="empty"):
        load_image(b"")
    for name, data in {
        "a.jpg": b"<html>not found</html>",
        "b.eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    }.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(FacelexError, match="no format that can be read"):
            load_image(tmp_path / name)


def test_heic_without_its_plugin_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pillow_heif", None)
    if "HEIF" in Image.OPEN:
        pytest.skip("Pillow reads HEIC here")
    with pytest.raises(FacelexError, match=r"facelex\[heic\]"):
        load_image(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(50))


def test_heic_is_read_with_its_plugin(quarters):
    heif = pytest.importorskip("pillow_heif")
    buffer = io.BytesIO()
    try:
        heif.from_pillow(Image.fromarray(np.repeat(np.repeat(quarters, 4, 0), 4, 1))).save(buffer, quality=95)
    except (RuntimeError, OSError, KeyError):
        pytest.skip("this build of pillow-heif cannot write HEIC")
    pixels = load_image(buffer.getvalue())
    assert pixels.shape == (96, 160, 3)
    assert np.abs(pixels[::4, ::4].astype(int) - quarters).mean() < 12


def test_paths_that_lead_nowhere(tmp_path, quarters):
    Image.fromarray(quarters).save(tmp_path / "party.jpg")
    with pytest.raises(FacelexError, match=r"No such file.*Did you mean 'party\.jpg'"):
        load_image(tmp_path / "prty.jpg")
    with pytest.raises(FacelexError, match="folder"):
        load_image(tmp_path)
    for name in ("nul\0name.jpg", "x" * 5000):
        with pytest.raises(FacelexError):
            load_image(name)
    for address in ("ftp://host/a.jpg", "file:///etc/hostname"):
        with pytest.raises(FacelexError, match="http"):
            load_image(address)
    with pytest.raises(FacelexError, match="regular file"):
        load_image("/dev/zero")
    (tmp_path / "away.jpg").symlink_to(tmp_path / "nowhere.jpg")
    with pytest.raises(FacelexError, match=r"the link '.*away\.jpg' leads nowhere"):
        load_image(tmp_path / "away.jpg")


def test_a_folder_of_many_files_is_not_searched_for_a_name_like_a_missing_one(tmp_path, monkeypatch):
    for number in range(12):
        (tmp_path / f"party{number}.jpg").touch()
    monkeypatch.setattr(sources, "MOST_NAMES", 12)
    with pytest.raises(FacelexError, match="Did you mean"):
        load_image(tmp_path / "party.jpg")
    monkeypatch.setattr(sources, "MOST_NAMES", 11)
    with pytest.raises(FacelexError, match=r"No such file: '.*party\.jpg'\. Check the path"):
        load_image(tmp_path / "party.jpg")


def test_file_objects_must_be_binary_and_readable():
    with pytest.raises(FacelexError, match="'rb'"):
        load_image(io.StringIO("text"))
    closed = io.BytesIO(b"x")
    closed.close()
    with pytest.raises(FacelexError, match="closed"):
        load_image(closed)


def test_a_file_object_at_its_end_or_opened_as_text_says_what_to_do(quarters, tmp_path):
    path = tmp_path / "a.jpg"
    Image.fromarray(quarters).save(path)
    with path.open("rb") as stream:
        load_image(stream)
        with pytest.raises(FacelexError, match=r"a\.jpg' is empty or was read.*seek\(0\)"):
            load_image(stream)
    with path.open(encoding="utf-8") as text, pytest.raises(FacelexError, match=r"gives str.*mode 'rb'"):
        load_image(text)


def test_closed_pil_image_is_reported(quarters, tmp_path):
    Image.fromarray(quarters).save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as unread:
        pass
    with (tmp_path / "a.png").open("rb") as stream:
        fileless = Image.open(stream)
    loaded = Image.open(tmp_path / "a.png")
    loaded.load()
    loaded.close()
    for picture in (unread, fileless, loaded):
        with pytest.raises(FacelexError, match="PIL image, but its file is closed") as caught:
            load_image(picture)
        assert "damaged" not in str(caught.value)
    (tmp_path / "cut.png").write_bytes((tmp_path / "a.png").read_bytes()[:-40])
    with pytest.raises(FacelexError, match="damaged"):
        load_image(Image.open(tmp_path / "cut.png"))


class Reply(io.BytesIO):
    """What urlopen gives."""


def test_urls_are_fetched_only_when_given_and_limited(monkeypatch, quarters):
    asked = []

    def urlopen(request, timeout):
        asked.append((request.full_url, timeout))
        if "missing" in request.full_url:
            raise OSError("HTTP Error 404")
        return Reply(encoded(Image.fromarray(quarters), "PNG"))

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    np.testing.assert_array_equal(load_image("https://example.org/a"), quarters)
    assert asked == [("https://example.org/a", sources.DOWNLOAD_SECONDS)]
    np.testing.assert_array_equal(load_image("https://bücher.example/Zoë%20a.jpg?q=ä&b=1"), quarters)
    assert asked[1][0] == "https://xn--bcher-kva.example/Zo%C3%AB%20a.jpg?q=%C3%A4&b=1"
    with pytest.raises(FacelexError, match="404"):
        load_image("HTTP://example.org/missing.png")
    monkeypatch.setattr(sources, "MAX_DOWNLOAD_BYTES", 10)
    with pytest.raises(FacelexError, match="holds more"):
        load_image("https://example.org/a")


def test_data_urls_as_browsers_post_them_are_read(quarters):
    data = encoded(Image.fromarray(quarters), "PNG")
    plain = base64.b64encode(data).decode()
    for url in (
        f"data:image/png;base64,{plain}",
        f"DATA:image/png;charset=utf-8;Base64,{urllib.parse.quote(plain)}",
        f"data:;base64,{plain[:50]}\r\n{plain[50:]}",
    ):
        np.testing.assert_array_equal(load_image(url), quarters)
    assert find_images([f"data:image/png;base64,{plain}"]) == [f"data:image/png;base64,{plain}"]
    for url in ("data:image/png," + "%41" * 9000, "data:image/png;base64,?" + plain * 20, "data:"):
        with pytest.raises(FacelexError, match="Expected a picture in base64") as caught:
            load_image(url)
        assert len(str(caught.value)) < 500
    with pytest.raises(FacelexError, match="the data URL is in no format"):
        load_image("data:image/png;base64," + base64.b64encode(b"<html>").decode() * 1000)


@pytest.mark.parametrize(
    "name",
    ["x" * 300, "http://x/" + "y" * 300_000, "ftp://" + "y" * 300_000, "x" * 300 + "*.jpg", "\0" * 300],
)
def test_long_names_are_refused_in_a_short_sentence(monkeypatch, recognizer, name):
    def urlopen(request, timeout):
        raise OSError("no such host")

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)

    def read_in_a_batch(name: str) -> None:
        (result,) = recognizer.predict_many(name)
        raise FacelexError(result.error)

    for read in (load_image, recognizer.predict, read_in_a_batch):
        with pytest.raises(FacelexError) as caught:
            read(name)
        assert len(str(caught.value)) < 1000


def test_malformed_url_is_a_sentence():
    with pytest.raises(FacelexError, match="Could not download"):
        load_image("http://[::1/a.jpg")


def test_annotated_copies_beside_their_originals_are_left_out_and_counted(tmp_path, caplog):
    kept = ["a.png", "alone-faces.jpg", "b.jpg", "sub/a-faces.png", "sub/b-faces-x.jpg", "sub/b.jpg"]
    copies = ["a-faces.png", "b-faces-12.jpg", "b-faces.jpg"]
    films = ["film-faces.mp4", "film.mov", "photo-faces.mp4", "photo.jpg"]
    for name in (*kept, *copies, *films):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()

    def names(found: list[str]) -> list[str]:
        return sorted(str(Path(path).relative_to(tmp_path)) for path in found)

    pictures, videos = find_media([tmp_path], recursive=True)
    assert names(pictures) == sorted([*kept, "photo.jpg"])
    assert names(videos) == ["film.mov", "photo-faces.mp4"]
    assert "3 annotated copies are left out" in caplog.text
    assert "an annotated copy is left out, such as " + str(tmp_path / "film-faces.mp4") in caplog.text
    assert names(find_images([str(tmp_path / "[ab]*.*g")])) == ["a.png", "alone-faces.jpg", "b.jpg"]
    for name in ("x\x1b[31m\ny.jpg", "x\x1b[31m\ny-faces.jpg"):  # a terminal would obey
        (tmp_path / "odd" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "odd" / name).touch()
    find_images([tmp_path / "odd"])
    assert r"x\x1b[31m\x0ay-faces.jpg" in caplog.text
    asked = [str(tmp_path / "*-faces.*"), tmp_path / "b-faces-12.jpg"]  # for themselves
    assert names(find_images(asked)) == sorted(
        ["a-faces.png", "alone-faces.jpg", "b-faces.jpg", "b-faces-12.jpg"]
    )


def test_folders_and_globs_expand_in_order_each_file_once(tmp_path):
    for name in (
        "b.jpg",
        "a.PNG",
        ".hidden.jpg",
        "._b.jpg",
        "note.txt",
        "sub/c.webp",
        "sub/.git/d.jpg",
        "x[1].jpg",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()

    def names(*inputs: str, recursive: bool = False) -> list[str]:
        found = find_images([str(tmp_path / item) for item in inputs], recursive=recursive)
        return [str(Path(path).relative_to(tmp_path)) for path in found]

    assert names("") == ["a.PNG", "b.jpg", "x[1].jpg"]
    assert names("", recursive=True) == ["a.PNG", "b.jpg", "x[1].jpg", "sub/c.webp"]
    assert names("*.jpg", "b.jpg") == ["b.jpg", "x[1].jpg"]
    assert names("x[1].jpg") == ["x[1].jpg"]
    assert names("b.jpg", "", "note.txt", "gone.jpg") == [
        "b.jpg",
        "a.PNG",
        "x[1].jpg",
        "note.txt",
        "gone.jpg",
    ]
    assert find_images(["https://example.org/*.jpg"]) == ["https://example.org/*.jpg"]
    with pytest.raises(FacelexError, match="No file matches"):
        names("*.tiff")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FacelexError, match=r"holds none.*--recursive"):
        names("empty")


def test_pictures_and_the_videos_beside_them_are_found_in_one_walk(tmp_path, monkeypatch):
    for name in ("a.jpg", "b.MP4", "sub/c.mov", "sub/d.png", ".hidden.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    walked = []
    walk = os.walk
    monkeypatch.setattr("os.walk", lambda folder, **rest: walked.append(folder) or walk(folder, **rest))

    def names(*inputs: str, recursive: bool = False) -> list[list[str]]:
        found = find_media([tmp_path / item for item in inputs], recursive=recursive)
        return [[Path(path).name for path in paths] for paths in found]

    assert names("") == [["a.jpg"], ["b.MP4"]]
    assert names("", recursive=True) == [["a.jpg", "d.png"], ["b.MP4", "c.mov"]]
    assert len(walked) == 2
    assert names("*", "sub") == [["a.jpg", "d.png"], ["b.MP4", "c.mov"]]
    assert names("a.jpg") == [["a.jpg"], []]
    (tmp_path / "a.jpg").unlink()
    with pytest.raises(FacelexError, match=r"gives videos alone.*--recursive"):
        names("")
    assert find_media([tmp_path], videos_alone=True) == ([], [str(tmp_path / "b.MP4")])


def test_a_picture_is_found_once_however_it_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("in/a.png", "in/b.png", "in/c.mp4"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).touch()
    names = ["in/a.png", "./in/a.png", "in/../in/a.png", str(tmp_path / "in" / "a.png"), Path("in/a.png")]
    assert find_images(names) == ["in/a.png"]
    assert find_images(reversed(names[:-1])) == [str(tmp_path / "in" / "a.png")]
    assert find_media(["in/*", "./in/*", "in"]) == (["in/a.png", "in/b.png"], ["in/c.mp4"])
    addresses = ["https://example.org/a//b.jpg", "https://example.org/a/b.jpg", "data:,a//b", "data:,a/b"]
    assert find_images(addresses * 2) == addresses


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege there")
def test_a_glob_that_goes_in_circles_finds_a_picture_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("z/a.png", "z/sub/b.png", "z/film.mp4"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).touch()
    Path("z/again").symlink_to(".")
    assert find_images(["z/**/*.png"]) == ["z/a.png", "z/sub/b.png"]
    assert find_media(["z/**"]) == (["z/a.png", "z/sub/b.png"], ["z/film.mp4"])
    assert find_media(["z/**/*.mp4"], videos_alone=True) == ([], ["z/film.mp4"])
    Path("z/other.png").symlink_to("a.png")
    assert find_images(["z/*.png"]) == find_images(["z"]) == ["z/a.png", "z/other.png"]


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege there")
def test_links_to_files_and_folders_lead_to_pictures_of_their_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.png", "other/a.png", "other/in/b.png"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).touch()
    Path("link").symlink_to("other/in")
    assert find_images(["a.png", "link/../a.png", "other/a.png"]) == ["a.png", "link/../a.png"]
    Path("fav.png").symlink_to("other/a.png")
    pictures = find_images(["./**/*.png"])
    assert [Path(picture) for picture in pictures] == [
        Path("a.png"), Path("fav.png"), Path("link/b.png"), Path("other/a.png")
    ]  # fmt: skip


def test_sources_are_named_by_path_or_place(tmp_path, quarters):
    assert source_name("a.jpg") == "a.jpg"
    assert source_name(Path("a.jpg")) == "a.jpg"
    assert source_name(b"x", 3) == "bytes 3"
    assert source_name(quarters, 4) == "array 4"
    assert source_name(io.BytesIO(), 5) == "image 5"
    Image.fromarray(quarters).save(tmp_path / "a.png")
    assert source_name(Image.open(tmp_path / "a.png")) == str(tmp_path / "a.png")
    assert source_name(Image.fromarray(quarters), 6) == "image 6"


FUZZ = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
SEEDS = [
    encoded(Image.fromarray(np.random.default_rng(1).integers(0, 256, (16, 16, 3), dtype=np.uint8)), kind)
    for kind in ("PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP", "PPM", "TGA", "QOI", "JPEG2000", "AVIF")
]  # fmt: skip


def must_answer_or_refuse(source: object) -> None:
    try:
        pixels = load_image(source)
    except FacelexError:
        return
    assert pixels.dtype == np.uint8
    assert pixels.ndim == 3
    assert pixels.shape[2] == 3


@FUZZ
@given(st.binary(max_size=400))
@example(b"\0\0\0\x18ftypheic")
@example(b"II*\0")
def test_any_bytes_are_read_or_refused(data):
    must_answer_or_refuse(data)


@pytest.mark.filterwarnings("ignore")
@FUZZ
@given(
    st.sampled_from(SEEDS),
    st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), max_size=12),
    st.integers(0, 4000),
)
def test_damaged_pictures_are_read_or_refused(seed, changes, cut):
    data = bytearray(seed)
    for place, value in changes:
        data[place % len(data)] = value
    must_answer_or_refuse(bytes(data[: cut or None]))


@pytest.mark.filterwarnings("ignore")
@FUZZ
@given(
    hnp.arrays(
        st.one_of(hnp.scalar_dtypes(), hnp.byte_string_dtypes(), hnp.array_dtypes()),
        hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=12),
    )
)
def test_any_array_is_read_or_refused(array):
    must_answer_or_refuse(array)


@FUZZ
@given(st.text(max_size=60))
def test_any_text_as_a_path_is_read_or_refused(text):
    if not images.is_url(text):
        must_answer_or_refuse(text)


def test_brackets_of_a_folder_that_is_there_are_no_pattern(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("Trip [2020]", "Trip 2", "in"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.jpg").touch()
    assert find_images(["Trip [2020]/*.jpg"]) == ["Trip [2020]/a.jpg"]
    assert find_images([tmp_path / "Trip [2020]" / "[ab].jpg"]) == [str(tmp_path / "Trip [2020]" / "a.jpg")]
    assert find_images(["Trip [12]/*.jpg"]) == ["Trip 2/a.jpg"]
    assert find_images(["./in/*"]) == ["./in/a.jpg"]
