"""Measure how FER2013 frames faces, and what other framings cost in accuracy.

    python tools/measure_framing.py frame data/fer2013.npz
    python tools/measure_framing.py context PHOTO...
    python tools/measure_framing.py accuracy data/fer2013.npz src/facelex/weights/default.onnx

``frame`` finds the landmarks of FER2013 faces, each enlarged and laid on grey, and says where they lie in
the 48x48 frame. ``context`` finds faces of ordinary photographs twice, whole and cut to such a frame, and
says how far the narrow view shifts what the detector answers. ``accuracy`` finds PublicTest faces on a
larger canvas, cuts them out again with several framings and classifies the cuts. The dataset is what
``facelex data prepare fer2013.csv`` wrote.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tell_mistakes import tell_mistakes

from facelex.data.load import load_dataset
from facelex.recognize.centerface import CenterFace
from facelex.recognize.detection import Detection
from facelex.recognize.framing import _tilt, crop_face

if TYPE_CHECKING:
    import onnxruntime as ort

ENLARGED = 2  # times 48 pixels
GREY = 128
POINTS = ("eye, left of the picture", "eye, right", "nose tip", "mouth corner, left", "mouth corner, right")


def on_canvas(face: NDArray[np.uint8], enlarged: int = ENLARGED) -> NDArray[np.uint8]:
    """Enlarge a 48x48 face and lay it in the middle of a grey canvas of twice its size, as RGB."""
    side = len(face) * enlarged
    large = np.asarray(Image.fromarray(face).resize((side, side), Image.Resampling.BICUBIC))
    canvas = np.pad(large, side // 2, constant_values=GREY)
    return np.repeat(canvas[:, :, None], 3, axis=2)


def locate(
    faces: NDArray[np.uint8], enlarged: int = ENLARGED
) -> tuple[NDArray[np.bool_], NDArray[np.float64], NDArray[np.float64]]:
    """Find each face.

    Returns:
        Whether one was found ``(N,)``; landmarks ``(N, 5, 2)`` and boxes ``(N, 4)`` in pixels of the frame.
    """
    detector = CenterFace(threshold=0.5)
    found = np.zeros(len(faces), bool)
    landmarks, boxes = np.zeros((len(faces), 5, 2)), np.zeros((len(faces), 4))
    border = faces.shape[1] * enlarged // 2
    for row, face in enumerate(faces):
        detections = detector.detect(on_canvas(face, enlarged))
        if detections and detections[0].landmarks is not None:
            found[row] = True
            landmarks[row] = (detections[0].landmarks - border) / enlarged
            x, y, width, height = detections[0].box
            boxes[row] = np.array([x - border, y - border, width, height]) / enlarged
    return found, landmarks, boxes


def eyes_to_mouth(landmarks: NDArray) -> NDArray:
    """Distance from between the eyes to between the mouth corners: ``(..., 5, 2) -> (...)``."""
    down = landmarks[..., 3:, :].mean(axis=-2) - landmarks[..., :2, :].mean(axis=-2)
    return np.hypot(down[..., 0], down[..., 1])


def measure_frame(arguments: argparse.Namespace) -> None:
    """Print where FER2013 faces have eyes, nose, mouth and the detector's box."""
    dataset = load_dataset(arguments.dataset)
    rows = dataset.indices("train")
    rows = rows[dataset.pixels[rows].std(axis=(1, 2)) > 5]
    rows = np.random.default_rng(arguments.seed).choice(rows, arguments.count, replace=False)
    faces = dataset.pixels[rows]
    found, landmarks, boxes = locate(faces)
    landmarks, boxes = landmarks[found], boxes[found]
    print(f"{found.sum()} of {len(found)} faces found (seed {arguments.seed}); pixels of the 48x48 frame")
    for place, name in enumerate(POINTS):
        middle, spread = np.median(landmarks[:, place], axis=0), landmarks[:, place].std(axis=0)
        print(f"  {name:26s} median {middle.round(1)}  sd {spread.round(1)}")
    centers = boxes[:, :2] + boxes[:, 2:] / 2
    middle, spread = np.median(centers, axis=0), centers.std(axis=0)
    print(f"  {'box centre':26s} median {middle.round(1)}  sd {spread.round(1)}")
    print(f"  box width, height          median {np.median(boxes[:, 2:], axis=0).round(1)}")
    reach = eyes_to_mouth(landmarks)
    print(f"  side / eyes to mouth       median {np.median(48 / reach):.3f}")
    print(f"  its logarithm              sd {np.log(reach).std():.3f}")
    print(f"  side / box's longer side   median {np.median(48 / boxes[:, 2:].max(axis=1)):.3f}")
    mirrored_found, mirrored, _ = locate(np.ascontiguousarray(faces[:, :, ::-1]))
    for name, points in (("as they are", landmarks), ("mirrored", mirrored[mirrored_found])):
        tilts = np.degrees([_tilt(face) for face in points])
        percentiles = np.percentile(tilts, [1, 5, 25, 50, 75, 95, 99]).round(1)
        print(f"  tilt, {name:12s} percentiles 1 5 25 50 75 95 99: {percentiles}")


def photo_faces(paths: list[Path]) -> Iterator[tuple[Image.Image, Detection]]:
    """Yield the faces of at least 50 pixels in some photographs."""
    detector = CenterFace(pixels=1000 * 750)
    for path in paths:
        grey = Image.open(path).convert("L")
        for face in detector.detect(np.asarray(grey.convert("RGB"))):
            if face.landmarks is not None and face.box[3] >= 50:
                yield grey, face


def measure_context(arguments: argparse.Namespace) -> None:
    """Print how the detector's answer changes when it sees no more than a 48x48 frame of the face."""
    detector, random = CenterFace(threshold=0.3), np.random.default_rng(arguments.seed)
    shifts, sizes = [], []
    for grey, face in photo_faces(arguments.photos):
        x, y, width, height = face.box
        middle = np.array([x + width / 2, y + height / 2])
        for _ in range(arguments.times):
            center = middle + random.normal(0, 3 / 48, 2) * height
            side = 1.07 * height * math.exp(random.normal(0, 0.12))
            corner = center - side / 2
            frame = grey.crop((*corner.tolist(), *(corner + side).tolist()))
            small = np.asarray(frame.resize((48, 48), Image.Resampling.LANCZOS))
            answers = detector.detect(on_canvas(small))
            if not answers or answers[0].landmarks is None or face.landmarks is None:
                continue
            scale = side / (48 * ENLARGED)
            box = np.array(answers[0].box)
            new_middle = (box[:2] + box[2:] / 2 - 24 * ENLARGED) * scale + corner
            shifts.append([(center - middle) / height, (new_middle - middle) / height])
            reach = eyes_to_mouth(answers[0].landmarks) * scale / eyes_to_mouth(face.landmarks)
            sizes.append([math.log(side / height / 1.07), math.log(reach), math.log(box[3] * scale / height)])
    moved, scaled = np.array(shifts), np.array(sizes)
    print(f"{len(moved)} frames; (slope on the frame, intercept)")
    for axis, name in enumerate(("across", "down")):
        slope, rest = np.polyfit(moved[:, 0, axis], moved[:, 1, axis], 1)
        print(f"  box centre {name}: {slope:.3f}, {rest:.3f} of the height")
    for column, name in ((1, "eyes-to-mouth"), (2, "box height")):
        slope, rest = np.polyfit(scaled[:, 0], scaled[:, column], 1)
        print(f"  log {name}: {slope:.3f}, {rest:.3f}")


def classify(session: ort.InferenceSession, crops: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Most likely class of each grey crop ``(N, S, S)``, averaged with its mirror image."""
    answers = []
    for start in range(0, len(crops), 256):
        images = crops[start : start + 256, None].astype(np.float32) / 255
        logits = [session.run(["logits"], {"images": view})[0] for view in (images, images[..., ::-1])]
        shares = [np.exp(rows - rows.max(axis=1, keepdims=True)) for rows in logits]
        answers.append(sum(share / share.sum(axis=1, keepdims=True) for share in shares).argmax(axis=1))
    return np.concatenate(answers)


def measure_accuracy(arguments: argparse.Namespace) -> None:
    """Print the accuracy on PublicTest faces that were found and cut out again, by framing.

    The detector sees the narrow frame here, so the sides are given relative to the one that gives the frame
    back (``2.82`` times eyes to mouth).
    """
    dataset = load_dataset(arguments.dataset)
    rows = dataset.indices("val")
    rows = rows[dataset.pixels[rows].std(axis=(1, 2)) > 5]
    rows = np.random.default_rng(arguments.seed).permutation(rows)[: arguments.count]
    faces, labels = dataset.pixels[rows], dataset.labels[rows]
    import onnxruntime as ort  # after facelex, which keeps it from reporting

    session = ort.InferenceSession(str(arguments.model), providers=["CPUExecutionProvider"])
    size = json.loads(session.get_modelmeta().custom_metadata_map.get("facelex", "{}")).get("image_size", 48)
    detector, enlarged = CenterFace(threshold=0.4), 4
    canvases = [on_canvas(face, enlarged) for face in faces]
    finds = [detector.detect(on_canvas(face)) for face in faces]  # the size at which nearly all are found
    seen = np.array([bool(find) for find in finds])
    print(f"{seen.sum()} of {len(faces)} PublicTest faces found; accuracy on these")
    factor = enlarged / ENLARGED
    grown = [_grow(find[0], factor) for find in finds if find]
    canvases = [canvas for canvas, ok in zip(canvases, seen, strict=True) if ok]
    labels = labels[seen]
    whole = np.stack([np.asarray(Image.fromarray(f).resize((size, size))) for f in faces[seen]])
    print(f"  the frame itself             {(classify(session, whole) == labels).mean():.4f}")
    variants: dict[str, dict] = {}
    for relative in (0.8, 0.85, 0.9, 0.95, 1.0, 1.05, 1.1, 1.2, 1.3):
        variants[f"side x{relative}"] = {"side": 2.82 * relative, "box_side": 1.07 * relative}
    middle = {"side": 2.82, "box_side": 1.07}
    variants["not turned"] = {**middle, "upright": False}
    for down in (-0.08, -0.04, 0.0, 0.04, 0.08):
        variants[f"centre {down:+} sides down"] = {**middle, "offset": (0.0, -0.02 + down)}
    for name, framing in variants.items():
        crops = np.stack(
            [crop_face(canvas, face, size, framing) for canvas, face in zip(canvases, grown, strict=True)]
        )
        print(f"  {name:28s} {(classify(session, crops) == labels).mean():.4f}", flush=True)
    boxes = [Detection(face.box, face.score) for face in grown]
    crops = np.stack([crop_face(c, face, size, middle) for c, face in zip(canvases, boxes, strict=True)])
    print(f"  {'box alone':28s} {(classify(session, crops) == labels).mean():.4f}")

    for angle in (20, 40, 60, 90):
        turned = [_turn(face, angle) for face in faces[seen]]
        again = [detector.detect(image) for image in turned]
        kept = [row for row, find in enumerate(again) if find]
        print(f"  turned by {angle} degrees: {len(kept)} found;", end="")
        for name, upright in (("cut upright", True), ("cut as they are", False)):
            framing = {**middle, "upright": upright}
            crops = np.stack([crop_face(turned[row], again[row][0], size, framing) for row in kept])
            print(f" {name} {(classify(session, crops) == labels[kept]).mean():.4f}", end="")
        print(flush=True)


def _turn(face: NDArray[np.uint8], angle: float) -> NDArray[np.uint8]:
    canvas = Image.fromarray(on_canvas(face))
    return np.asarray(canvas.rotate(angle, Image.Resampling.BICUBIC, fillcolor=(GREY,) * 3))


def _grow(face: Detection, factor: float) -> Detection:
    x, y, width, height = (value * factor for value in face.box)
    landmarks = None if face.landmarks is None else face.landmarks * np.float32(factor)
    return Detection((x, y, width, height), face.score, landmarks)


def main() -> None:
    """Run the measurement that the command line names."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=1)
    commands = parser.add_subparsers(required=True)
    frame = commands.add_parser("frame")
    frame.add_argument("dataset", type=Path)
    frame.add_argument("--count", type=int, default=1000)
    frame.set_defaults(measure=measure_frame)
    context = commands.add_parser("context")
    context.add_argument("photos", type=Path, nargs="+")
    context.add_argument("--times", type=int, default=15)
    context.set_defaults(measure=measure_context)
    accuracy = commands.add_parser("accuracy")
    accuracy.add_argument("dataset", type=Path)
    accuracy.add_argument("model", type=Path)
    accuracy.add_argument("--count", type=int, default=1000)
    accuracy.set_defaults(measure=measure_accuracy)
    arguments = parser.parse_args()
    arguments.measure(arguments)


if __name__ == "__main__":
    tell_mistakes(main)
