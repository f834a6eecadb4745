"""The record inside an exported network: what is written is read again, and damage is named."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from tiny_recognition import TinyVocabulary, word_arrays, write_model

from facelex import Recognizer
from facelex.errors import FacelexError
from facelex.recognize import model as model_module
from facelex.recognize.metadata import ARRAYS, INFO, Metadata, read_arrays, read_metadata
from facelex.recognize.model import load_model

LEAST = {"format": 1, "classes": ["happy", "sad"], "image_size": 48}


def read(info: object) -> Metadata:
    return read_metadata({INFO: json.dumps(info)}, "m.onnx")


def test_what_is_written_is_read_again() -> None:
    plain = Metadata(classes=["happy", "sad"], image_size=48, crop_size=64)
    full = Metadata(
        name="mine", classes=["happy", "sad"], image_size=48, crop_size=64, temperature=0.7, unsure_below=0.6,
        flip=False, framing={"side": 2.0}, words={"happy": ["joy"], "sad": ["grief"]}, embed_dim=6,
        word_dim=5, vocabulary="tiny", words_stale=True, precision={"name": "fp32"}, scores={"test": {}},
        training={"epochs": 4}, card="# Mine", added={"later": 1},
    )  # fmt: skip
    for metadata in (plain, full):
        assert read_metadata(metadata.to_properties(), "m.onnx") == metadata
    assert ARRAYS not in full.to_properties()


@pytest.mark.parametrize("half", [False, True])
def test_arrays_come_back_as_they_were_or_with_half_the_digits(half: bool) -> None:
    arrays = word_arrays()
    back = read_arrays(
        Metadata(classes=["a"], image_size=48, crop_size=48).to_properties(arrays, half=half), ""
    )
    assert back is not None
    assert list(back) == list(arrays)
    for name, array in back.items():
        assert array.dtype == np.float32
        exact = not half or name.startswith("feature_")
        np.testing.assert_allclose(array, arrays[name], rtol=0 if exact else 1e-3, atol=0 if exact else 1e-6)


@pytest.mark.parametrize("name", model_module.PACKAGED)
def test_the_packaged_models_say_all_that_they_said(name: str) -> None:
    session = onnxruntime.InferenceSession(str(model_module.PACKAGED[name]))
    written = json.loads(session.get_modelmeta().custom_metadata_map["facelex"])
    info = Recognizer(name).info
    assert {key: info[key] for key in written} == written
    assert set(info) - set(written) <= {"crop_size"}  # as large as the images where a file does not say it
    assert info["crop_size"] == 48


def test_what_a_file_does_not_say_has_its_default() -> None:
    metadata = read(LEAST)
    assert metadata == Metadata(classes=["happy", "sad"], image_size=48, crop_size=48)
    assert (metadata.temperature, metadata.unsure_below, metadata.flip) == (1.0, 0.4, True)
    assert read(LEAST | {"framing": None, "words": None, "training": "by hand", "scores": [1]}) == metadata


def test_what_a_later_version_adds_is_kept() -> None:
    metadata = read(LEAST | {"later": [1]})
    assert metadata.added == {"later": [1]}
    assert metadata.to_json()["later"] == [1]


@pytest.mark.parametrize("text", ["{", "[1]", "5", '"a"', "{}", "null", "[" * 100_000])
def test_damaged_metadata_are_named(text: str) -> None:
    with pytest.raises(FacelexError, match=r"The metadata of 'm\.onnx' is damaged\. Export the model again"):
        read_metadata({INFO: text}, "m.onnx")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"classes": None}, "Expected a list at classes, but got null"),
        ({"image_size": None}, "Expected a whole number at image_size, but got null"),
        ({"flip": "yes"}, 'Expected true or false at flip, but got "yes"'),
        ({"words": {"happy": "joy"}}, r'Expected a list at words\.happy, but got "joy"'),
        ({"framing": [1]}, r"Expected an object at framing, but got \[1\]"),
        ({"vocabulary": 5}, "Expected text at vocabulary, but got 5"),
        (
            {"classes": [], "crop_size": 4, "temperature": None},
            r"its classes is \[\]; its crop_size is 4; its t",
        ),
    ],
)
def test_what_cannot_be_read_is_named(change: dict[str, object], said: str) -> None:
    with pytest.raises(
        FacelexError, match=rf"'m\.onnx' is not a usable model: {said}.* Export the model again"
    ):
        read(LEAST | change)
    with pytest.raises(FacelexError, match="Expected image_size at the top, but got none"):
        read({"format": 1, "classes": ["happy"]})


def test_parts_of_the_record_of_training_are_read_as_far_as_they_are_there() -> None:
    metadata = read(LEAST | {"training": {"settings": {"model": {"width": 2}}, "dataset": 3}})
    assert metadata.recorded("settings", "model") == {"width": 2}
    for names in (("dataset",), ("dataset", "source"), ("settings", "model", "width"), ("none",)):
        assert metadata.recorded(*names) == {}


def test_a_file_that_does_not_name_its_word_vectors_answers_all_but_words(tmp_path: Path) -> None:
    recognizer = Recognizer(
        write_model(tmp_path / "m.onnx", metadata={"vocabulary": None}), vocabulary=TinyVocabulary()
    )
    crops = np.zeros((1, 48, 48), np.uint8)
    assert recognizer.classify(crops).shape == (1, 7)
    with pytest.raises(FacelexError, match=r"'m\.onnx' does not name its word vectors\. Export the model"):
        recognizer.score_words(recognizer.embed(crops), "bored")


def test_a_network_without_a_name_is_called_by_its_file(tmp_path: Path) -> None:
    assert load_model(write_model(tmp_path / "m.onnx", metadata={"name": None})).title == "m.onnx"
    assert load_model(write_model(tmp_path / "m.onnx")).title == "tiny"
