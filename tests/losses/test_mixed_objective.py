from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from facelex.losses.classification import log_class_shares
from facelex.losses.objective import LOSSES, Objective, Targets
from facelex.models.dual_encoder import PARTS, ModelOutput
from facelex.training.config import LossConfig

SHARE = 0.3
LABELS, OTHERS = torch.tensor([0, 1, 2, 1]), torch.tensor([2, 1, 0, 0])


def output() -> ModelOutput:
    generator = torch.Generator().manual_seed(0)
    logits, faces, words = (torch.randn(n, 3, generator=generator) for n in (4, 4, 3))
    scale = torch.tensor(5.0)
    return ModelOutput(logits, logits, F.normalize(faces, dim=1), F.normalize(words, dim=1), scale)


def soft(targets: Tensor) -> Tensor:
    return SHARE * targets[:4] + (1 - SHARE) * targets[4:]


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_mixed_labels_are_shares_of_the_target(smoothing: float) -> None:
    objective = Objective({"cross_entropy": 2.0}, label_smoothing=smoothing)
    loss, parts = objective.mixed(output(), Targets(LABELS), Targets(OTHERS), SHARE)
    target = soft(F.one_hot(torch.cat([LABELS, OTHERS]), 3).float())
    expected = F.cross_entropy(output().logits, target, label_smoothing=smoothing)
    torch.testing.assert_close(parts["cross_entropy"], expected)
    torch.testing.assert_close(loss, 2 * expected)


def test_scores_are_adjusted_for_the_shares_of_classes_in_cross_entropy_alone() -> None:
    shares = log_class_shares(torch.tensor([0, 0, 0, 1, 1, 3, 3, 3, 3, 3]), 4)
    torch.testing.assert_close(shares.exp(), torch.tensor([0.3, 0.2, 0.1, 0.5]))  # of none, as of one
    offsets, rows = shares[:3], torch.full((4, 3), 1 / 3)
    weights = {"cross_entropy": 1.0, "distillation": 1.0}
    _, plain = Objective(weights)(output(), Targets(LABELS, teacher_probs=rows))
    _, adjusted = Objective(weights, logit_offsets=offsets)(output(), Targets(LABELS, teacher_probs=rows))
    expected = F.cross_entropy(output().logits + offsets, LABELS)
    torch.testing.assert_close(adjusted["cross_entropy"], expected)
    assert adjusted["cross_entropy"] != plain["cross_entropy"]
    assert adjusted["distillation"] == plain["distillation"]


@pytest.mark.parametrize("name", ["cross_entropy", "distillation"])
def test_rows_of_votes_and_teachers_are_mixed(name: str) -> None:
    rows = torch.rand(8, 3, generator=torch.Generator().manual_seed(1)).softmax(1)
    kind = "label_probs" if name == "cross_entropy" else "teacher_probs"
    one, other = Targets(LABELS, **{kind: rows[:4]}), Targets(OTHERS, **{kind: rows[4:]})
    loss, _ = Objective({name: 1.0}).mixed(output(), one, other, SHARE)
    torch.testing.assert_close(loss, F.cross_entropy(output().logits, soft(rows)))


def test_contrast_with_words_counts_both_captions_of_a_mixed_face() -> None:
    made = output()
    assert made.image_features is not None
    assert made.text_features is not None

    def by_loops(labels: Tensor) -> float:
        total = 0.0
        scores = (5.0 * made.image_features @ made.text_features.T).double()  # type: ignore[union-attr,operator]
        for i, label in enumerate(labels.tolist()):
            own = math.exp(scores[i, label])
            to_words = -math.log(own / sum(math.exp(scores[i, c]) for c in labels.tolist()))
            to_faces = -math.log(own / sum(math.exp(scores[k, label]) for k in range(4)))
            total += 0.75 * to_words + 0.25 * to_faces
        return total / 4

    loss, _ = Objective({"alignment": 1.0}).mixed(made, Targets(LABELS), Targets(OTHERS), SHARE)
    assert float(loss) == pytest.approx(SHARE * by_loops(LABELS) + (1 - SHARE) * by_loops(OTHERS), abs=1e-5)


def test_whole_share_is_the_plain_objective() -> None:
    objective = Objective({"cross_entropy": 1.0, "alignment": 0.5})
    plain, parts = objective(output(), Targets(LABELS))
    loss, mixed_parts = objective.mixed(output(), Targets(LABELS), Targets(OTHERS), 1.0)
    torch.testing.assert_close(loss, plain)
    torch.testing.assert_close(mixed_parts, parts)


def test_every_loss_of_a_configuration_is_in_the_table_and_reaches_parts_of_the_network() -> None:
    assert tuple(LOSSES) == tuple(LossConfig.model_fields)
    assert all(loss.parts and set(loss.parts) <= set(PARTS) for loss in LOSSES.values())
