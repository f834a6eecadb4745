"""Words into vectors: GloVe files of any dimension, the packaged vocabulary, and phrases."""

from facelex.vocabulary.vocabulary import Vocabulary

__all__ = ["Vocabulary"]
