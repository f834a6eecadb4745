"""The dual encoder: a face network and a frozen word encoder that meet in one space."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facelex.models.heads import Classifier, ProjectionHead

PARTS: tuple[str, ...] = ("image_encoder", "classifier", "image_projection", "text_projection", "logit_scale")
"""What a training phase may train or freeze, by name."""

MAX_LOGIT_SCALE = 100.0
"""CLIP clips the learned scale here "to prevent training instability" (Radford et al. 2021, Sec. 2.5)."""


class ModelOutput(NamedTuple):
    """What crosses from the model to losses, metrics and export.

    ``text_features`` is None in a model without words, ``image_features`` in one without a projection.
    """

    logits: Tensor
    """Classifier scores, ``(B, K)`` float32."""
    backbone_features: Tensor
    """Before any head, ``(B, F)``."""
    image_features: Tensor | None
    """Unit-length faces in the shared space, ``(B, E)`` float32."""
    text_features: Tensor | None
    """Unit-length class words in the shared space, ``(K, E)`` float32, in label order."""
    logit_scale: Tensor
    """``1 / temperature``, positive scalar."""
    mirror_logits: Tensor | None = None
    """Classifier scores of the mirror images, ``(B, K)`` float32, where a loss asks for them."""
    vote_logits: Tensor | None = None
    """Scores of what annotators may vote for, ``(B, V)`` float32, in a model that predicts votes."""


class DualEncoder(nn.Module):
    """Face encoder with a classifier, and, when given word vectors, a shared space with them.

    Args:
        image_encoder: ``(B, C, H, W)`` to ``(B, num_features)``; has ``num_features``.
        num_classes: Number of emotion classes K.
        word_vectors: Frozen vectors of each class's words, ``(K, W, D)``, unit length, up to W words a class
            and rows of zeros where it has fewer; None builds a plain classifier.
        mean: Pixel mean of the training images, in [0, 1].
        std: Pixel standard deviation of the training images.
        hidden_dim: Hidden width of both projections.
        text_hidden_dim: Hidden width of the text projection where it differs.
        embed_dim: Width E of the shared space.
        dropout: Dropout before the classifier and inside the projections.
        temperature: Initial temperature of the contrastive loss, at least ``1 / MAX_LOGIT_SCALE``.
        center_words: Subtract the mean class vector: GloVe's emotion words share a large common part
            (mean cosine .39 raw, -.16 centred), which says nothing about which emotion is meant.
        mix_words: In training, stand for each class with a fresh random mean of its words, so that the
            projection learns the neighbourhood of the words and not seven points.
        project: Give faces a projection even without words, for contrast between faces alone.
        num_votes: Give the classifier a second layer for so many kinds of annotators' votes.
    """

    pixel_mean: Tensor
    pixel_std: Tensor
    word_vectors: Tensor
    word_center: Tensor

    def __init__(
        self,
        image_encoder: nn.Module,
        num_classes: int,
        word_vectors: Tensor | None = None,
        *,
        mean: float = 0.5,
        std: float = 0.25,
        hidden_dim: int = 256,
        text_hidden_dim: int | None = None,
        embed_dim: int = 64,
        dropout: float = 0.25,
        temperature: float = 0.07,
        center_words: bool = True,
        mix_words: bool = False,
        project: bool = False,
        num_votes: int = 0,
    ):
        super().__init__()
        self.image_encoder = image_encoder
        num_features = int(image_encoder.num_features)  # type: ignore[arg-type]
        self.classifier = Classifier(num_features, num_classes, dropout, num_votes)
        self.register_buffer("pixel_mean", torch.tensor(float(mean)))
        self.register_buffer("pixel_std", torch.tensor(float(std)))
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1.0 / temperature)))
        self.mix_words = mix_words
        self.image_projection: ProjectionHead | None = None
        self.text_projection: ProjectionHead | None = None
        if word_vectors is not None or project:
            self.image_projection = ProjectionHead(num_features, hidden_dim, embed_dim, dropout)
        if word_vectors is not None:
            if word_vectors.ndim != 3 or word_vectors.shape[0] != num_classes:
                raise ValueError(
                    f"Expected word vectors of shape ({num_classes}, W, D), "
                    f"but got {tuple(word_vectors.shape)}."
                )
            self.text_projection = ProjectionHead(
                word_vectors.shape[-1], text_hidden_dim or hidden_dim, embed_dim, dropout
            )
            center = F.normalize(word_vectors.sum(1), dim=-1).mean(0)
            self.register_buffer("word_vectors", word_vectors.float())
            self.register_buffer("word_center", center if center_words else torch.zeros_like(center))

    @property
    def has_words(self) -> bool:
        """Whether the model has a shared space with words."""
        return self.text_projection is not None

    def normalize_pixels(self, images: Tensor) -> Tensor:
        """Standardise images in [0, 1] with the training set's mean and deviation."""
        return (images - self.pixel_mean) / self.pixel_std

    def encode_words(self, word_vectors: Tensor) -> Tensor:
        """Embed word vectors ``(N, D)`` (made unit length here) as unit vectors ``(N, E)``."""
        if self.text_projection is None:
            raise ValueError("This model was trained without words. Train one with --set method=multimodal.")
        return self.text_projection(F.normalize(word_vectors, dim=-1) - self.word_center)

    def class_word_vectors(self) -> Tensor:
        """One vector per class, ``(K, D)``: the mean of its words, randomly weighted while mixing."""
        words = self.word_vectors  # (K, W, D)
        weights = words.any(-1).float()  # (K, W): rows of zeros are no words
        if self.mix_words and self.training:
            weights = weights * -torch.rand_like(weights).clamp_min(1e-6).log()  # Dirichlet(1)
        return (weights.unsqueeze(-1) * words).sum(1) / weights.sum(1, keepdim=True)

    @torch.no_grad()
    def clip_logit_scale(self) -> None:
        """Bring a learned scale back to `MAX_LOGIT_SCALE`; to be called after each step, as CLIP does.

        Clipping in the forward pass alone would leave a scale above the bound without a gradient for good.
        """
        self.logit_scale.clamp_(max=math.log(MAX_LOGIT_SCALE))

    def forward(self, images: Tensor) -> ModelOutput:
        """Encode faces.

        Args:
            images: ``(B, 1, H, W)`` float32 in [0, 1].
        """
        features = self.image_encoder(self.normalize_pixels(images))
        image_features = text_features = None
        if self.image_projection is not None:
            image_features = self.image_projection(features)
        if self.text_projection is not None:
            text_features = self.encode_words(self.class_word_vectors())
        return ModelOutput(
            self.classifier(features), features, image_features, text_features, self.logit_scale.exp(),
            vote_logits=self.classifier.vote_logits(features),
        )  # fmt: skip
