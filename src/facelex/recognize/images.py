"""Pictures in whatever form people have them, as upright RGB pixels or a sentence on why not."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import IO, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from facelex.errors import FacelexError, shorten
from facelex.recognize.sources import decode_data_url, download, is_data_url, is_url, no_such_file

ImageInput: TypeAlias = str | os.PathLike[str] | bytes | IO[bytes] | Image.Image | Any
"""Path, ``http(s)://`` or ``data:`` URL, bytes, binary file object, PIL image or NumPy array."""

MAX_PIXELS = 128_000_000
"""Larger pictures are refused before they are decoded; a 108-megapixel phone photo still passes."""
MAX_SIDE = 50_000
MIN_SIDE = 8
"""Below this many pixels a side there is no expression to see."""
ROUNDING = 1e-3
"""Float pixels may lie this far outside of [0, 1]: a quarter of an 8-bit step."""
FORMATS = (
    "JPEG", "MPO", "PNG", "GIF", "WEBP", "AVIF", "HEIF", "TIFF", "BMP", "DIB", "JPEG2000", "PPM", "TGA",
    "ICO", "QOI", "PCX", "SGI",
)  # fmt: skip
"""Raster formats only: Pillow would also hand PostScript to Ghostscript, which no photo needs."""

_ORIENTATION = 0x0112
_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")
_WHITE = (255, 255, 255, 255)


def load_image(source: ImageInput, *, bgr: bool = False) -> NDArray[np.uint8]:
    """Read a picture as upright RGB.

    EXIF orientation is applied, transparency laid over white, the first frame of an animation taken,
    16-bit and [0, 1] float pixels scaled to 8 bits.

    Args:
        source: Path, ``http(s)://`` URL, ``data:`` URL in base64, encoded bytes, binary file object, PIL
            image, or array of shape ``(H, W)``, ``(H, W, 1)``, ``(H, W, 3)`` or ``(H, W, 4)`` in RGB order.
        bgr: The array's channels are blue, green, red, as OpenCV has them. Arrays only.

    Returns:
        Pixels, ``(H, W, 3)`` uint8, contiguous.

    Raises:
        FacelexError: If the picture cannot be read, or its size or value range makes no sense.
    """
    if isinstance(source, (str, os.PathLike)):
        picture = _open_path(source)
    elif isinstance(source, (bytes, bytearray, memoryview)):
        picture = _decode(io.BytesIO(bytes(source)), f"{len(source)} bytes of data")
    elif isinstance(source, Image.Image):
        picture = _open_pixels(source)
    elif hasattr(source, "__array__"):
        return _array_pixels(source, bgr=bgr)
    elif hasattr(source, "read"):
        picture = _decode(read_stream(source), _stream_name(source))
    else:
        raise FacelexError(
            "Expected an image as a path, URL, bytes, file object, PIL image or NumPy array, but got "
            f"{type(source).__name__}. Pass one of these, or several to predict_many."
        )
    if bgr:
        raise FacelexError(
            "Expected a NumPy array with bgr=True, but got an encoded image, whose channel order is known. "
            "Leave bgr out."
        )
    return picture


def _open_path(source: str | os.PathLike[str]) -> NDArray[np.uint8]:
    name = os.fspath(source)
    if is_data_url(name):
        return _decode(io.BytesIO(decode_data_url(name)), "the data URL")
    shown = shorten(os.fsdecode(name))
    if is_url(name):
        return _decode(io.BytesIO(download(name)), shown)
    if "://" in shown:
        raise FacelexError(f"Expected a file path or an http(s):// address, but got {shown!r}.")
    try:
        path = Path(os.fsdecode(name))
        if path.is_dir():
            os.scandir(path).close()  # one that may not be read is told as such
            raise FacelexError(
                f"Expected a picture, but {shown!r} is a folder. Pass it alone to predict_many."
            )
        if not path.exists():
            raise FacelexError(no_such_file(path))
        if not path.is_file():  # a pipe or device could block or never end
            raise FacelexError(f"Expected a picture, but {shown!r} is not a regular file.")
        with path.open("rb") as stream:
            return _decode(stream, repr(shown))
    except (OSError, ValueError) as error:  # ValueError: a NUL inside the name
        reason = getattr(error, "strerror", None) or error
        raise FacelexError(f"Could not open {shown!r}: {reason}. Check path and permissions.") from error


class NamedBytes(io.BytesIO):
    """What a file object held, under its name."""

    name: object = None


def read_stream(source: Any) -> IO[bytes]:
    """Return all that a binary file object holds, in memory and under its name.

    Raises:
        FacelexError: If it cannot be read, gives no bytes, or none any more.
    """
    try:
        data = source.read()
    except UnicodeDecodeError:
        data = ""
    except Exception as error:  # the caller's object: its faults are its own
        raise FacelexError(f"Could not read the file object: {error}.") from error
    if not isinstance(data, bytes):
        raise FacelexError(
            f"Expected a file object that gives bytes, but it gives {type(data).__name__}. "
            "Open it with mode 'rb'."
        )
    if not data:
        raise FacelexError(
            f"Expected a picture, but {_stream_name(source)} is empty or was read to its end already. In "
            "that case go back with seek(0)."
        )
    stream = NamedBytes(data)
    stream.name = getattr(source, "name", None)
    return stream


def _stream_name(source: Any) -> str:
    name = getattr(source, "name", None)
    return repr(shorten(name)) if isinstance(name, str) and name else "the file object"


def _decode(stream: IO[bytes], name: str) -> NDArray[np.uint8]:
    head = stream.read(64)
    stream.seek(0)
    if not head:
        raise FacelexError(f"Expected a picture, but {name} is empty.")
    if head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS and b"avif" not in head:  # Pillow reads AVIF
        _register_heif(name)
    try:
        with _open_stream(stream) as picture:
            return _pil_pixels(picture, name)
    except Image.UnidentifiedImageError as error:
        raise FacelexError(
            f"Expected a picture, but {name} is in no format that can be read (JPEG, PNG, WebP, AVIF, GIF, "
            "TIFF, BMP and the like). Convert it to JPEG or PNG."
        ) from error
    except FacelexError:
        raise
    except Image.DecompressionBombError as error:  # Pillow's limit lies above ours
        raise FacelexError(f"Refused {name}: more than {MAX_PIXELS:,} pixels. Make it smaller.") from error
    except Image.DecompressionBombWarning as error:  # an error only where the user makes warnings errors
        raise FacelexError(f"Refused {name}: {str(error).rstrip('.')}. Make it smaller.") from error
    except Exception as error:  # decoders of foreign bytes fail in many ways; none of them is our bug
        raise _broken(name, error) from error


def _open_stream(stream: IO[bytes]) -> Image.Image:
    """Open with the few formats Pillow loads at once, then, if that fails, with all of `FORMATS`."""
    Image.preinit()
    try:
        return Image.open(stream, formats=[name for name in FORMATS if name in Image.OPEN])
    except Image.UnidentifiedImageError:
        Image.init()
        stream.seek(0)
        return Image.open(stream, formats=[name for name in FORMATS if name in Image.OPEN])


def _broken(name: str, error: Exception) -> FacelexError:
    reason = str(error).strip().rstrip(".") or type(error).__name__
    return FacelexError(f"Could not decode {name}: {reason}. The file is damaged or incomplete.")


def _register_heif(name: str) -> None:
    if "HEIF" in Image.OPEN:
        return
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        Image.init()
        if "HEIF" not in Image.OPEN:
            raise FacelexError(
                f"{name} is a HEIC picture, which Pillow alone does not read. Install its plugin with "
                "pip install 'facelex[heic]', or convert the picture to JPEG."
            ) from None
    else:
        register_heif_opener()


def _check_size(width: int, height: int, name: str) -> None:
    if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
        raise FacelexError(
            f"Refused {name}: {width}x{height} pixels is more than {MAX_PIXELS:,} or than {MAX_SIDE:,} a "
            "side. Make it smaller."
        )
    if min(width, height) < MIN_SIDE:
        raise FacelexError(
            f"Refused {name}: {width}x{height} pixels; at least {MIN_SIDE} a side are needed to see a face."
        )


def _open_pixels(picture: Image.Image) -> NDArray[np.uint8]:
    _check_size(*picture.size, "the PIL image")
    try:
        picture.load()
    except (AssertionError, ValueError) as error:  # what Pillow raises where the file is gone
        raise FacelexError(
            "Expected an open PIL image, but its file is closed. Call image.load() before it is, or pass the "
            "path."
        ) from error
    except Exception:  # a damaged file, of which `_pil_pixels` tells
        pass
    return _pil_pixels(picture, "the PIL image")


def _pil_pixels(picture: Image.Image, name: str) -> NDArray[np.uint8]:
    _check_size(*picture.size, name)
    try:
        picture.load()
        picture = _upright(picture)
        if picture.mode.startswith(("I", "F")):  # 16- and 32-bit grey
            return _array_pixels(_deep_grey(picture, name), name=name)
        if picture.mode == "La":  # Pillow makes nothing else of it
            picture = picture.convert("LA")
        if picture.has_transparency_data:
            layer = picture.convert("RGBA")
            picture = Image.alpha_composite(Image.new("RGBA", layer.size, _WHITE), layer)
        return np.array(picture if picture.mode == "RGB" else picture.convert("RGB"), dtype=np.uint8)
    except FacelexError:
        raise
    except Exception as error:  # the decoder runs here, on foreign bytes
        raise _broken(name, error) from error


def _upright(picture: Image.Image) -> Image.Image:
    try:
        if picture.getexif().get(_ORIENTATION, 1) == 1:
            return picture  # exif_transpose would copy every pixel
        return ImageOps.exif_transpose(picture)
    except Exception:  # a damaged EXIF block hides the orientation, not the picture
        return picture


def _deep_grey(picture: Image.Image, name: str) -> NDArray[Any]:
    """Return the pixels of an integer or float grey picture in a type whose range is known."""
    pixels = np.asarray(picture)
    if pixels.dtype.kind == "f":
        return pixels
    if pixels.min() < 0 or pixels.max() > 65535:
        raise FacelexError(
            f"Expected 16-bit grey values in {name}, but got {pixels.min()} to {pixels.max()}. Save it "
            "with 8 or 16 bits."
        )
    # Pillow's mode I says no range: convert("I") keeps 0 to 255, while a PGM of 16 bits fills all of them.
    if picture.mode == "I" and picture.format != "PPM" and pixels.max() <= 255:
        return pixels.astype(np.uint8)
    return pixels.astype(np.uint16)


def _array_pixels(source: Any, *, bgr: bool = False, name: str = "the array") -> NDArray[np.uint8]:
    try:
        array = np.asarray(source)
    except Exception as error:  # the caller's __array__, for example a tensor on a GPU
        raise FacelexError(f"Could not read {type(source).__name__} as a NumPy array: {error}.") from error
    _check_shape(array.shape, name)
    pixels = to_uint8(array, name)
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    if pixels.shape[2] == 4:
        pixels = _over_white(pixels)
    if pixels.shape[2] == 1:
        pixels = np.repeat(pixels, 3, axis=2)
    elif bgr:
        pixels = pixels[:, :, ::-1]
    return np.ascontiguousarray(pixels)


def _check_shape(shape: tuple[int, ...], name: str) -> None:
    if len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 3, 4)):
        _check_size(shape[1], shape[0], name)
        return
    if len(shape) == 3 and shape[0] in (1, 3, 4):
        remedy = "Its channels come first: use image.transpose(1, 2, 0)."
    elif len(shape) == 4:
        remedy = "For several images use predict_many(list(images)); for face crops use classify."
    else:
        remedy = "Give grey (H, W), RGB (H, W, 3) or RGBA (H, W, 4) pixels."
    raise FacelexError(f"Expected an image of shape (H, W, C), but {name} has shape {shape}. {remedy}")


def to_uint8(array: NDArray[Any], name: str = "the array") -> NDArray[np.uint8]:
    """Return pixels as uint8: uint16 and floats in [0, 1] are scaled, booleans become 0 and 255.

    Raises:
        FacelexError: If the type or the range leaves the brightness open, or a value is not finite.
    """
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * np.uint8(255)
    if array.dtype.kind == "u" and array.dtype.itemsize == 2:  # either byte order
        return ((array.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
    if array.dtype.kind != "f":
        raise FacelexError(
            f"Expected pixels of type uint8, uint16 or float in [0, 1], but {name} is {array.dtype}. If its "
            "values are 0 to 255, use image.astype(np.uint8)."
        )
    return np.rint(unit_floats(array, name) * 255.0).astype(np.uint8)


def unit_floats(array: NDArray[np.floating], name: str) -> NDArray[np.float32]:
    """Return float pixels as float32 in [0, 1]; what rounding (of a filter, say) put just beyond is cut off.

    Raises:
        FacelexError: If the range is another, or a value is not finite.
    """
    low, high = (float(array.min()), float(array.max())) if array.size else (0.0, 0.0)
    if not (np.isfinite(low) and np.isfinite(high)):  # NaN anywhere makes both NaN
        raise FacelexError(f"Expected finite pixels, but {name} holds NaN or infinity. See np.nan_to_num.")
    if low < -ROUNDING or high > 1.0 + ROUNDING:
        raise FacelexError(
            f"Expected float pixels in [0, 1], but {name} goes from {low:g} to {high:g}. Divide by 255, or "
            "use astype(np.uint8), if they are 0 to 255."
        )
    return np.clip(array.astype(np.float32), 0.0, 1.0)


def _over_white(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    alpha = pixels[:, :, 3:].astype(np.uint16)
    colour = pixels[:, :, :3] * alpha + 255 * (255 - alpha)
    return ((colour + 127) // 255).astype(np.uint8)
