"""An epoch hands its work to the device and never asks for a number before the end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tiny_training import FACES, tiny_config
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from facelex.training import examples, resume
from facelex.training.batches import steps_per_epoch
from facelex.training.fabric import Fabric
from facelex.training.progress import SilentReporter
from facelex.training.run import Training

WAITING = {"_local_scalar_dense", "is_nonzero", "nonzero", "masked_select", "equal", "bincount", "_unique2"}

RECIPES = {
    "mixed images, teachers, sharpness-aware": (
        "augment={mixup: 0.4, cutmix: 1, erasing: 0.5, brightness: 0.1, alternate_reflection: true}",
        "methods.multimodal=[{name: all, epochs: 1,"
        " losses: {cross_entropy: 1, distillation: 1, alignment: 1}}]",
        "teachers=[none]", "optimizer.sam_rho=0.05",
    ),
    "contrast between images, words mixed": (
        "methods.multimodal=[{name: all, epochs: 1,"
        " losses: {cross_entropy: 1, supervised_contrastive: 1, alignment: 1}}]",
        "model.mix_words=true", "label_smoothing=0.1",
    ),
}  # fmt: skip
METHODS = pytest.mark.parametrize("settings", RECIPES.values(), ids=RECIPES)


class Watch(TorchDispatchMode):
    """Refuses operations that bring a number, or a shape that depends on numbers, from a GPU to the host."""

    on = True

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        by_mask = name in ("index", "index_put", "index_put_") and any(
            index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1]
        )
        # going back, PyTorch itself makes the zeros of a clamp where they are needed
        forward = name == "where" and torch.is_grad_enabled()
        number_copied = forward and args[0].ndim > min(a.ndim for a in args[1:])
        if self.on and (name in WAITING or by_mask or number_copied):
            raise RuntimeError(f"{name} would wait for the device")
        return func(*args, **(kwargs or {}))


def epoch_of(
    fabric: Fabric, settings: tuple[str, ...], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Callable[..., Any], int]:
    """An epoch with everything on, ready to be called, and its number of steps."""
    usual = ("batch_size=16", "optimizer.clip_grad_norm=1", "ema_decay=0.9", "cuda_graphs=false")
    config = tiny_config(*usual, *settings)
    monkeypatch.setattr(examples, "cached_teacher_probs", lambda *_: None)
    monkeypatch.setattr(resume, "network_digest", lambda *_: "")
    training = Training(fabric, config, FACES, folder, SilentReporter())
    trainer, count = training.begin_phase(0), len(training.examples)
    shown = training.examples.of_epoch(config.phases[0], 0)
    if config.teachers:
        shown = shown._replace(teachers=lambda images: images.flatten(1)[:, :7].softmax(1))

    def epoch(on_step: Callable[[int], None]) -> None:
        trainer.train_epoch(shown, image_size=24, seed=0, on_step=on_step)

    return epoch, steps_per_epoch(count, 16)


@METHODS
def test_no_step_of_an_epoch_asks_for_a_number(
    settings: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # on a CPU, and only there, one_hot looks at the numbers
    monkeypatch.setattr(F, "one_hot", lambda labels, n: (labels[:, None] == torch.arange(n)).long())
    epoch, steps = epoch_of(Fabric(accelerator="cpu"), settings, tmp_path, monkeypatch)
    done: list[int] = []
    with Watch() as watch:
        watch.on = False

        def on_step(images: int) -> None:
            done.append(images)
            watch.on = len(done) < steps  # the end may wait, and whatever is set up at the beginning

        epoch(on_step)
    assert len(done) == steps > 2


@pytest.mark.parametrize(
    "waits",
    [
        lambda x: x.sum().item(),
        lambda x: float(x[0]),
        lambda x: x[x > 0],
        lambda x: torch.where(x > 0, x, 0.0),
        lambda x: x.nonzero(),
    ],
)
def test_watch_would_notice(waits: Callable[[Tensor], Any]) -> None:
    with pytest.raises(RuntimeError, match="would wait"), Watch():
        waits(torch.ones(3))


@pytest.mark.gpu
@METHODS
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_cuda_itself_sees_no_waiting_within_an_epoch(
    settings: tuple[str, ...], precision: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fabric = Fabric(accelerator="cuda", devices=1, precision=precision)
    epoch, steps = epoch_of(fabric, settings, tmp_path, monkeypatch)
    done: list[int] = []

    def on_step(images: int) -> None:
        done.append(images)
        torch.cuda.set_sync_debug_mode("default" if len(done) == steps else "error")

    try:
        epoch(on_step)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert len(done) == steps > 2
