"""Final weights of a network and their description: writing them, and loading a network from them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch import Tensor

from facelex.errors import FacelexError
from facelex.files import replace_file, write_text
from facelex.models.dual_encoder import DualEncoder
from facelex.models.prediction import predict_probs
from facelex.models.registry import create_image_encoder
from facelex.models.spec import ModelSpec, read_spec
from facelex.run_files import SPEC, WEIGHTS


def create_model(spec: ModelSpec, word_vectors: Tensor | None = None) -> DualEncoder:
    """Build the network that a ``model.json`` describes (weights still random).

    Args:
        spec: What network.
        word_vectors: ``(K, W, D)``; zeros of the right shape by default, to be filled from weights.
    """
    if spec.word_vectors_shape and word_vectors is None:
        word_vectors = torch.zeros(spec.word_vectors_shape)
    return DualEncoder(
        create_image_encoder(spec.image_encoder, **spec.encoder_options),
        len(spec.classes),
        word_vectors if spec.has_words else None,
        mean=spec.mean,
        std=spec.std,
        hidden_dim=spec.hidden_dim,
        text_hidden_dim=spec.text_hidden_dim,
        embed_dim=spec.embed_dim,
        dropout=spec.dropout,
        temperature=spec.temperature,
        center_words=spec.center_words,
        mix_words=spec.mix_words,
        project=spec.has_words if spec.has_projection is None else spec.has_projection,
        num_votes=spec.num_votes,
    )


def save_weights(folder: Path, model: DualEncoder, spec: ModelSpec) -> None:
    """Write ``model.json`` and then ``model.safetensors`` into a run folder, each whole or not at all.

    Where the weights lie, so does what they need.
    """
    state = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    data = safetensors.torch.save(state, metadata={"facelex": spec.to_text()})
    write_text(folder / SPEC, spec.to_text())
    replace_file(folder / WEIGHTS, lambda file: file.write(data))


def load_model(folder: Path) -> tuple[DualEncoder, ModelSpec]:
    """Load the final weights of a run.

    Returns:
        The model in evaluation mode on the CPU, and what ``model.json`` says of it.

    Raises:
        FacelexError: If the folder holds no finished run or its files are damaged.
    """
    spec = read_spec(folder)
    try:
        model = create_model(spec)
        model.load_state_dict(safetensors.torch.load_file(folder / WEIGHTS))
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        reason = str(error).rstrip(".")
        raise FacelexError(
            f"The weights in {folder} are damaged or do not fit {SPEC}: {reason}. Restore both from a copy, "
            "or train again."
        ) from error
    return model.to(memory_format=torch.channels_last).eval(), spec  # type: ignore[call-overload]


def load_predictor(
    folder: Path, device: str | None = None
) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    """Load a run's final weights, ready to answer in float32 arithmetic.

    Args:
        folder: A finished run.
        device: Torch device; CUDA if there is one by default.

    Returns:
        A function from pictures of any size, ``(n, H, W)`` uint8, resized to the model's, to the
        probabilities of its classifier, ``(n, K)`` float32.
    """
    model, spec = load_model(folder)
    target = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    model.to(target)

    def answer(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        images = torch.from_numpy(np.ascontiguousarray(pixels)).unsqueeze(1).to(target)
        return predict_probs(model, images, image_size=spec.image_size).cpu().numpy()

    return answer
