"""Small networks that stand on an encoder: projections into the shared space, and the classifier."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class ProjectionHead(nn.Module):
    """Two-layer perceptron into the shared space, ending in unit length.

    The report's head: 256 hidden units, 64 outputs; ReLU between, as in SimCLR's projection
    (Chen et al. 2020, Sec. 4.2), dropout after it.

    Args:
        in_features: Width of what comes in.
        hidden_dim: Width of the hidden layer.
        embed_dim: Width of the shared space.
        dropout: Probability of dropping a hidden unit in training.
    """

    def __init__(self, in_features: int, hidden_dim: int = 256, embed_dim: int = 64, dropout: float = 0.25):
        super().__init__()
        self.hidden = nn.Linear(in_features, hidden_dim)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(hidden_dim, embed_dim)

    def forward(self, features: Tensor) -> Tensor:
        """Map ``(B, in_features)`` to unit vectors ``(B, embed_dim)`` in float32."""
        projected = self.out(self.dropout(F.relu(self.hidden(features))))
        return F.normalize(projected.float(), dim=-1)


class Classifier(nn.Module):
    """Dropout and one linear layer: ``(B, F)`` backbone features to ``(B, K)`` logits in float32.

    Args:
        in_features: Width F of the features.
        num_classes: Number of emotion classes K.
        dropout: Probability of dropping a feature in training.
        num_votes: Width V of a second layer beside it, which predicts annotators' votes and is no part of
            the answer; 0 leaves it out.
    """

    def __init__(self, in_features: int, num_classes: int, dropout: float = 0.25, num_votes: int = 0):
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(in_features, num_classes)
        self.votes = nn.Linear(in_features, num_votes) if num_votes else None

    def forward(self, features: Tensor) -> Tensor:
        """Score each class, ``(B, F)`` to ``(B, K)``."""
        return self.linear(self.dropout(features)).float()

    def vote_logits(self, features: Tensor) -> Tensor | None:
        """Score what annotators may vote for, ``(B, F)`` to ``(B, V)``; None without the second layer."""
        return None if self.votes is None else self.votes(self.dropout(features)).float()
