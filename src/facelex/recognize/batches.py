"""Many pictures at once: decoding, detection and inference overlapped, in bounded memory and in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from facelex.errors import FacelexError
from facelex.recognize.images import MAX_PIXELS, ImageInput, load_image, read_stream
from facelex.recognize.results import ImageResult
from facelex.recognize.sessions import default_threads
from facelex.recognize.sources import source_name

if TYPE_CHECKING:
    from facelex.recognize.detection import Detection
    from facelex.recognize.recognizer import Recognizer

IMAGES_KEPT = 8
"""Pictures read ahead when their pixels are kept; a 12-megapixel photo takes 36 MB."""


@dataclass(frozen=True)
class _Prepared:
    """A picture after its worker: only the crops are held, so that reading ahead costs little memory."""

    source: str
    width: int | None
    height: int | None
    detections: Sequence[Detection]
    crops: NDArray[np.uint8] | None
    error: str | None = None
    image: NDArray[np.uint8] | None = None


def read_batches(
    recognizer: Recognizer,
    inputs: Iterable[ImageInput],
    *,
    words: Any,
    detect: bool,
    bgr: bool,
    batch_size: int,
    workers: int | None,
    keep_images: bool,
) -> Iterator[ImageResult]:
    """Yield one result an input, as `Recognizer.predict_many` promises."""
    if detect:
        _ = recognizer.detector  # created here, once, rather than by several workers at the same time

    def prepare(source: str, item: ImageInput | FacelexError) -> _Prepared:
        try:
            if isinstance(item, FacelexError):
                raise item
            pixels = load_image(item, bgr=bgr)
            detections = recognizer.find(pixels, detect=detect)
            crops = recognizer.crop(pixels, detections)
        except FacelexError as error:
            return _Prepared(source, None, None, (), None, str(error))
        height, width = pixels.shape[:2]
        return _Prepared(source, width, height, detections, crops, None, pixels if keep_images else None)

    ahead = min(batch_size, IMAGES_KEPT) if keep_images else batch_size
    items = _named(inputs, bgr)
    for batch in _batches(_in_order(prepare, items, workers or default_threads(), 2 * ahead), ahead):
        yield from _results(recognizer, batch, words)


def _named(inputs: Iterable[ImageInput], bgr: bool) -> Iterator[tuple[str, ImageInput | FacelexError]]:
    """Yield each input with what results call it, in the thread that draws from the caller's iterator."""
    at_once = isinstance(inputs, (list, tuple, np.ndarray))  # all there already, so none overwrites another
    for index, item in enumerate(inputs):
        yield source_name(item, index), item if at_once else _own_copy(item, bgr)


def _in_order(
    prepare: Any, items: Iterable[tuple[str, Any]], workers: int, ahead: int
) -> Iterator[_Prepared]:
    """Yield prepared pictures in order while at most ``ahead`` of them are waiting or in work."""
    pending: deque[Future[_Prepared]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="facelex-images")
    try:
        for source, item in items:
            pending.append(pool.submit(prepare, source, item))
            if len(pending) >= ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:  # also when the caller stops half-way
        pool.shutdown(wait=False, cancel_futures=True)


def _own_copy(item: ImageInput, bgr: bool) -> ImageInput | FacelexError:
    """Copy what an iterator may fill anew or close for its next picture; return what is wrong with it.

    Cameras reuse one buffer, and ``with open(path, "rb") as file: yield file`` closes what it gave.
    """
    try:
        if isinstance(item, (str, bytes)):  # also NumPy's, which are arrays too
            return item
        if isinstance(item, (bytearray, memoryview)):
            return bytes(item)
        if isinstance(item, np.ndarray):
            return item.copy() if item.size <= 4 * MAX_PIXELS else item  # larger ones are refused anyway
        if isinstance(item, Image.Image):
            return load_image(item, bgr=bgr)
        if hasattr(item, "__array__"):
            return np.array(item)
        return read_stream(item) if hasattr(item, "read") else item
    except FacelexError as error:
        return error
    except Exception:  # the caller's object: `load_image` says what is wrong with it
        return item


def _batches(prepared: Iterable[_Prepared], size: int) -> Iterator[list[_Prepared]]:
    """Group pictures until they hold ``size`` faces or are ``size`` many."""
    batch: list[_Prepared] = []
    faces = 0
    for item in prepared:
        batch.append(item)
        faces += len(item.detections)
        if faces >= size or len(batch) >= size:
            yield batch
            batch, faces = [], 0
    if batch:
        yield batch


def _results(recognizer: Recognizer, batch: Sequence[_Prepared], words: Any) -> Iterator[ImageResult]:
    columns = recognizer.table_layout(words).columns
    found = [item for item in batch if item.crops is not None and len(item.detections)]
    faces = []
    if found:
        detections = [detection for item in found for detection in item.detections]
        crops = np.concatenate([item.crops for item in found if item.crops is not None])
        faces = recognizer.faces_of(detections, crops, words=words)
    start = 0
    for item in batch:
        stop = start + len(item.detections)
        yield ImageResult(
            item.source, item.width, item.height, tuple(faces[start:stop]), item.error, item.image, columns
        )
        start = stop
