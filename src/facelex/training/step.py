"""Loss and gradients of one batch, over all ranks."""

from __future__ import annotations

from functools import partial
from typing import cast

import torch
from torch import Tensor, nn

from facelex.losses.objective import Objective, Targets
from facelex.models.dual_encoder import ModelOutput
from facelex.training.batches import Batch
from facelex.training.fabric import Fabric


def forward_backward(
    fabric: Fabric, model: nn.Module, objective: Objective, batch: Batch
) -> dict[str, Tensor]:
    """Add the gradients of a batch to the parameters'.

    Args:
        fabric: Device, precision and process group.
        model: The network as set up by Fabric.
        objective: What is minimised.
        batch: This rank's share of the step.

    Returns:
        ``loss``, ``accuracy`` and the losses by name, detached scalars.
    """
    output = _with_mirror(model, batch.images) if objective.needs_mirror else model(batch.images)
    with torch.no_grad():
        accuracy = (objective.answer_logits(output).argmax(1) == batch.main_labels).float().mean()
    output = _gather_output(fabric, output)
    targets = _gather_targets(fabric, batch.targets)
    if batch.partners is None:
        loss, parts = objective(output, targets)
    else:
        loss, parts = objective.mixed(output, targets, _gather_targets(fabric, batch.partners), batch.share)
    fabric.backward(loss)
    return {"loss": loss.detach(), "accuracy": accuracy, **parts}


def _with_mirror(model: nn.Module, images: Tensor) -> ModelOutput:
    """Show the images and their mirror images in one pass: data-parallel training wants a single one."""
    count = len(images)
    output: ModelOutput = model(torch.cat([images, images.flip(3)]))
    features, votes = output.image_features, output.vote_logits
    return output._replace(
        logits=output.logits[:count],
        backbone_features=output.backbone_features[:count],
        image_features=None if features is None else features[:count],
        mirror_logits=output.logits[count:],
        vote_logits=None if votes is None else votes[:count],
    )


def _gather_output(fabric: Fabric, output: ModelOutput) -> ModelOutput:
    """Collect the global batch on every rank, gradients included, so that contrast sees all negatives.

    Each of the W ranks then computes the same loss over the global batch. Going back through the gathering,
    the gradient of each example adds up over ranks, W times too much, and DDP divides by W. What does not
    pass the gathering (words, temperature) has the same gradient on every rank, which averaging leaves. So
    the result equals one device with the same global batch, as far as layers treat examples one by one and
    draw nothing: batch normalisation takes each rank's own share, and dropout and ``mix_words`` draw their
    own on each.
    """
    if fabric.world_size == 1:
        return output
    features, mirror, votes = output.image_features, output.mirror_logits, output.vote_logits
    return output._replace(
        logits=_all_rows(fabric, output.logits, True),
        image_features=None if features is None else _all_rows(fabric, features, True),
        mirror_logits=None if mirror is None else _all_rows(fabric, mirror, True),
        vote_logits=None if votes is None else _all_rows(fabric, votes, True),
    )


def _gather_targets(fabric: Fabric, targets: Targets) -> Targets:
    """Collect the targets of the global batch, in the order of :func:`_gather_output`."""
    if fabric.world_size == 1:
        return targets
    return targets.map(partial(_all_rows, fabric))


def _all_rows(fabric: Fabric, rows: Tensor, grads: bool = False) -> Tensor:
    return cast(Tensor, fabric.all_gather(rows, sync_grads=grads)).flatten(0, 1)
