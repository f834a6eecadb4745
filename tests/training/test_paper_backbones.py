from __future__ import annotations

from pathlib import Path

import pytest
from tiny_training import read_rows

from facelex.data.sketch import sketch_dataset
from facelex.training.config import load_config
from facelex.training.run import train_run


@pytest.mark.slow
@pytest.mark.parametrize("encoder", ["vgg11", "vgg16", "resnet18", "resnet50"])
def test_reports_backbone_trains_through_both_of_its_phases(encoder: str, tmp_path: Path) -> None:
    config = load_config(
        "paper",
        [f"model.image_encoder={encoder}", "max_epochs_per_phase=1", "batch_size=16", "image_size=32"],
    )
    result = train_run(config, sketch_dataset(20), tmp_path / "r", accelerator="cpu")
    rows = read_rows(tmp_path / "r", ["phase", "train_loss", "alignment", "cross_entropy"])
    assert [row["phase"] for row in rows] == ["align", "classify"]
    assert float(rows[0]["alignment"]) > 0
    assert float(rows[1]["cross_entropy"]) > 0
    assert 0 <= result.val_accuracy <= 1
