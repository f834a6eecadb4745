"""Any backbone of timm as an image encoder, with random first weights: ``timm:NAME``."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from facelex.errors import FacelexError, did_you_mean, require
from facelex.models.blocks import check_images

FACE_SIZE = 48
"""Pixels a side that a backbone of fixed input size is built for."""

_FIXED_OPTIONS = frozenset({"pretrained", "pretrained_cfg", "checkpoint_path", "in_chans", "num_classes"})


class TimmEncoder(nn.Module):
    """A timm backbone without its classifier.

    Pretrained weights are never loaded, so nothing is downloaded. A backbone that is built for one picture
    size (most transformers) is built for 48 pixels, and accepts other sizes where timm can.

    Attributes:
        num_features: Width F of what comes out, read from a trial picture.
    """

    def __init__(self, name: str, *, in_channels: int = 1, **options: Any) -> None:
        """Build the backbone.

        Args:
            name: Model name as in ``timm.list_models()``, without a weights tag.
            in_channels: Channels of the pictures.
            **options: Passed on to ``timm.create_model``, for example ``img_size``, ``drop_path_rate``.

        Raises:
            MissingExtraError: If timm is not installed.
            FacelexError: If the name is unknown, or the backbone refuses an option or faces of 48 pixels.
        """
        super().__init__()
        self.name = f"timm:{name}"
        self.in_channels = in_channels
        check_timm_name(name)
        for option in sorted(_FIXED_OPTIONS & options.keys()):
            raise FacelexError(f"The option {option!r} of 'timm:{name}' is fixed. Leave it out.")
        self.backbone = _create_backbone(name, in_channels, options)
        try:
            self.num_features = self._trial_width(int(options.get("img_size", FACE_SIZE)))
        except FacelexError:
            raise
        except Exception as error:  # an option is first used here
            raise _refusal(name, options, error) from error

    def forward(self, images: Tensor) -> Tensor:
        """Map normalised pictures ``(B, in_channels, H, W)`` to backbone features ``(B, num_features)``."""
        check_images(images, self.in_channels)
        try:
            return self.backbone(images)
        except AssertionError as error:  # timm asserts sizes: "Input height (24) should be divisible by ..."
            size = f"{images.shape[2]}x{images.shape[3]}"
            raise FacelexError(f"{self.name} cannot take pictures of {size} pixels: {error}") from error

    def _trial_width(self, size: int) -> int:
        """Ask the backbone itself: for MobileNets timm's ``num_features`` is not the width that comes out."""
        was_training = self.training
        self.eval()
        try:
            with torch.no_grad():
                features = self(torch.zeros(1, self.in_channels, size, size))
        except RuntimeError as error:
            raise FacelexError(
                f"{self.name} cannot take faces of {size}x{size} pixels: {error}. Choose another backbone."
            ) from error
        self.train(was_training)
        if features.ndim != 2:
            raise FacelexError(
                f"Expected {self.name} to return a vector a picture, but got shape {tuple(features.shape)}. "
                "Leave its pooling on."
            )
        return int(features.shape[1])


def check_timm_name(name: str) -> None:
    """Raise if timm has no such architecture, or if ``name`` asks for pretrained weights.

    Raises:
        MissingExtraError: If timm is not installed.
        FacelexError: If the name is not usable.
    """
    timm = require("timm", "train", "A timm backbone")
    architecture, _, tag = name.partition(".")
    known = timm.list_models()
    if architecture not in known:
        raise FacelexError(
            f"Unknown timm model {name!r}.{did_you_mean(architecture, known)} "
            f"timm {timm.__version__} knows {len(known)}: see timm.list_models()."
        )
    if tag:
        raise FacelexError(
            f"{name!r} asks for the pretrained weights {tag!r}, which are not loaded here. "
            f"Write 'timm:{architecture}' for that network with random first weights."
        )


def _create_backbone(name: str, in_channels: int, options: dict[str, Any]) -> nn.Module:
    import timm

    sizes: list[dict[str, Any]] = [{}]
    settings = timm.get_pretrained_cfg(name)
    if settings is not None and settings.fixed_input_size and "img_size" not in options:
        sizes = [{"img_size": FACE_SIZE, "dynamic_img_size": True}, {"img_size": FACE_SIZE}]
    refusals: list[Exception] = []
    for size in sizes:
        try:
            return timm.create_model(
                name, pretrained=False, in_chans=in_channels, num_classes=0, **{**size, **options}
            )
        except Exception as error:  # each family refuses in its own way what it cannot be built with
            refusals.append(error)
    raise _refusal(name, options, refusals[-1]) from refusals[-1]


def _refusal(name: str, options: dict[str, Any], error: Exception) -> FacelexError:
    reason = str(error).rstrip(".") or type(error).__name__
    if not options:
        return FacelexError(f"timm:{name} cannot be built for faces of {FACE_SIZE} pixels: {reason}.")
    given = ", ".join(f"{option}={value!r}" for option, value in sorted(options.items()))
    return FacelexError(f"timm:{name} does not accept the options {given}: {reason}.")
