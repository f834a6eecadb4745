"""Take an exported network apart: its weights by their names, and the normalisations folded into them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from facelex.models.dual_encoder import DualEncoder


def unpack_weights(onnx: Any, graph: Any) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
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
def unfold(model: DualEncoder, biases: Mapping[str, Tensor], images: Tensor) -> set[str]:
    """Give the normalisations behind folded convolutions back what they did, in one pass over ``images``.

    A normalisation takes its input's own mean and variance for its statistics, and its weight and bias undo
    that and add the folded bias. Each filter is first brought to the length that He et al. 2015 draw it with:
    behind it stands a normalisation, so its length changes no answer and only sets how fast it learns.

    Args:
        model: With the folded convolutions' weights; changed in place.
        biases: By the name of a convolution with which a normalisation was folded, that one's bias.
        images: ``(n, 1, S, S)`` in [0, 1].

    Returns:
        Names of these normalisations.
    """
    names = {module: name for name, module in model.named_modules()}
    before: list[nn.Conv2d] = []
    filters: dict[nn.Conv2d, Tensor] = {}
    restored: set[str] = set()

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
        restored.add(names[norm])
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
    return restored
