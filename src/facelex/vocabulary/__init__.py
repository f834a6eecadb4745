"""Words into vectors: GloVe files of any dimension, the packaged vocabulary, phrases and synonyms."""

from facelex.vocabulary.thesaurus import Thesaurus
from facelex.vocabulary.vocabulary import Vocabulary

__all__ = ["Thesaurus", "Vocabulary"]
