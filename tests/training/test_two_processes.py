from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_training import FACES, StopAfter, read_rows, tiny_config, two_phases, weights

from facelex.training.run import train_run

SCRIPT = '''
import sys
from pathlib import Path

import torch
from torch import nn

from facelex.data.sketch import sketch_dataset
from facelex.models.registry import register_image_encoder
from facelex.training.config import load_config
from facelex.training.run import train_run

torch.set_num_threads(1)


class Plain(nn.Module):
    """Without batch normalisation, which would see each process's own half of a batch."""

    num_features = 16

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(24 * 24, 16), nn.Tanh())

    def forward(self, images):
        return self.layers(images)


@register_image_encoder
def plain(*, in_channels=1):
    return Plain()


config = load_config(
    "sketch",
    [
        "model={image_encoder: plain, dropout: 0, hidden_dim: 16, embed_dim: 8}", "image_size=24",
        "batch_size=16", "precision=32-true", "ema_decay=0.9", "optimizer={name: sgd, lr: 0.05}",
        "augment={rotation: 0, translation: 0, resize: 0, reflection: 0}", "method=all",
        "methods.all=[{name: align, epochs: 1, losses: {alignment: 1, supervised_contrastive: 0.5}},"
        " {name: classify, epochs: 1, losses: {cross_entropy: 1}},"
        " {name: joint, epochs: 1, losses: {cross_entropy: 1, alignment: 0.5}}]",
        *sys.argv[3:],
    ],
)
train_run(config, sketch_dataset(100), Path(sys.argv[1]), accelerator="cpu", devices=int(sys.argv[2]))
'''


METHODS = {
    "plain": (),
    "mixed images, sharpness-aware steps, alternating reflection": (
        "augment={rotation: 0, translation: 0, resize: 0, alternate_reflection: true, mixup: 0.5, cutmix: 1}",
        "optimizer.sam_rho=0.1", "methods.all.0.losses.supervised_contrastive=0",
    ),
    "agreement with the mirror image": ("methods.all.1.losses.mirror_consistency=1",),
    "judged views": (
        "methods.all=[{name: taught, epochs: 3,"
        " losses: {distillation: 1, cross_entropy: 0.5, alignment: 0.2}}]",
        "teachers=[tiny]", "teacher_views=2",
        "augment={rotation: 20, erasing: 0.5, mixup: 0.5, alternate_reflection: true}",
    ),
    "one phase": ("methods.all=[{name: joint, epochs: 2, losses: {cross_entropy: 1, alignment: 0.5}}]",),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("settings", METHODS.values(), ids=METHODS)
def test_two_processes_equal_one_with_the_same_batches(tmp_path: Path, settings: tuple[str, ...]) -> None:
    script = tmp_path / "train.py"
    script.write_text(SCRIPT)
    for devices in ("1", "2"):
        said = subprocess.run(
            [sys.executable, str(script), str(tmp_path / devices), devices, *settings],
            check=True, timeout=280, cwd=tmp_path, env=os.environ | {"OMP_NUM_THREADS": "1"},
            stderr=subprocess.PIPE, text=True,
        ).stderr  # fmt: skip
        if settings == METHODS["one phase"]:  # nothing is looked for in vain
            assert "find_unused_parameters" not in said
        assert "deprecated" not in said
    one, two = weights(tmp_path / "1"), weights(tmp_path / "2")
    for name, value in one.items():
        assert float((value - two[name]).abs().max()) < 2e-5, name
    columns = ["train_loss", "train_accuracy", "val_loss", "alignment", "cross_entropy"]
    for left, right in zip(read_rows(tmp_path / "1", columns), read_rows(tmp_path / "2", columns)):
        for column in columns:
            if left[column]:
                assert float(left[column]) == pytest.approx(float(right[column]), abs=1e-4), column


@pytest.mark.slow
def test_batch_that_does_not_divide_among_devices_is_refused(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(SCRIPT.replace("batch_size=16", "batch_size=15"))
    finished = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "r"), "2"],
        check=False, timeout=280, capture_output=True, text=True, cwd=tmp_path,
    )  # fmt: skip
    assert finished.returncode != 0
    assert "multiple of 2" in finished.stderr


RESUMING = """
import os
import sys

from facelex.cli.main import main
from facelex.training import run

if os.environ.get("LOCAL_RANK") == "1":  # as if the file system still showed this node an older state
    run.find_checkpoint = lambda *_, **__: None
main()
"""


@pytest.mark.slow
def test_run_of_one_process_goes_on_with_two_from_the_checkpoint_of_the_first(tmp_path: Path) -> None:
    folder, script = tmp_path / "run", tmp_path / "resume.py"
    with pytest.raises(KeyboardInterrupt):
        train_run(tiny_config(*two_phases(2, 1)), FACES, folder, accelerator="cpu", reporter=StopAfter(1))
    script.write_text(RESUMING)
    subprocess.run(
        [sys.executable, str(script), "train", "--resume", "-o", str(folder),
         "--accelerator", "cpu", "--devices", "2", "--threads", "1"],
        check=True, timeout=280, cwd=tmp_path,
    )  # fmt: skip
    assert [row["epoch"] for row in read_rows(folder, ["epoch"])] == ["1", "2", "1"]
    noted = json.loads((folder / "environment.json").read_text())
    assert (noted["devices"], noted["continued"][-1]["devices"]) == (1, 2)
