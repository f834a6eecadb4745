"""Begin with the weights of a finished network: to go on training, or to learn other faces or classes.

A run folder holds a network as it was trained. An exported model holds it folded: each batch normalisation
has become part of the convolution before it, perhaps in 8 bits. `StartingPoint.build` takes the two apart
again by showing the network some faces, so that its answers stay as they are and it can learn.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from facelex.emotions import classes_named
from facelex.errors import FacelexError, require
from facelex.evaluation.networks import names_run, onnx_file
from facelex.models.dual_encoder import DualEncoder
from facelex.models.prediction import images_from_pixels
from facelex.models.registry import create_image_encoder
from facelex.models.spec import MEANINGFUL, ModelSpec, vocabulary_name
from facelex.models.text_fit import replace_text_projection, trained_part, trained_text_arrays
from facelex.models.weights import create_model, load_model
from facelex.recognize.model import find_model
from facelex.recognize.model import load_model as load_onnx
from facelex.training.unfolding import unfold, unpack_weights

logger = logging.getLogger(__name__)

UNFOLDING_FACES = 512
"""Training faces that show how large a convolution's answers are, for the normalisation behind it."""
TOLERANCE = 0.1
"""Mean share of probability that may lie on other classes than in the source's answers; the rounding of 8-bit
activations moves under 0.01 in two models of the package."""

TextArrays = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True)
class StartingPoint:
    """What can be taken over from a finished network.

    Attributes:
        name: As the caller named it.
        image_size: Side of its images in pixels.
        classes: Its classes in the order of its answers.
        tensors: Its weights, by their names in `DualEncoder`, float32.
        answer: From images ``(n, 1, S, S)`` in [0, 1] to its logits ``(n, K)``.
        image_encoder: Registry name of its face network, where the file says it.
        encoder_options: Options of that network.
        folded_biases: By the name of a convolution with which a normalisation was folded, that one's bias.
        text: Its text side, None without words that mean something.
        text_fit: How that was fitted after training (`facelex.models.text_fit`), None where it was not.
        vocabulary: Name of the word vectors the text side is for.
    """

    name: str
    image_size: int
    classes: Sequence[str]
    tensors: Mapping[str, Tensor]
    answer: Callable[[NDArray[np.float32]], NDArray[np.float32]]
    image_encoder: str | None = None
    encoder_options: Mapping[str, Any] = field(default_factory=dict)
    folded_biases: Mapping[str, Tensor] = field(default_factory=dict)
    text: TextArrays | None = None
    text_fit: str | None = None
    vocabulary: str | None = None

    def build(
        self,
        spec: ModelSpec,
        word_vectors: Tensor | None,
        pixels: NDArray[np.uint8],
        *,
        other_pooling: bool = True,
    ) -> tuple[DualEncoder, ModelSpec]:
        """Make a new network with what fits of this one.

        The face network is taken whole, with the pixel statistics it was trained for. So are its projection
        and the text side, where both networks have them in the same width for the same word vectors, and the
        classifier's rows for classes that both know, in any spelling. The rest is random. Of a blended text
        side only the trained part is taken by a network that is to be blended itself, or it would be twice.

        Args:
            spec: What the new network is to be.
            word_vectors: ``(K, W, D)`` of its classes, or None.
            pixels: Its training faces, ``(N, H, W)``.
            other_pooling: Whether it may pool otherwise, and so answer otherwise until it has learned to.

        Returns:
            The network on the CPU, and its description.

        Raises:
            FacelexError: If the face network is another, or cannot be put together from the file.
        """
        mean, std = (round(float(self.tensors[f"pixel_{name}"]), 4) for name in ("mean", "std"))
        spec = replace(spec, mean=mean, std=std)
        model = create_model(spec, word_vectors)
        self.check_encoder(model.image_encoder)
        chosen = np.random.default_rng(0).permutation(len(pixels))[:UNFOLDING_FACES]
        faces = torch.from_numpy(pixels[chosen]).unsqueeze(1)
        taken = ["image_encoder"]
        self._copy(model, "image_encoder.")
        restored: set[str] = set()
        if self.folded_biases:
            restored = unfold(model, self.folded_biases, images_from_pixels(faces, spec.image_size))
        self._check_norms(model, restored)
        images = images_from_pixels(faces[:256], self.image_size)
        self._check_answers(model, spec if other_pooling else None, images)
        if self._copy_classifier(model, spec.classes):
            taken.append("classifier")
        if self._speaks_of(spec) and _matrices(model.image_projection) == self._matrices("image_projection."):
            assert self.text is not None
            text = trained_part(self.text) if self.text_fit == spec.text_fit == "blend" else self.text
            self._copy(model, "image_projection.")  # no learned temperature: an exported file has none
            replace_text_projection(model, text)
            spec = replace(spec, text_hidden_dim=len(text["text_bias1"]))
            taken += ["image_projection", "text_projection"]
        logger.info("starts from %s: %s", self.name, ", ".join(taken))
        return model, spec

    def rebuild(self, pixels: NDArray[np.uint8]) -> DualEncoder:
        """Make the network itself again, face network and classifier, to be asked on any device.

        Args:
            pixels: Faces ``(N, H, W)`` that are shown to a folded network to take it apart.

        Returns:
            The network on the CPU, in evaluation mode.

        Raises:
            FacelexError: If the file does not say what network it holds, or it cannot be put together.
        """
        if self.image_encoder is None:
            raise FacelexError(
                f"{self.name} does not say which face network it holds, so PyTorch cannot run it. "
                "Name the run folder that it was exported from."
            )
        spec = ModelSpec(
            image_encoder=self.image_encoder, encoder_options=dict(self.encoder_options),
            classes=list(self.classes), image_size=self.image_size, mean=0, std=1, hidden_dim=1, embed_dim=1,
            dropout=0, temperature=1, center_words=False, mix_words=False, has_words=False,
        )  # fmt: skip
        return self.build(spec, None, pixels, other_pooling=False)[0].eval()

    def check_encoder(self, encoder: nn.Module) -> None:
        """Raise FacelexError if this network's face network has other weights than ``encoder``."""
        if _matrices(encoder) != self._matrices("image_encoder."):
            raise FacelexError(
                f"The run's face network is not that of {self.name}, so it cannot start from it. "
                + self._settings()
            )

    def _settings(self) -> str:
        """What to set for a face network like this one, as far as is known."""
        if self.image_encoder is None:
            return "Set model.image_encoder and model.encoder_options to that network's."
        pairs = ", ".join(f"{key}: {value}" for key, value in self.encoder_options.items())
        return f"Set model.image_encoder={self.image_encoder} and 'model.encoder_options={{{pairs}}}'."

    @torch.no_grad()
    def _copy_classifier(self, model: DualEncoder, classes: Sequence[str]) -> int:
        """Take over what both know; return how many classes that are."""
        rows = {
            row: known[0] for row, name in enumerate(classes) if len(known := self._known(name, classes)) == 1
        }
        for kind in ("weight", "bias"):
            ours, theirs = getattr(model.classifier.linear, kind), self.tensors[f"classifier.linear.{kind}"]
            for row, their_row in rows.items():
                ours[row] = theirs[their_row]
        return len(rows)

    def _known(self, name: str, classes: Sequence[str]) -> list[int]:
        """Which classes of the source a class is, unless another class of ours has that very name."""
        return [
            row
            for row in classes_named(name, self.classes)
            if self.classes[row] == name or self.classes[row] not in classes
        ]

    def _copy(self, model: DualEncoder, *prefixes: str) -> None:
        for name, tensor in model.state_dict().items():
            if name.startswith(prefixes) and name in self.tensors:
                tensor.copy_(self.tensors[name])

    def _matrices(self, prefix: str) -> dict[str, torch.Size]:
        return _matrices({n.removeprefix(prefix): t for n, t in self.tensors.items() if n.startswith(prefix)})

    def _speaks_of(self, spec: ModelSpec) -> bool:
        return (
            self.text is not None
            and spec.has_words
            and spec.text_encoder in MEANINGFUL
            and self.vocabulary == vocabulary_name(spec.vocabulary)
            and self.text["text_weight2"].shape[0] == spec.embed_dim
        )

    def _check_norms(self, model: DualEncoder, restored: Collection[str]) -> None:
        """Refuse a network with a normalisation that is neither in the file nor could be taken out of it."""
        for name, module in model.named_modules():
            known = name in restored or f"{name}.running_mean" in self.tensors
            if isinstance(module, nn.BatchNorm2d) and not known:
                raise FacelexError(
                    f"{self.name} cannot be taken apart for training: what became of {name} is not known. "
                    "Start from the run folder that the file was exported from."
                )

    def _check_answers(self, model: DualEncoder, spec: ModelSpec | None, images: Tensor) -> None:
        """Compare the face network, under the old classifier, with what the source says.

        A network of a known ``spec`` may pool otherwise than the source if that is all in which they differ:
        blurring has no weights, and networks trained without it learn to use it (Zhang 2019 begins with such
        weights too).
        """
        moved = self._moved(model, model.image_encoder, images)
        if moved <= TOLERANCE:
            return
        twin = None if spec is None else _pooling_otherwise(spec, model.image_encoder)
        if twin is None or self._moved(model, twin, images) > TOLERANCE:
            raise FacelexError(
                f"The run's face network has the weights of {self.name}, but does not answer as that does "
                f"({moved:.0%} of the probability lies elsewhere). Set its own model.encoder_options, or "
                "start from the run folder that the file was exported from."
            )
        logger.warning(
            "The face network has the weights of %s and another blur_pool: %.0f%% of the probability lies "
            "elsewhere until it has learned to use that. To keep the answers, set the start's own "
            "model.encoder_options.blur_pool.",
            self.name,
            100 * moved,
        )

    @torch.no_grad()
    def _moved(self, model: DualEncoder, encoder: nn.Module, images: Tensor) -> float:
        """Mean share of probability that ``encoder`` gives to other classes than the source does."""
        was_training = encoder.training
        features = encoder.eval()(model.normalize_pixels(images))
        encoder.train(was_training)
        weight, bias = (self.tensors[f"classifier.linear.{kind}"] for kind in ("weight", "bias"))
        ours = F.linear(features, weight, bias).softmax(1)
        theirs = torch.from_numpy(self.answer(images.numpy())).softmax(1)
        return float((ours - theirs).abs().sum(1).mean()) / 2


def _pooling_otherwise(spec: ModelSpec, encoder: nn.Module) -> nn.Module | None:
    """``encoder`` with blurred pooling where it has plain and the reverse, None where it knows only one."""
    options = {**spec.encoder_options, "blur_pool": not spec.encoder_options.get("blur_pool", False)}
    with torch.random.fork_rng(devices=[]):  # the run's own randomness stays as it is
        try:
            twin = create_image_encoder(spec.image_encoder, **options)
            twin.load_state_dict(encoder.state_dict())
        except (FacelexError, TypeError, RuntimeError):  # ours, timm's, another meaning of the option
            return None
    return twin


def open_starting_point(name: str) -> StartingPoint:
    """Read the network of a run folder, an exported file, ``hf:owner/name`` or a model of the package.

    Raises:
        FacelexError: If it is none of them.
        MissingExtraError: If ``onnx`` is missing.
    """
    if names_run(name):
        return _of_run(name)
    path = find_model(onnx_file(name))
    onnx = require("onnx", "train", "Starting from an exported model")
    network = load_onnx(path, threads=torch.get_num_threads())
    tensors, biases = unpack_weights(onnx, onnx.load(str(path)).graph)
    recorded = network.metadata.recorded
    return StartingPoint(
        name=name,
        image_size=network.image_size,
        classes=network.classes,
        tensors=tensors,
        answer=lambda images: network.run(images)[0],
        image_encoder=recorded().get("image_encoder"),
        encoder_options=recorded("settings", "model", "encoder_options"),
        folded_biases=biases,
        text=_text_side(network.arrays),
        text_fit=recorded("settings", "model").get("text_fit"),
        vocabulary=network.metadata.vocabulary,
    )


def _of_run(name: str) -> StartingPoint:
    model, spec = load_model(Path(name))
    speaks = model.has_words and spec.text_encoder in MEANINGFUL

    @torch.inference_mode()
    def answer(images: NDArray[np.float32]) -> NDArray[np.float32]:
        logits: Tensor = model(torch.from_numpy(images)).logits
        return logits.numpy()

    return StartingPoint(
        name=name,
        image_size=spec.image_size,
        classes=spec.classes,
        tensors=model.state_dict(),
        answer=answer,
        image_encoder=spec.image_encoder,
        encoder_options=spec.encoder_options,
        text=trained_text_arrays(model) if speaks else None,
        text_fit=spec.text_fit,
        vocabulary=vocabulary_name(spec.vocabulary) if speaks else None,
    )


def _text_side(arrays: TextArrays | None) -> TextArrays | None:
    return arrays and {name: array for name, array in arrays.items() if name.startswith("text_")}


def _matrices(tensors: nn.Module | Mapping[str, Tensor] | None) -> dict[str, torch.Size]:
    """Shapes of all weights that are no vectors: what folding leaves as it is."""
    found = tensors.state_dict() if isinstance(tensors, nn.Module) else tensors or {}
    return {name: tensor.shape for name, tensor in found.items() if tensor.ndim > 1}
