"""What the dual encoder makes of words, temperature and faces."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from facelex.models.dual_encoder import MAX_LOGIT_SCALE, DualEncoder
from facelex.models.registry import create_image_encoder

CLASSES, WORDS, WIDTH = 3, 4, 6


def word_vectors() -> Tensor:
    vectors = torch.randn(CLASSES, WORDS, WIDTH, generator=torch.Generator().manual_seed(0))
    vectors = F.normalize(vectors, dim=-1)
    vectors[1, 2:] = 0  # a class of two words
    return vectors


def build(vectors: Tensor | None = None, **options: object) -> DualEncoder:
    torch.manual_seed(0)
    return DualEncoder(create_image_encoder("tiny_cnn"), CLASSES, vectors, embed_dim=5, **options)  # type: ignore[arg-type]


def test_features_are_of_unit_length_and_logits_one_a_class() -> None:
    output = build(word_vectors()).eval()(torch.rand(2, 1, 24, 24))
    assert output.logits.shape == (2, CLASSES)
    for features, count in ((output.image_features, 2), (output.text_features, CLASSES)):
        torch.testing.assert_close(features.norm(dim=1), torch.ones(count))


def test_without_words_there_are_no_features_unless_faces_are_compared() -> None:
    faces = torch.rand(2, 1, 24, 24)
    plain, projected = build().eval()(faces), build(project=True).eval()(faces)
    assert plain.image_features is None
    assert plain.text_features is projected.text_features is None
    assert projected.image_features.shape == (2, 5)


def test_centring_takes_away_what_all_classes_share() -> None:
    shared = torch.zeros(WIDTH)
    shared[0] = 1.0
    vectors = F.normalize(word_vectors()[:, :1] * 0.1 + shared, dim=-1)
    features = {centred: build(vectors, center_words=centred).eval() for centred in (True, False)}
    spread = {
        centred: torch.pdist(F.normalize(vectors[:, 0] - model.word_center, dim=-1)).min()
        for centred, model in features.items()
    }
    assert spread[True] > 5 * spread[False]


def test_mixed_words_differ_from_batch_to_batch_in_training_only() -> None:
    model = build(word_vectors(), mix_words=True).train()
    torch.manual_seed(1)
    first, second = model.class_word_vectors(), model.class_word_vectors()
    assert not torch.equal(first, second)
    model.eval()
    torch.testing.assert_close(model.class_word_vectors(), model.class_word_vectors())


def test_a_class_is_mixed_of_its_own_words_alone_with_shares_that_add_up_to_one() -> None:
    vectors = torch.zeros(CLASSES, WORDS, WIDTH)
    vectors[:, :, 0] = 1.0  # a mixture has 1 there, whatever the shares
    vectors[:, torch.arange(WORDS), 1 + torch.arange(WORDS)] = 1.0  # and there each word's share
    vectors[1, 2:] = 0
    model = build(vectors, mix_words=True).train()
    shares = torch.stack([model.class_word_vectors() for _ in range(2000)])  # (N, K, D)
    torch.testing.assert_close(shares[..., 0], torch.ones(2000, CLASSES))
    assert shares[:, 1, 3:].max() == 0
    torch.testing.assert_close(shares[:, 0, 1:5].mean(0), torch.full((4,), 0.25), atol=0.02, rtol=0)
    torch.testing.assert_close(shares[:, 1, 1:3].mean(0), torch.full((2,), 0.5), atol=0.02, rtol=0)


def test_a_scale_above_the_bound_comes_back_and_goes_on_learning() -> None:
    model = build(word_vectors(), temperature=1 / MAX_LOGIT_SCALE)
    with torch.no_grad():
        model.logit_scale += 1.0
    model.clip_logit_scale()
    assert model.logit_scale.item() == pytest.approx(math.log(MAX_LOGIT_SCALE))
    model(torch.rand(2, 1, 24, 24)).logit_scale.backward()
    assert model.logit_scale.grad.item() > 0


def test_word_vectors_of_another_shape_are_named() -> None:
    with pytest.raises(ValueError, match=r"\(3, W, D\), but got \(3, 6\)"):
        build(word_vectors()[:, 0])
