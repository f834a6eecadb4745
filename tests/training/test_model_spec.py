import pytest
from tiny_training import tiny_config

from facelex.errors import FacelexError
from facelex.training.model_spec import class_vectors


def test_a_class_without_a_known_word_is_named_with_how_to_give_it_one() -> None:
    classes = ("happy", "42", "m\u00fcde")
    with pytest.raises(FacelexError, match=r"'42'(.|\n)*'m\u00fcde'(.|\n)*--set 'model\.words\.CLASS=\["):
        class_vectors(tiny_config(), classes)
    given = tiny_config("model.words.42=[number]", "model.words.m\u00fcde=[tired, weary]")
    vectors = class_vectors(given, classes)
    assert vectors is not None
    assert len(vectors) == 3
    assert class_vectors(tiny_config("method=baseline"), classes) is None
