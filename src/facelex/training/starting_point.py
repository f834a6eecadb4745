"""Begin with the weights of a finished network: to go on training, or to learn other faces or classes.

A run folder holds a network as it was trained. An exported model holds it folded: each batch normalisation
has become part of the convolution before it, perhaps in 8 bits. `StartingPoint.build` takes the two apart
again by showing the network some faces, so that its answers stay as they are and it can learn.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from facelex.emotions import canonical_name
from facelex.errors import FacelexError, require
from facelex.evaluation.networks import open_network
from facelex.models.dual_encoder import DualEncoder
from facelex.models.text_fit import replace_text_projection, trained_text_arrays
from facelex.recognize.model import find_model
from facelex.recognize.model import load_model as load_onnx
from facelex.training.augment import images_from_pixels
from facelex.training.model_spec import MEANINGFUL, ModelSpec, vocabulary_name
from facelex.training.weights import create_model, load_model

logger = logging.getLogger(__name__)

UNFOLDING_FACES = 512
"""Training faces that show how large a convolution's answers are, for the normalisation behind it."""
TOLERANCE = 0.05
"""Mean difference in probability that a network put together anew may show from the file's answers; the
rounding of 8-bit activations makes some 0.01."""

TextArrays = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True)
class StartingPoint:
    """What can be taken over from a finished network.

    Attributes:
        name: As the caller named it.
        image_encoder: Name of its face network.
        encoder_options: And that network's options.
        classes: Its classes in the order of its answers.
        tensors: Its weights, by their names in `DualEncoder`, float32.
        folded_biases: By the name of a convolution with which a normalisation was folded, that one's bias.
        text: Its text side, None without words that mean something.
        vocabulary: Name of the word vectors the text side is for.
        answers: Logits of a file for images ``(n, 1, S, S)``, to compare with.
    """

    name: str
    image_encoder: str
    encoder_options: Mapping[str, Any]
    classes: Sequence[str]
    tensors: Mapping[str, Tensor]
    folded_biases: Mapping[str, Tensor] = field(default_factory=dict)
    text: TextArrays | None = None
    vocabulary: str | None = None
    answers: Any = None

    def build(
        self, spec: ModelSpec, word_vectors: Tensor | None, pixels: NDArray[np.uint8]
    ) -> tuple[DualEncoder, ModelSpec]:
        """Make a new network with what fits of this one.

        The face network is taken whole, with the pixel statistics it was trained for. So are its projection
        and the text side, where both networks have them for the same word vectors, and the classifier's rows
        for classes that both know, in any spelling. The rest is random.

        Args:
            spec: What the new network is to be.
            word_vectors: ``(K, W, D)`` of its classes, or None.
            pixels: Its training faces, ``(N, H, W)``.

        Returns:
            The network on the CPU, and its description.

        Raises:
            FacelexError: If the face network is another, or cannot be put together from the file.
        """
        mean, std = (round(float(self.tensors[f"pixel_{name}"]), 4) for name in ("mean", "std"))
        spec = spec.model_copy(update={"mean": mean, "std": std})
        model = create_model(spec, word_vectors)
        self._check_encoder(model)
        chosen = np.random.default_rng(0).permutation(len(pixels))[:UNFOLDING_FACES]
        images = images_from_pixels(torch.from_numpy(pixels[chosen]).unsqueeze(1), spec.image_size)
        taken = ["image_encoder"]
        self._copy(model, "image_encoder.")
        if self.folded_biases:
            _unfold(model, self.folded_biases, images)
        if self._copy_classifier(model, spec.classes):
            taken.append("classifier")
        if self._speaks_of(spec) and self._fits(model, "image_projection."):
            assert self.text is not None
            self._copy(model, "image_projection.", "logit_scale")
            replace_text_projection(model, self.text)
            spec = spec.model_copy(update={"text_hidden_dim": len(self.text["text_bias1"])})
            taken += ["image_projection", "text_projection"]
        if self.answers is not None and list(self.classes) == spec.classes:
            self._check_answers(model, images)
        logger.info("starts from %s: %s", self.name, ", ".join(taken))
        return model, spec

    @torch.no_grad()
    def _copy_classifier(self, model: DualEncoder, classes: Sequence[str]) -> int:
        """Take over what both know; return how many classes that are."""
        known = {canonical_name(label): row for row, label in enumerate(self.classes)}
        rows = [(row, known[name]) for row, name in enumerate(map(canonical_name, classes)) if name in known]
        for kind in ("weight", "bias"):
            ours, theirs = getattr(model.classifier.linear, kind), self.tensors[f"classifier.linear.{kind}"]
            for row, their_row in rows:
                ours[row] = theirs[their_row]
        return len(rows)

    @torch.no_grad()
    def _copy(self, model: DualEncoder, *prefixes: str) -> None:
        for name, tensor in model.state_dict().items():
            if name.startswith(prefixes) and name in self.tensors:
                tensor.copy_(self.tensors[name])

    def _fits(self, model: DualEncoder, prefix: str) -> bool:
        """Whether every matrix of a part has its like here, and none is left over."""
        wanted = {n: t.shape for n, t in model.state_dict().items() if n.startswith(prefix) and t.ndim > 1}
        found = {n: t.shape for n, t in self.tensors.items() if n.startswith(prefix) and t.ndim > 1}
        return bool(wanted) and wanted == found

    def _speaks_of(self, spec: ModelSpec) -> bool:
        return (
            self.text is not None
            and spec.has_words
            and spec.text_encoder in MEANINGFUL
            and self.vocabulary == vocabulary_name(spec.vocabulary)
            and self.text["text_weight2"].shape[0] == spec.embed_dim
        )

    def _check_encoder(self, model: DualEncoder) -> None:
        if not self._fits(model, "image_encoder."):
            options = ", ".join(f"{key}: {value}" for key, value in self.encoder_options.items())
            raise FacelexError(
                f"The run's face network is not that of {self.name}, so it cannot start from it. Set "
                f"model.image_encoder={self.image_encoder} and 'model.encoder_options={{{options}}}'."
            )

    @torch.no_grad()
    def _check_answers(self, model: DualEncoder, images: Tensor) -> None:
        was_training = model.training
        ours = model.eval()(images[:256]).logits.softmax(1)
        model.train(was_training)
        theirs = torch.from_numpy(self.answers(images[:256].numpy())).softmax(1)
        difference = float((ours - theirs).abs().mean())
        if difference > TOLERANCE:
            raise FacelexError(
                f"The network in {self.name} cannot be taken apart for training: put together anew, its "
                f"probabilities differ by {difference:.2f}. Start from the run folder it was exported from."
            )


def open_starting_point(name: str) -> StartingPoint:
    """Read the network of a run folder, an exported file, ``hf:owner/name``, ``shipped`` or ``tiny``.

    Raises:
        FacelexError: If it is none of them.
        MissingExtraError: If ``onnx`` is missing.
    """
    if open_network(name).run:
        return _of_run(name)
    path = find_model(name)
    onnx = require("onnx", "train", "Starting from an exported model")
    network = load_onnx(path)
    tensors, biases = _unpack(onnx, onnx.load(str(path)).graph)
    settings = network.info["training"]["settings"]["model"]
    return StartingPoint(
        name=name,
        image_encoder=network.info["training"]["image_encoder"],
        encoder_options=settings.get("encoder_options", {}),
        classes=network.classes,
        tensors=tensors,
        folded_biases=biases,
        text=_text_side(network.arrays),
        vocabulary=network.info.get("vocabulary"),
        answers=lambda images: network.run(images)[0],
    )


def _of_run(name: str) -> StartingPoint:
    model, spec = load_model(Path(name))
    speaks = model.has_words and spec.text_encoder in MEANINGFUL
    return StartingPoint(
        name=name,
        image_encoder=spec.image_encoder,
        encoder_options=spec.encoder_options,
        classes=spec.classes,
        tensors=model.state_dict(),
        text=trained_text_arrays(model) if speaks else None,
        vocabulary=vocabulary_name(spec.vocabulary) if speaks else None,
    )


def _text_side(arrays: TextArrays | None) -> TextArrays | None:
    return arrays and {name: array for name, array in arrays.items() if name.startswith("text_")}


def _unpack(onnx: Any, graph: Any) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Weights of an exported graph by their names in the network, and the biases that folding has made.

    The exporter keeps names: ``model.X.weight``, and ``model.X.weight_bias`` for the bias of a convolution
    with which a normalisation was folded. Quantised tensors carry a scale, per channel of the first axis;
    halved ones another name, which a cast turns into the first.
    """
    raw = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    tensors: dict[str, Tensor] = {}
    biases: dict[str, Tensor] = {}
    for name, values in raw.items():
        if not name.startswith("model.") or name.endswith(("_scale", "_zero_point")):
            continue
        plain = name.removesuffix("_half")
        if name.endswith("_quantized"):
            plain = name.removesuffix("_quantized")
            scale = raw[f"{plain}_scale"] if f"{plain}_scale" in raw else raw[f"{name}_scale"]
            values = values * scale.reshape(-1, *[1] * (values.ndim - 1))
        tensor = torch.from_numpy(np.array(values, np.float32))
        plain = plain.removeprefix("model.")
        if plain.endswith(".weight_bias"):
            biases[plain.removesuffix(".weight_bias")] = tensor
        else:
            tensors[plain] = tensor
    return tensors, biases


@torch.no_grad()
def _unfold(model: DualEncoder, biases: Mapping[str, Tensor], images: Tensor) -> None:
    """Give the normalisations behind folded convolutions back what they did, in one pass over ``images``.

    A normalisation takes its input's own mean and variance for its statistics, and its weight and bias undo
    that and add the folded bias. Each filter is first brought to the length that He et al. 2015 draw it with:
    behind it stands a normalisation, so its length changes no answer and only sets how fast it learns.
    """
    names = {module: name for name, module in model.named_modules()}
    before: list[nn.Conv2d] = []
    filters: dict[nn.Conv2d, Tensor] = {}

    def note(convolution: nn.Module, *_: object) -> None:
        assert isinstance(convolution, nn.Conv2d)
        before[:] = [convolution]

    def restore(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(norm, nn.BatchNorm2d)
        bias = biases.get(names[before[0]]) if before else None
        if bias is None:
            return
        var, mean = torch.var_mean(inputs[0].float(), (0, 2, 3), correction=0)
        norm.running_mean.copy_(mean)  # type: ignore[union-attr]
        norm.running_var.copy_(var)  # type: ignore[union-attr]
        norm.weight.copy_((var + norm.eps).sqrt() / filters[before[0]])
        norm.bias.copy_(mean / filters[before[0]] + bias)
        before.clear()

    hooks = []
    for module in model.image_encoder.modules():
        if isinstance(module, nn.Conv2d):
            if names[module] in biases:
                lengths = module.weight.flatten(1).norm(dim=1).clamp_min(1e-12)
                filters[module] = 2**0.5 / lengths
                module.weight.mul_(filters[module].view(-1, 1, 1, 1))
            hooks.append(module.register_forward_hook(note))
        if isinstance(module, nn.BatchNorm2d):
            hooks.append(module.register_forward_pre_hook(restore))
    was_training = model.training
    model.eval()
    model.image_encoder(model.normalize_pixels(images))
    model.train(was_training)
    for hook in hooks:
        hook.remove()
