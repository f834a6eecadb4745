"""A finished run as one ONNX file that carries everything the recogniser must know."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from facelex.data.dataset import FaceDataset
from facelex.data.load import load_dataset
from facelex.errors import FacelexError, unknown_name
from facelex.evaluation.calibration import softmax
from facelex.evaluation.predictions import Predictions
from facelex.evaluation.run_folder import RunFolder, load_run_folder
from facelex.evaluation.score_records import SplitScores, left_out_splits, read_split_scores
from facelex.evaluation.scores import calibrate
from facelex.files import replace_file
from facelex.models.dual_encoder import PARTS, DualEncoder
from facelex.models.prediction import images_from_pixels
from facelex.models.spec import MEANINGFUL, ModelSpec, vocabulary_name
from facelex.models.text_fit import trained_text_arrays
from facelex.models.weights import load_model
from facelex.recognize.metadata import Metadata
from facelex.recognize.words import join_features
from facelex.records import json_values
from facelex.run_files import SCORES
from facelex.training.onnx_graph import GraphSession, create_graph, halve_weights, quantize

logger = logging.getLogger(__name__)

Precision = Literal["fp32", "fp16", "int8"]
PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "int8")
TOLERANCE = 1e-4
"""Largest difference from PyTorch, absolute and relative, that a float32 file may show."""
CALIBRATION_IMAGES = 512
"""Training images that show int8 the ranges of activations."""
FEW_FACES = 100
"""Validation faces below which a note is given; of a hundred, a word's score has a standard error of 0.04."""


class _TwoViewOutput(NamedTuple):
    """What a network says about the validation split and its mirror images."""

    logits: NDArray[np.float32]
    """``(2, n, K)``"""
    features: NDArray[np.float32] | None
    """``(2, n, E)``"""

    @property
    def probs(self) -> NDArray[np.float64]:
        """Uncalibrated, ``(2, n, K)``."""
        return softmax(self.logits)

    def accuracy(self, labels: NDArray[np.int64]) -> float:
        """Share right in the mean of both views."""
        return float((self.probs.mean(0).argmax(1) == labels).mean())


def export_run(
    run_dir: str | Path,
    output: str | Path,
    *,
    precision: Precision = "fp32",
    name: str | None = None,
    card: str | None = None,
    data: str | Path | None = None,
) -> Path:
    """Write a finished run as one ONNX file.

    The file's temperature, its threshold for "unsure" and the reference statistics of the words are made on
    the validation split by the very graph that is written, so they fit its precision.

    Args:
        run_dir: A folder that ``facelex train`` wrote.
        output: The file to write, ending in ``.onnx``.
        precision: ``fp32``; ``fp16`` halves the file and computes in float32; ``int8`` quarters it and
            computes in integers. What they cost in accuracy is measured and kept in the metadata.
        name: The model's name; by default the run folder's.
        card: Model card in Markdown; by default a short one made from the run.
        data: The run's dataset, where its file has moved.

    Returns:
        ``output``.

    Raises:
        FacelexError: If the run has not finished, the dataset is missing or another one, the run's scores
            are damaged, or the graph's answers differ from PyTorch's.
    """
    output = Path(output)
    if precision not in PRECISIONS:
        raise unknown_name("precision", precision, PRECISIONS)
    if output.suffix.lower() != ".onnx":
        raise FacelexError(f"Expected an output file that ends in .onnx, but got {output}.")
    run = load_run_folder(run_dir)
    scores = _own_scores(run)
    model, spec = load_model(run.path)
    dataset = _own_dataset(run, spec, data)
    with_words = model.has_words and spec.text_encoder in MEANINGFUL
    val = dataset.indices("val")
    labels = dataset.labels[val]
    _warn_of_few(len(labels), with_words)

    images = _images(dataset, val, spec.image_size)
    expected = _torch_answers(model, images, with_words)
    graph, answers = _create_graph(model, spec.image_size, with_words, dataset, images, expected, precision)
    fit = calibrate(_predictions(answers, labels, dataset), "flip")
    metadata = Metadata(
        name=name or run.name,
        classes=spec.classes,
        image_size=spec.image_size,
        crop_size=dataset.pixels.shape[1],
        temperature=round(fit.temperature, 4),
        unsure_below=round(fit.unsure_below, 3),
        words=spec.words if with_words else {},
        embed_dim=spec.embed_dim if with_words else None,
        word_dim=spec.word_vectors_shape[-1] if spec.word_vectors_shape and with_words else None,
        vocabulary=vocabulary_name(spec.vocabulary) if with_words else None,
        words_stale=with_words and _words_are_stale(run),
        precision={
            "name": precision,
            "val_images": len(labels),
            "val_accuracy": answers.accuracy(labels),
            "val_accuracy_pytorch": expected.accuracy(labels),
            "mean_probability_change": float(np.abs(answers.probs - expected.probs).mean()),
        },
        scores=_short_scores(scores),
        training=_training_record(run, spec, model),
    )
    metadata = replace(metadata, card=_default_card(metadata) if card is None else card)
    arrays = _word_arrays(model, answers) if with_words else None
    _save(graph, metadata.to_properties(arrays, half=precision != "fp32"), output)
    logger.info("wrote %s: %s", output, metadata.precision)
    return output


def _own_scores(run: RunFolder) -> dict[str, SplitScores]:
    """The run's scores, less those of other weights, which are warned of."""
    scores = read_split_scores(run)
    outdated = left_out_splits(run, scores)
    if outdated:
        logger.warning(
            "The scores of %s in %s are of other weights and left out. Run: facelex evaluate %s",
            ", ".join(outdated), run.path / SCORES, run.path,
        )  # fmt: skip
    return scores


def _warn_of_few(faces: int, with_words: bool) -> None:
    if faces < FEW_FACES:
        logger.warning(
            "Temperature%s and the threshold of unsure rest on %d validation face%s alone and so are rough. "
            "A larger val split would make them better.",
            ", the scale of word scores" if with_words else "",
            faces,
            "s" * (faces > 1),
        )


def _create_graph(
    model: DualEncoder,
    size: int,
    with_words: bool,
    dataset: FaceDataset,
    images: NDArray[np.float32],
    expected: _TwoViewOutput,
    precision: Precision,
) -> tuple[Any, _TwoViewOutput]:
    """Return the graph in its precision and what it answers; in float32 it must answer as PyTorch does."""
    threads = torch.get_num_threads()
    graph = create_graph(model, size, with_features=with_words)
    session = GraphSession(graph, threads)
    answers = _graph_answers(session, images)
    _check_parity(model, session, size, with_words, expected, answers)
    if precision == "fp32":
        return graph, answers
    if precision == "fp16":
        graph = halve_weights(graph)
    else:
        graph = quantize(graph, _calibration_images(dataset, size))
    return graph, _graph_answers(GraphSession(graph, threads), images)


def _own_dataset(run: RunFolder, spec: ModelSpec, data: str | Path | None) -> FaceDataset:
    place = run.require_data() if data is None else data
    dataset = load_dataset(place)
    if not run.was_trained_on(dataset):
        raise FacelexError(
            f"{run.path} was trained on the dataset {run.fingerprint[:12]}, but {place} is "
            f"{dataset.fingerprint[:12]}. Calibration needs the run's own validation split; name its "
            "dataset with --data."
        )
    if len(dataset.indices("val")) == 0:
        raise FacelexError(
            f"{place} has no validation images to calibrate on. Export with the run's own data."
        )
    if list(dataset.class_names) != spec.classes:
        raise FacelexError(
            f"{run.path} knows the classes {', '.join(spec.classes)}, but the dataset has "
            f"{', '.join(dataset.class_names)}."
        )
    return dataset


def _images(dataset: FaceDataset, index: NDArray[np.int64], size: int) -> NDArray[np.float32]:
    pixels = torch.from_numpy(np.ascontiguousarray(dataset.pixels[index])).unsqueeze(1)
    return np.ascontiguousarray(images_from_pixels(pixels, size).numpy())


def _calibration_images(dataset: FaceDataset, size: int) -> NDArray[np.float32]:
    train = dataset.indices("train")
    chosen = np.random.default_rng(0).permutation(train)[:CALIBRATION_IMAGES]
    return _images(dataset, np.sort(chosen), size)


@torch.inference_mode()
def _torch_answers(model: DualEncoder, images: NDArray[np.float32], with_features: bool) -> _TwoViewOutput:
    logits: list[list[NDArray[np.float32]]] = [[], []]
    features: list[list[NDArray[np.float32]]] = [[], []]
    for batch in torch.from_numpy(images).split(256):
        for view, pictures in enumerate((batch, batch.flip(3))):
            output = model(pictures)
            logits[view].append(output.logits.numpy())
            if with_features:
                features[view].append(output.image_features.numpy())
    stacked = np.stack([np.concatenate(rows) for rows in logits])
    return _TwoViewOutput(
        stacked, np.stack([np.concatenate(rows) for rows in features]) if with_features else None
    )


def _graph_answers(session: GraphSession, images: NDArray[np.float32]) -> _TwoViewOutput:
    views = list(zip(session.run(images), session.run(images[..., ::-1])))
    return _TwoViewOutput(np.stack(views[0]), np.stack(views[1]) if len(views) > 1 else None)


def _check_parity(
    model: DualEncoder,
    session: GraphSession,
    size: int,
    with_features: bool,
    expected: _TwoViewOutput,
    answers: _TwoViewOutput,
) -> None:
    """Compare graph and PyTorch on the validation split and on noise, in batches of one and of seven."""
    pairs = [(expected, answers)]
    for count in (1, 7):
        noise = np.random.default_rng(count).random((count, 1, size, size), dtype=np.float32)
        pairs.append((_torch_answers(model, noise, with_features), _graph_answers(session, noise)))
    for wanted, found in pairs:
        for ours, theirs in ((wanted.logits, found.logits), (wanted.features, found.features)):
            if ours is None or theirs is None:
                continue
            if not np.allclose(ours, theirs, rtol=TOLERANCE, atol=TOLERANCE):
                raise FacelexError(
                    f"The exported graph differs from PyTorch by {np.abs(ours - theirs).max():.2g}, more "
                    f"than {TOLERANCE:g}; nothing was written. Try another version of torch or onnxscript."
                )


def _predictions(answers: _TwoViewOutput, labels: NDArray[np.int64], dataset: FaceDataset) -> Predictions:
    probs = answers.probs
    return Predictions(
        probs=probs[0],
        mirror_probs=probs[1],
        labels=labels,
        seen=None,
        classes=dataset.class_names,
        split="val",
    )


def _word_arrays(model: DualEncoder, answers: _TwoViewOutput) -> dict[str, NDArray[np.float32]]:
    """The text projection, and mean and covariance of the reference faces' features."""
    assert answers.features is not None
    features = join_features(*answers.features).astype(np.float64)
    return trained_text_arrays(model) | {
        "feature_mean": features.mean(0).astype(np.float32),
        "feature_cov": np.cov(features, rowvar=False, bias=True).astype(np.float32),
    }


def _short_scores(scores: Mapping[str, SplitScores]) -> dict[str, Any]:
    """Headline numbers of each split, with their intervals, as plain values for JSON."""
    kept = ("count", "accuracy", "balanced_accuracy", "macro_f1", "ece")
    return {
        split: {
            view: {name: json_values({key: getattr(part, key) for key in kept}) for name, part in held.sets}
            for view, held in found.views.items()
        }
        for split, found in scores.items()
    }


def _training_record(run: RunFolder, spec: ModelSpec, model: DualEncoder) -> dict[str, Any]:
    """How the weights came to be, without a path or a name of the machine they came to be on."""
    config, environment = dict(run.config), run.environment
    method = config.get("method")
    phases = (config.get("methods") or {}).get(method, [])
    settings = {
        key: value
        for key, value in config.items()
        if key not in ("data", "teachers", "start_from", "trackers", "methods", "description")
    }
    if isinstance(settings.get("model"), dict):
        settings["model"] = settings["model"] | {"vocabulary": vocabulary_name(spec.vocabulary)}
    return {
        "method": method,
        "image_encoder": spec.image_encoder,
        "text_encoder": spec.text_encoder,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "epochs": run.epochs,
        "seconds": round(run.seconds),
        "phases": phases,
        "settings": settings,
        "teachers": len(config.get("teachers") or ()),
        "dataset": {
            "source": _without_paths(run.trained_on.source),
            "fingerprint": run.fingerprint,
        },
        **({"teacher_sha256": environment["teachers"]} if "teachers" in environment else {}),
        **({"start_sha256": environment["start_from"]} if "start_from" in environment else {}),
        **{key: environment[key] for key in ("versions", "commit", "device", "cpu") if key in environment},
    }


def _words_are_stale(run: RunFolder) -> bool:
    """Whether faces moved in the shared space after the words had last been aligned with them."""
    if (run.config.get("model") or {}).get("text_fit"):
        return False  # the text side was fitted to the finished network
    stale = False
    for phase in (run.config.get("methods") or {}).get(run.config.get("method"), []):
        if (phase.get("losses") or {}).get("alignment"):
            stale = False
        elif {"image_encoder", "image_projection"} & set(phase.get("train", PARTS)):
            stale = True
    return stale


def _without_paths(text: str) -> str:
    """Shorten each absolute path in a sentence to its last part."""
    return re.sub(r"(?:[A-Za-z]:)?[\\/~](?:[^\s,;:()'\"]*[\\/])?([^\s,;:()'\"\\/]+)", r"\1", text)


def _default_card(metadata: Metadata) -> str:
    training, measured = metadata.training, metadata.precision
    words = "It knows no other words than its classes."
    if metadata.words:
        words = (
            "It also places faces and words in one space, so that other words than the classes can be asked "
            "for."
        )
    if metadata.words_stale:
        words += " Their scores are stale: after the alignment with words it was trained on labels alone."
    return "\n".join(
        [
            f"# {metadata.name}",
            "",
            f"Names one of {len(metadata.classes)} classes ({', '.join(metadata.classes)}) for a grey face "
            f"of {metadata.image_size}x{metadata.image_size} pixels. {words}",
            "",
            f"Trained on: {training['dataset']['source'] or 'unknown data'}. Network: "
            f"{training['image_encoder']}; {training['parameters']:,} parameters; "
            f"{training['epochs']} epochs"
            + (
                ", beginning with the weights of another network, whose own training pictures may be among "
                "those that were scored."
                if "start_sha256" in training
                else "."
            ),
            "",
            f"Accuracy on the {measured['val_images']:,} validation images, which chose its temperature and "
            f"may have chosen the run: {100 * measured['val_accuracy']:.2f} % ({measured['name']}).",
            "",
            "The classes say how a face looked to annotators, not what a person feels. Faces that differ "
            "from the training pictures (age, skin, pose, light, resolution) may be read worse; this was not "
            "measured unless the scores say so. Do not use it to judge people at work or at school.",
        ]
    )


def _save(graph: Any, properties: Mapping[str, str], output: Path) -> None:
    import onnx

    onnx.helper.set_model_props(graph, dict(properties))
    onnx.checker.check_model(graph)
    content = graph.SerializeToString()
    replace_file(output, lambda file: file.write(content))
