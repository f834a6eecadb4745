"""Recognizer: probabilities, flip, words, features, crops in every form, models by path and hub."""

from __future__ import annotations

import copy
import inspect
import io
import json
import pickle
import subprocess
import sys
import types
import typing
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from tiny_recognition import EMBED, FixedDetector, TinyVocabulary, word_arrays, write_model

from facelex import Vocabulary
from facelex.emotions import EMOTION_WORDS, EMOTIONS
from facelex.errors import FacelexError
from facelex.recognize import model as model_module
from facelex.recognize.detection import Detection
from facelex.recognize.faces import create_detector
from facelex.recognize.model import load_model
from facelex.recognize.recognizer import Recognizer
from facelex.recognize.sessions import default_threads
from facelex.recognize.words import parse_words

SAMPLES = Path(model_module.__file__).parents[1] / "samples"


@pytest.fixture
def crops() -> np.ndarray:
    return np.random.default_rng(5).integers(0, 256, (9, 48, 48), dtype=np.uint8)


def plain_probabilities(path: Path, images: np.ndarray, temperature: float) -> np.ndarray:
    """Softmax of the raw network's logits, written as a plain loop."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    rows = []
    for image in images:
        logits = session.run(["logits"], {"images": image[None, None].astype(np.float32) / 255})[0][0]
        powers = np.exp((logits - logits.max()) / temperature)
        rows.append(powers / powers.sum())
    return np.stack(rows)


def test_probabilities_are_the_calibrated_mean_of_picture_and_mirror(tiny_model, recognizer, crops):
    upright = plain_probabilities(tiny_model, crops, 1.5)
    mirrored = plain_probabilities(tiny_model, crops[:, :, ::-1], 1.5)
    np.testing.assert_allclose(recognizer.classify(crops, flip=False), upright, atol=1e-5)
    np.testing.assert_allclose(recognizer.classify(crops), (upright + mirrored) / 2, atol=1e-5)
    assert np.abs(upright - mirrored).max() > 0.05


def test_a_model_that_declines_flip_is_not_flipped(tmp_path, crops):
    path = write_model(tmp_path / "m.onnx", metadata={"flip": False})
    np.testing.assert_allclose(
        Recognizer(path).classify(crops), plain_probabilities(path, crops, 1.5), atol=1e-5
    )


def test_classify_takes_arrays_lists_and_floats_alike(recognizer, crops, save_picture):
    expected = recognizer.classify(crops)
    assert expected.dtype == np.float32
    assert expected.shape == (9, 7)
    np.testing.assert_allclose(expected.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(recognizer.classify(list(crops)), expected, atol=1e-6)
    np.testing.assert_allclose(recognizer.classify(crops / 255.0), expected, atol=1e-5)
    np.testing.assert_allclose(recognizer.classify(crops / 255.0 + 1e-7), expected, atol=1e-5)
    np.testing.assert_allclose(recognizer.classify(crops[:, None]), expected, atol=1e-6)
    np.testing.assert_allclose(recognizer.classify(np.stack([crops] * 3, -1)), expected, atol=1e-6)
    mixed = [Image.fromarray(crops[0]), save_picture(crops[1], "a.png"), crops[2] / 255.0]
    np.testing.assert_allclose(recognizer.classify(mixed), expected[:3], atol=1e-5)
    assert recognizer.classify([np.zeros((30, 80, 3), np.uint8)]).shape == (1, 7)


def test_no_crops_give_no_rows(recognizer):
    assert recognizer.classify([]).shape == (0, 7)
    assert recognizer.classify(np.zeros((0, 48, 48), np.uint8)).shape == (0, 7)
    assert recognizer.embed([]).shape == (0, EMBED)


@pytest.mark.parametrize(
    ("crops", "message"),
    [
        (np.zeros((48, 48), np.uint8), r"crop\[None\]"),
        (np.zeros((48, 48, 3), np.uint8), r"crop\[None\]"),
        (np.full((2, 48, 48), 255.0), "Divide by 255"),
        (np.full((2, 48, 48), np.nan), "finite pixels, but the array of crops holds NaN"),
        (np.zeros((2, 48, 48), np.int64), "astype"),
        (Image.new("L", (48, 48)), r"\[crop\]"),
        ("photo.jpg", r"\[crop\]"),
        (bytearray(b"photo"), r"one bytearray.*\[crop\]"),
        (io.BytesIO(b"photo\nphoto"), r"one BytesIO.*\[crop\]"),
        (7, r"\[crop\]"),
    ],
)
def test_wrong_crops_are_refused_with_a_remedy(recognizer, crops, message):
    with pytest.raises(FacelexError, match=message):
        recognizer.classify(crops)


def test_predict_gives_a_face_for_each_detection_with_its_box(recognizer, photo):
    faces = recognizer.predict(photo)
    assert [face.box for face in faces] == [(12.0, 18.0, 36.0, 36.0), (60.0, 27.0, 36.0, 45.0)]
    for face in faces:
        assert tuple(face.probabilities) == EMOTIONS
        assert sum(face.probabilities.values()) == pytest.approx(1, abs=1e-5)
        assert face.emotion == max(face.probabilities, key=face.probabilities.get)
        assert face.unsure == (face.probability < 0.4)
        assert np.linalg.norm(face.embedding) == pytest.approx(1, abs=1e-5)


def test_whole_picture_without_detection_equals_classify(recognizer, crops):
    (face,) = recognizer.predict(crops[0], detect=False)
    assert face.box == (0.0, 0.0, 48.0, 48.0)
    assert list(face.probabilities.values()) == pytest.approx(list(recognizer.classify(crops[:1])[0]))


def test_bgr_frames_equal_their_rgb_picture(recognizer, photo):
    assert recognizer.predict(photo[:, :, ::-1], bgr=True) == recognizer.predict(photo)
    assert recognizer.predict(photo[:, :, ::-1]) != recognizer.predict(photo)


def test_bgr_crops_equal_their_rgb_pictures(recognizer, photo):
    crops = np.stack([photo[:48, :48], photo[40:88, 40:88]])
    for read in (recognizer.classify, recognizer.embed):
        for form in (crops[..., ::-1], list(crops[..., ::-1])):
            np.testing.assert_array_equal(read(form, bgr=True), read(crops))
        assert not np.array_equal(read(crops[..., ::-1]), read(crops))


@pytest.mark.parametrize("copied", [lambda one: pickle.loads(pickle.dumps(one)), copy.deepcopy, copy.copy])
def test_a_recogniser_can_be_pickled_and_copied(tiny_model, photo, copied):
    for detector in ("none", FixedDetector((0.1, 0.2, 0.3, 0.4)), create_detector("centerface", threads=1)):
        one = Recognizer(tiny_model, detector=detector, threads=1, vocabulary=TinyVocabulary())
        expected = one.predict(photo, words="bored")  # after which all of it is loaded
        one.unsure_below = 0.9
        other = copied(one)
        assert (other.unsure_below, other.flip, type(other.detector)) == (0.9, one.flip, type(one.detector))
        found = other.predict(photo, words="bored")
        assert [(face.box, face.probabilities, face.words) for face in found] == [
            (face.box, face.probabilities, face.words) for face in expected
        ]
        assert other._model.session.get_session_options().intra_op_num_threads == 1


@pytest.mark.parametrize(
    ("answer", "came"),
    [
        (None, "but got NoneType"),
        ([(1, 2, 3, 4)], "but got list of tuple"),
        (np.zeros((2, 4)), "but got ndarray of ndarray"),
    ],
)
def test_what_an_own_detector_must_return_is_said(tiny_model, photo, answer, came):
    detector = types.SimpleNamespace(detect=lambda image: answer)
    with pytest.raises(FacelexError, match=rf"to return a list of Detection, {came}\."):
        Recognizer(tiny_model, detector=detector).predict(photo)


def test_signatures_have_types_that_can_be_looked_up():
    methods = [value for name, value in vars(Recognizer).items() if inspect.isfunction(value)]
    assert len(methods) > 10
    for method in (*methods, load_model, create_detector, Vocabulary.phrase):
        typing.get_type_hints(method)


def test_no_face_is_an_empty_list(tiny_model, photo):
    assert Recognizer(tiny_model, detector=FixedDetector()).predict(photo) == []


def test_unsure_threshold_can_be_moved(tiny_model, photo):
    detector = FixedDetector((0, 0, 1, 1))
    assert all(
        face.unsure for face in Recognizer(tiny_model, detector=detector, unsure_below=1.0).predict(photo)
    )
    assert not any(
        face.unsure for face in Recognizer(tiny_model, detector=detector, unsure_below=0.0).predict(photo)
    )
    with pytest.raises(FacelexError, match=r"\[0, 1\]"):
        Recognizer(tiny_model, unsure_below=40)


def test_an_own_detector_may_answer_in_numpys_numbers(tiny_model, photo):
    class OwnDetector:
        def detect(self, image):
            return [Detection(tuple(np.float32([0, 0, 60, 60])), np.float32(0.9))]

    for limit in (1, 100):
        own = Recognizer(tiny_model, detector=OwnDetector(), unsure_below=0.0, readable_from=limit)
        (face,) = own.predict(photo)
        assert json.loads(json.dumps(face.to_dict()))["unsure"] is (limit == 100)


def test_word_score_follows_the_published_formula(recognizer, crops):
    arrays = {name: array.astype(np.float64) for name, array in word_arrays().items()}
    words = ["bored", "barely hidden anger"]
    features = recognizer.embed(crops)
    scores = recognizer.score_words(features, words)
    assert scores.shape == (9, 2)
    from math import erf, sqrt

    for j, word in enumerate(words):
        w = TinyVocabulary().phrase(word).astype(np.float64)
        hidden = np.maximum(arrays["text_weight1"] @ (w - arrays["text_center"]) + arrays["text_bias1"], 0)
        u = arrays["text_weight2"] @ hidden + arrays["text_bias2"]
        u /= np.linalg.norm(u)
        for i, v in enumerate(features):
            z = (v @ u - arrays["feature_mean"] @ u) / sqrt(u @ arrays["feature_cov"] @ u)
            assert scores[i, j] == pytest.approx(0.5 * (1 + erf(z / sqrt(2))), abs=1e-4)


def test_rank_orders_each_faces_words_best_first(recognizer, photo):
    words = ["bored", "proud", "delighted", "barely hidden anger"]
    ranked = recognizer.rank(photo, words)
    plain = recognizer.predict(photo, words=words)
    assert len(ranked) == 2
    for one, other in zip(ranked, plain):
        assert list(one.words.values()) == sorted(one.words.values(), reverse=True)
        assert list(other.words) == words
        assert one.words == other.words


def test_words_may_be_one_comma_separated_text(recognizer, photo):
    (first, _) = recognizer.predict(photo, words=" bored,barely   hidden anger, bored")
    assert list(first.words) == ["bored", "barely hidden anger"]


def test_words_may_come_from_any_iterable(recognizer, photo, crops):
    words = ["bored", "barely hidden anger"]

    def scored(faces):
        return [{word: face.words[word] for word in words} for face in faces]

    expected = scored(recognizer.predict(photo, words=words))
    detections = recognizer.find(photo)
    cut = recognizer.crop(photo, detections)
    assert scored(recognizer.predict(photo, words=iter(words))) == expected
    assert scored(recognizer.rank(photo, (word for word in words))) == expected
    assert scored(recognizer.describe(photo, detections, words=dict.fromkeys(words))) == expected
    assert scored(recognizer.faces_of(detections, cut, words=iter(words))) == expected
    results = list(recognizer.predict_many([photo] * 3, words=iter(words), batch_size=1))
    assert [scored(result.faces) for result in results] == [expected] * 3
    features = recognizer.embed(crops)
    np.testing.assert_array_equal(
        recognizer.score_words(features, iter(words)), recognizer.score_words(features, words)
    )


@pytest.mark.parametrize("words", ["", " ", "bored,,proud", [], [""], [3], ["bored", None], 5, iter([""])])
def test_empty_or_odd_words_are_refused(words):
    with pytest.raises(FacelexError, match="words"):
        parse_words(words)


def test_all_unknown_words_are_named_before_any_picture_is_read(recognizer):
    with pytest.raises(FacelexError, match=r"(?s)b0red.*pr0ud"):
        recognizer.predict("no-such-file.jpg", words="b0red, happy, pr0ud")
    with pytest.raises(FacelexError, match="b0red"):
        recognizer.predict_many(["no-such-file.jpg"], words="b0red")


def test_a_model_without_words_classifies_but_declines_words(wordless_model, crops):
    recognizer = Recognizer(wordless_model, detector="none")
    (face,) = recognizer.predict(crops[0])
    assert face.embedding is None
    assert face.words == {}
    for call in (lambda: recognizer.embed(crops), lambda: recognizer.rank(crops[0], ["bored"])):
        with pytest.raises(FacelexError, match="trained with words"):
            call()


@pytest.mark.parametrize(
    ("features", "found"),
    [
        (np.full((2, EMBED), np.nan), "numbers that are not finite"),
        (np.eye(EMBED)[0], rf"shape \({EMBED},\)"),
        (np.eye(EMBED + 1), rf"shape \({EMBED + 1}, {EMBED + 1}\)"),
        (np.full((2, EMBED), 9.0), "a length of 22"),
        (np.zeros((1, EMBED)), "a length of 0"),
        (1.0, r"shape \(\)"),
        ([["a"]], "a list that is no array of numbers"),
        (None, "shape|NoneType"),
    ],
)
def test_features_that_are_none_are_refused(recognizer, features, found):
    with pytest.raises(
        FacelexError, match=rf"finite features of unit length, shape \(N, {EMBED}\).*({found})"
    ):
        recognizer.score_words(features, "bored")


def test_features_may_be_none_at_all_or_in_half_precision(recognizer, crops):
    features = recognizer.embed(crops)
    np.testing.assert_allclose(
        recognizer.score_words(features.astype(np.float16), "bored"),
        recognizer.score_words(features, "bored"),
        atol=0.01,
    )
    assert recognizer.score_words(features[:0], "bored, proud").shape == (0, 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": 5}, "Expected model to be a name or the path of an ONNX file, but got 5"),
        ({"threads": "2"}, "Expected threads to be a whole number, 1 or more, but got '2'"),
        ({"threads": 1.5}, "Expected threads to be a whole number, 1 or more, but got 1.5"),
        ({"unsure_below": "a"}, r"Expected unsure_below to be a probability in \[0, 1\], but got 'a'"),
        ({"unsure_below": float("nan")}, r"a probability in \[0, 1\], but got nan"),
        ({"readable_from": "a"}, "Expected readable_from in pixels, 0 or more, but got 'a'"),
        ({"readable_from": -1}, "0 or more, but got -1"),
        (
            {"vocabulary": 5},
            "Expected vocabulary to be a Vocabulary or the path of a GloVe text file, but got 5",
        ),
    ],
)
def test_options_of_a_wrong_type_are_refused(options, message):
    with pytest.raises(FacelexError, match=message):
        Recognizer(**options)


def test_words_of_a_wrong_type_are_refused(recognizer, photo):
    with pytest.raises(FacelexError, match="Expected words to rank"):
        recognizer.rank(photo, None)
    with pytest.raises(FacelexError, match="or a list of them, but got 5 of type int"):
        recognizer.predict(photo, words=5)


def test_vocabulary_may_be_a_path(tiny_model, crops, tmp_path):
    path = tmp_path / "g.txt"
    path.write_text("bored 1 2 3 4 5\nproud 5 -4 3 2 1\n", encoding="utf-8")
    given = [Recognizer(tiny_model, vocabulary=v) for v in (path, str(path), Vocabulary.from_glove(path))]
    features = given[0].embed(crops)
    by_path, by_text, by_object = (one.score_words(features, "bored, proud") for one in given)
    np.testing.assert_array_equal(by_path, by_object)
    np.testing.assert_array_equal(by_text, by_object)
    with pytest.raises(FacelexError, match="there is no such file"):
        Recognizer(tiny_model, vocabulary="missing.txt").score_words(features, "bored")


def test_vocabulary_of_another_width_is_refused(tiny_model):
    vocabulary = TinyVocabulary()
    vocabulary.dim = 300
    with pytest.raises(FacelexError, match=r"5 numbers.*300"):
        Recognizer(tiny_model, vocabulary=vocabulary).score_words(np.zeros((1, EMBED)), "happy")


def test_vectors_the_model_was_not_trained_with_are_refused_by_name(tiny_model):
    with pytest.raises(FacelexError, match=r"'tiny'.*'glove\.6B\.100d'.*--vocabulary FILE"):
        Recognizer(tiny_model).score_words(np.zeros((1, EMBED)), "happy")


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"format": 2}, r"format 1, but '.*m\.onnx' has 2: a newer version .* exported it\. Update facelex"),
        ({"format": "1.0"}, r"its format is '1\.0'\. Export the model again"),
        ({"classes": []}, "classes"),
        ({"classes": [1, 2]}, "classes"),
        ({"image_size": "big"}, "image_size"),
        ({"temperature": 0}, "temperature"),
        ({"temperature": -1, "crop_size": 4}, r"its crop_size is 4; its temperature is -1\.0"),
        ({"unsure_below": None}, "unsure_below"),
        ({"embed_dim": 5}, r"image_features have shape .* for an embed_dim of 5"),
        ({"embed_dim": None}, "for an embed_dim of None"),
        ({"classes": ["happy", "sad"]}, "2 classes"),
        ({"image_size": 64}, r"\(B, 1, 64, 64\)"),
    ],
)
def test_damaged_metadata_is_refused(tmp_path, metadata, message):
    with pytest.raises(FacelexError, match=message):
        load_model(write_model(tmp_path / "m.onnx", metadata=metadata))


def test_files_that_are_no_model_are_refused(tmp_path, tiny_model):
    junk = tmp_path / "junk.onnx"
    junk.write_bytes(b"no protobuf at all")
    with pytest.raises(FacelexError, match="facelex export"):
        Recognizer(junk)
    with pytest.raises(FacelexError, match=r"Did you mean 'junk\.onnx'"):
        Recognizer(tmp_path / "jnk.onnx")
    import onnx

    bare = onnx.load(str(tiny_model))
    del bare.metadata_props[:]
    onnx.save(bare, str(tmp_path / "bare.onnx"))
    with pytest.raises(FacelexError, match="metadata"):
        Recognizer(tmp_path / "bare.onnx")


@pytest.mark.parametrize("name", model_module.PACKAGED)
def test_every_model_of_the_package_answers_in_labels_and_words(name):
    recognizer = Recognizer(name, threads=1)
    (face,) = recognizer.predict(SAMPLES / "astronaut.jpg", words="delighted, mourning")
    assert face.emotion == "happy"
    assert face.words["delighted"] > face.words["mourning"]
    assert recognizer.info["card"].startswith("# Model card")


def test_the_smaller_models_are_small_and_named_like_files_they_are_not():
    assert model_module.find_model("tiny").stat().st_size < 0.5e6
    assert model_module.find_model("small").stat().st_size < 1e6
    assert model_module.find_model(Path("tiny")) == model_module.find_model("tiny")
    with pytest.raises(FacelexError, match="Did you mean 'tiny'"):
        model_module.find_model("tinny")
    with pytest.raises(FacelexError, match="No model file at 'runs/tiny'") as error:
        model_module.find_model("runs/tiny")
    assert "Did you mean" not in str(error.value)


def test_missing_shipped_model_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setitem(model_module.PACKAGED, "shipped", tmp_path / "default.onnx")
    with pytest.raises(FacelexError, match=r"lacks the model 'shipped'.*--model"):
        Recognizer()


@pytest.mark.parametrize("name", ["x" * 300, "x/" * 3000 + "model.onnx", "hf:" + "x" * 3000])
def test_a_long_model_name_is_refused_in_a_short_sentence(name):
    pytest.importorskip("huggingface_hub")
    with pytest.raises(FacelexError) as caught:
        Recognizer(name)
    assert len(str(caught.value)) < 500


def test_hub_models_are_fetched_by_owner_and_name(monkeypatch, tiny_model):
    asked = []

    def download(repository: str, filename: str) -> str:
        asked.append((repository, filename))
        if repository == "some/missing":
            raise OSError("404 Client Error")
        return str(tiny_model)

    monkeypatch.setitem(sys.modules, "huggingface_hub", types.SimpleNamespace(hf_hub_download=download))
    assert Recognizer("hf:some/model").classes == EMOTIONS
    assert asked == [("some/model", "model.onnx")]
    with pytest.raises(FacelexError, match="404"):
        Recognizer("hf:some/missing")
    with pytest.raises(FacelexError, match="hf:owner/name"):
        Recognizer("hf:model")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(FacelexError, match=r"facelex\[hub\]"):
        Recognizer("hf:some/model")


def test_threads_are_the_callers_choice_or_the_usable_cores(tiny_model):
    assert load_model(tiny_model, threads=1).session.get_session_options().intra_op_num_threads == 1
    chosen = load_model(tiny_model).session.get_session_options().intra_op_num_threads
    assert chosen == default_threads() >= 1
    with pytest.raises(FacelexError, match="threads"):
        load_model(tiny_model, threads=0)


def test_the_packaged_detector_uses_no_more_threads_than_the_recogniser(tiny_model):
    def started(**options):
        session = Recognizer(tiny_model, **options).detector.session
        return session.get_session_options().intra_op_num_threads

    assert started(threads=1) == 1
    assert started() == default_threads()
    with pytest.raises(FacelexError, match="threads to be 1 or more, but got 0"):
        create_detector(threads=0)


def test_a_fresh_process_predicts_without_the_heavy_packages(tiny_model):
    code = f"""
import sys
import facelex
assert "numpy" not in sys.modules, "importing facelex alone should load next to nothing"
import numpy as np
faces = facelex.Recognizer({str(tiny_model)!r}, detector="none").predict(np.zeros((60, 60, 3), np.uint8))
assert len(faces) == 1
heavy = {{"torch", "onnx", "pandas", "matplotlib", "cv2", "scipy", "pyarrow", "huggingface_hub", "rich"}}
print(sorted(heavy & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


ARRAYS = hnp.arrays(
    st.sampled_from(["u1", "u2", "i4", "f2", "f4", "f8", "c8", "?", "S2", "O"]),
    hnp.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=10),
)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.one_of(ARRAYS, st.lists(ARRAYS, max_size=2), st.binary(max_size=20), st.text(max_size=5), st.none())
)
def test_any_crops_are_classified_or_refused(recognizer, crops):
    try:
        probabilities = recognizer.classify(crops)
    except FacelexError:
        return
    assert probabilities.shape == (len(crops), 7)
    assert np.isfinite(probabilities).all()


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.one_of(ARRAYS, st.binary(max_size=40)))
def test_any_picture_is_predicted_or_refused_alone_and_among_others(recognizer, picture):
    (result,) = recognizer.predict_many([picture], workers=1)
    try:
        faces = recognizer.predict(picture)
    except FacelexError as error:
        assert result.error == str(error)  # noqa: PT017 - either outcome is fine, but both ways must agree
    else:
        assert list(result.faces) == faces


def test_a_model_that_gives_no_numbers_is_reported(tmp_path, crops):
    import onnx

    broken = onnx.load(str(write_model(tmp_path / "m.onnx")))
    weights = onnx.numpy_helper.to_array(broken.graph.initializer[0]).copy()
    weights[0] = np.nan
    broken.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(weights, "weights"))
    onnx.save(broken, str(tmp_path / "nan.onnx"))
    with pytest.raises(FacelexError, match="not finite"):
        Recognizer(tmp_path / "nan.onnx").classify(crops)


@pytest.mark.parametrize(
    ("detector", "message"),
    [
        ("centreface", "Unknown face detector 'centreface'. Did you mean 'centerface'?"),
        ("yunet", "from facelex.recognize.faces import create_detector and give detector=create_detector('y"),
        (None, "a name or an object with a method detect(image), but got None"),
    ],
)
def test_a_detector_that_cannot_be_is_refused_before_anything_is_loaded(monkeypatch, detector, message):
    def load_model(*arguments, **options):
        raise AssertionError("the model was loaded")

    monkeypatch.setattr("facelex.recognize.recognizer.load_model", load_model)
    with pytest.raises(FacelexError) as caught:
        Recognizer(detector=detector)
    assert message in str(caught.value)


def test_no_more_threads_than_processors_are_started(tiny_model, monkeypatch):
    monkeypatch.setattr(model_module.os, "cpu_count", lambda: 2)
    for asked, started in ((1, 1), (2, 2), (100_000, 2)):
        session = model_module.load_model(tiny_model, threads=asked).session
        assert session.get_session_options().intra_op_num_threads == started


class Tensor:
    """Pixels that only NumPy can read, as a tensor's are."""

    def __init__(self, array: np.ndarray) -> None:
        self._array = array
        self.ndim = array.ndim

    def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray:
        if self._array.size == 0:
            raise TypeError("can't convert cuda:0 device type tensor to numpy")
        return self._array

    def __iter__(self):
        return (Tensor(row) for row in self._array)


def test_a_batch_in_a_tensor_is_read_as_the_same_array(recognizer, crops):
    expected = recognizer.classify(crops)
    for batch in (crops, crops[:, None], np.stack([crops] * 3, -1), (crops / 255.0)[:, None]):
        np.testing.assert_array_equal(recognizer.classify(Tensor(batch)), recognizer.classify(batch))
        np.testing.assert_allclose(recognizer.classify(Tensor(batch)), expected, atol=1e-5)
    with pytest.raises(FacelexError, match=r"channels come first: use crops\.transpose\(0, 2, 3, 1\)"):
        recognizer.classify(Tensor(np.stack([crops] * 3, 1)))
    with pytest.raises(FacelexError, match=r"Could not read Tensor as a NumPy array: .*cuda:0"):
        recognizer.classify(Tensor(crops[:0]))


def test_an_array_of_paths_is_several_pictures_and_a_tensor_of_pixels_is_one(recognizer, photo, save_picture):
    path = str(save_picture(photo, "1.png"))
    for paths in (np.array([path, path]), np.array([path, path], object)):
        assert [len(result.faces) for result in recognizer.predict_many(paths)] == [2, 2]
        assert recognizer.classify(paths).shape == (2, 7)
    assert len(list(recognizer.predict_many(Tensor(np.stack([photo, photo]))))) == 2
    for one in (photo, Tensor(photo), Tensor(photo[..., 0])):
        with pytest.raises(FacelexError, match=r"several pictures, but got one .*\[image\]"):
            recognizer.predict_many(one)


def test_a_run_folder_in_place_of_a_model_is_told_how_to_become_one(tmp_path):
    (tmp_path / "a run").mkdir()
    with pytest.raises(FacelexError, match=r"is a folder.*facelex export '.*/a run' -o model\.onnx"):
        Recognizer(tmp_path / "a run")


def test_word_vectors_that_lack_the_models_own_words_are_warned_of(tmp_path, photo, caplog):
    class German(TinyVocabulary):
        def phrase(self, text: str) -> np.ndarray:
            if text in EMOTION_WORDS["sad"]:
                raise FacelexError(f"No vector for {text!r}.")
            return super().phrase(text)

    model = write_model(tmp_path / "model.onnx")
    for vocabulary, said in ((TinyVocabulary(), ""), (German(), "lack its words for 'sad'. Scores")):
        caplog.clear()
        detector = FixedDetector((0.1, 0.2, 0.3, 0.4))
        recognizer = Recognizer(model, detector=detector, threads=1, vocabulary=vocabulary)
        assert recognizer.predict(photo, words="stolz")[0].words
        assert said in caplog.text
        assert bool(said) == bool(caplog.text)
