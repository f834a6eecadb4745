"""Find faces and cut them out: detectors by name, and the crop that a recogniser wants to see."""

from __future__ import annotations

from pathlib import Path

from facelex.errors import FacelexError, unknown_name
from facelex.recognize.centerface import CenterFace
from facelex.recognize.detection import Detection, Detector
from facelex.recognize.detectors import DlibHog, WholePicture, YuNet
from facelex.recognize.framing import crop_face

__all__ = ["Detection", "Detector", "check_detector", "create_detector", "crop_face", "list_detectors"]

DETECTORS = ("auto", "centerface", "dlib", "yunet", "none")


def list_detectors() -> list[str]:
    """Return the names that `create_detector` knows."""
    return list(DETECTORS)


def create_detector(name: str = "auto", model: Path | None = None, *, threads: int | None = None) -> Detector:
    """Build a face detector.

    Args:
        name: ``auto`` and ``centerface``: the packaged CenterFace. ``dlib``: dlib's quick detector of upright
            frontal faces. ``yunet``: OpenCV's YuNet with your ``model`` file. ``none``: every picture
            is one face, cropped already.
        model: ONNX file for ``yunet`` (needed) or ``centerface`` (instead of the packaged one).
        threads: Threads CenterFace searches a picture with, by default the physical cores this process may
            use; the other detectors have no such choice.

    Raises:
        FacelexError: If the name is not known or the model file does not fit.
        MissingExtraError: If the detector's package is not installed.
    """
    check_detector(name, model)
    if name == "yunet":
        assert model is not None  # check_detector has refused
        return YuNet(model)
    if name in ("auto", "centerface"):
        return CenterFace(model, threads=threads)
    return DlibHog() if name == "dlib" else WholePicture()


def check_detector(name: str, model: Path | None = None) -> None:
    """Refuse what `create_detector` would, as far as that can be said without loading anything.

    Raises:
        FacelexError: If the name is not known, or a model file is missing or not wanted.
    """
    if name not in DETECTORS:
        raise unknown_name("face detector", name, DETECTORS)
    if name == "yunet" and model is None:
        raise FacelexError(
            "Expected a model file with the detector 'yunet', but got none. Take a YuNet ONNX file, for "
            "example face_detection_yunet_2023mar.onnx of OpenCV's model zoo: --detector-model FILE, or in "
            "Python from facelex.recognize.faces import create_detector and give "
            "detector=create_detector('yunet', Path(FILE))."
        )
    if name in ("dlib", "none") and model is not None:
        raise FacelexError(
            f"The detector {name!r} takes no model file, but got {str(model)!r}. Leave it out."
        )
