"""Choosing a detector by name, and what is said when that fails."""

import copy
import hashlib
import pickle
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from facelex.errors import FacelexError, MissingExtraError
from facelex.recognize.faces import create_detector, list_detectors


def astronaut() -> np.ndarray:
    with files("facelex").joinpath("samples/astronaut.jpg").open("rb") as stream:
        return np.asarray(Image.open(stream).convert("RGB"))


def test_the_names_are_listed():
    assert list_detectors() == ["auto", "centerface", "dlib", "yunet", "none"]


def test_auto_is_the_packaged_detector():
    assert create_detector().name == "centerface"


def test_a_misspelt_detector_is_named_with_a_suggestion():
    with pytest.raises(
        FacelexError, match=r"Unknown face detector 'centreface'. Did you mean 'centerface'\?"
    ):
        create_detector("centreface")


@pytest.mark.parametrize(("name", "module"), [("dlib", "dlib"), ("yunet", "cv2")])
def test_a_detector_without_its_package_says_which_extra_brings_it(monkeypatch, tmp_path, name, module):
    monkeypatch.setitem(sys.modules, module, None)
    model = tmp_path / "model.onnx" if name == "yunet" else None
    with pytest.raises(MissingExtraError, match=rf"'{module}'.*facelex\[{name}\]"):
        create_detector(name, model)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("raise ImportError('libX11.so.6: no such library')", "libX11.so.6"),
        ("import gone_elsewhere", "gone_e"),
    ],
)
def test_a_package_that_is_installed_but_broken_is_not_called_missing(monkeypatch, tmp_path, fault, reason):
    (tmp_path / "dlib.py").write_text(fault)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "dlib", raising=False)
    with pytest.raises(MissingExtraError, match=rf"'dlib'.*cannot be loaded: .*{reason}.*\[dlib\]") as caught:
        create_detector("dlib")
    assert "not installed" not in str(caught.value)


def test_a_detectors_model_file_is_known_by_its_digest(tmp_path):
    packaged = files("facelex").joinpath("weights/centerface.onnx").read_bytes()
    assert create_detector().model_digest == hashlib.sha256(packaged).hexdigest()
    copy = tmp_path / "other.onnx"
    copy.write_bytes(packaged)
    assert create_detector("centerface", copy).model_digest == hashlib.sha256(packaged).hexdigest()


def test_yunet_asks_for_its_model_file():
    with pytest.raises(FacelexError, match="Expected a model file with the detector 'yunet', but got none"):
        create_detector("yunet")


@pytest.mark.parametrize("name", ["dlib", "none"])
def test_a_model_file_is_refused_where_none_is_used(name):
    with pytest.raises(FacelexError, match="takes no model file"):
        create_detector(name, Path("model.onnx"))


def test_a_missing_model_file_is_named(tmp_path):
    with pytest.raises(FacelexError, match=r"gone\.onnx.*No such file"):
        create_detector("centerface", tmp_path / "gone.onnx")


def test_a_file_that_is_no_model_is_named(tmp_path):
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a model")
    with pytest.raises(FacelexError, match=r"broken\.onnx.*cannot load it"):
        create_detector("centerface", broken)


def test_a_model_of_another_kind_is_refused_with_what_it_has(tmp_path):
    onnx = pytest.importorskip("onnx")
    value = onnx.helper.make_tensor_value_info
    node = onnx.helper.make_node("Identity", ["images"], ["logits"])
    graph = onnx.helper.make_graph([node], "other", [value("images", 1, [1])], [value("logits", 1, [1])])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "other.onnx")
    with pytest.raises(FacelexError, match=r"other\.onnx.*has outputs logits"):
        create_detector("centerface", tmp_path / "other.onnx")


def test_the_packaged_model_is_the_one_whose_checksum_is_documented():
    folder = files("facelex").joinpath("weights")
    checksum = hashlib.sha256(folder.joinpath("centerface.onnx").read_bytes()).hexdigest()
    assert checksum in folder.joinpath("centerface.LICENSE.md").read_text()


def test_every_sample_photograph_has_its_rights_written_down():
    folder = files("facelex").joinpath("samples")
    rights = folder.joinpath("LICENSES.md").read_text()
    photographs = [entry.name for entry in folder.iterdir() if entry.name.endswith(".jpg")]
    assert len(photographs) >= 3
    assert [name for name in photographs if f"`{name}`" not in rights] == []


def test_dlib_boxes_are_those_of_the_packaged_detector():
    pytest.importorskip("dlib")
    image = astronaut()
    faces = create_detector("dlib").detect(image)
    assert len(faces) == 1
    assert faces[0].landmarks is None
    x, y, width, height = create_detector().detect(image)[0].box
    assert faces[0].box[3] == pytest.approx(height, rel=0.25)
    found_x, found_y, found_width, found_height = faces[0].box
    assert found_x + found_width / 2 == pytest.approx(x + width / 2, abs=0.15 * height)
    assert found_y + found_height / 2 == pytest.approx(y + height / 2, abs=0.15 * height)


def test_one_search_of_dlib_runs_at_a_time(monkeypatch):
    """dlib's object holds the picture that is searched, and dlib lets other threads run meanwhile."""
    running = threading.Lock()

    class Stand:
        def run(self, image, upsampled, threshold):
            assert running.acquire(blocking=False)
            time.sleep(0.002)
            running.release()
            return [], [], []

    monkeypatch.setitem(sys.modules, "dlib", SimpleNamespace(get_frontal_face_detector=Stand))
    detector = create_detector("dlib")
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(detector.detect, [np.zeros((64, 64, 3), np.uint8)] * 16)) == [[]] * 16


def test_dlib_answers_the_same_in_many_threads():
    pytest.importorskip("dlib")
    detector, image = create_detector("dlib"), astronaut()[20:240, 120:340]
    pictures = [image, np.ascontiguousarray(image[:, ::-1]), image[:200], image[:, 10:]]

    def boxes(picture):
        return [face.box for face in detector.detect(picture)]

    alone = [boxes(picture) for picture in pictures]
    assert all(alone)
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(boxes, pictures * 4)) == alone * 4


def test_yunet_answers_are_read_in_picture_pixels(monkeypatch, tmp_path):
    """OpenCV stands aside here: a stand-in answers a row as OpenCV documents it, in the shrunk picture."""
    sizes = []
    row = [10, 20, 30, 40, *range(100, 110), 0.8]

    class Stand:
        def setInputSize(self, size):  # noqa: N802
            sizes.append(size)

        def detect(self, image):
            if not sizes:  # the trial when it is loaded
                return 1, None
            assert image[0, 0].tolist() == [3, 2, 1]  # BGR
            return 1, np.array([row, [*row[:-1], 0.9]], np.float32)

    create = SimpleNamespace(create=lambda *_, **__: Stand())
    monkeypatch.setitem(sys.modules, "cv2", SimpleNamespace(FaceDetectorYN=create, error=RuntimeError))
    model = tmp_path / "yunet.onnx"
    model.write_bytes(b"")
    image = np.empty((1920, 2560, 3), np.uint8)
    image[:] = (1, 2, 3)
    detector = create_detector("yunet", model)
    faces = detector.detect(image)
    assert sizes == [(1280, 960)]
    assert [face.score for face in faces] == pytest.approx([0.9, 0.8])
    assert faces[0].box == pytest.approx((20, 40, 60, 80))
    assert faces[0].landmarks[0] == pytest.approx([200, 202])
    assert detector.model_digest == hashlib.sha256(b"").hexdigest()
    sizes.clear()
    assert pickle.loads(pickle.dumps(detector)).detect(image)[0].box == faces[0].box


@pytest.mark.parametrize("name", ["auto", "dlib", "none"])
def test_detectors_can_be_pickled_and_copied(name):
    if name == "dlib":
        pytest.importorskip("dlib")
    detector, image = create_detector(name), astronaut()
    for other in (pickle.loads(pickle.dumps(detector)), copy.deepcopy(detector)):
        assert [face.box for face in other.detect(image)] == [face.box for face in detector.detect(image)]


@pytest.mark.parametrize("content", ["no model", "another network"])
def test_a_file_that_is_no_yunet_is_refused(tmp_path, content):
    pytest.importorskip("cv2")
    model = tmp_path / "other.onnx"
    packaged = files("facelex").joinpath("weights/centerface.onnx").read_bytes()
    model.write_bytes(packaged if content == "another network" else b"no model")
    with pytest.raises(FacelexError, match=r"other\.onnx' to be a YuNet ONNX file"):
        create_detector("yunet", model)


def test_finding_faces_needs_neither_torch_nor_opencv():
    code = (
        "import sys, numpy as np; from facelex.recognize.faces import create_detector; "
        "create_detector().detect(np.zeros((64, 64, 3), np.uint8)); "
        "print([m for m in ('torch', 'cv2', 'dlib', 'scipy', 'onnx') if m in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
