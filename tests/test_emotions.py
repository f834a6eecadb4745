import pytest

from facelex.emotions import ALIASES, EMOTIONS, canonical_name, classes_named, emotion_index, merging_notes
from facelex.errors import FacelexError


def test_every_alias_leads_to_one_of_the_seven_emotions() -> None:
    assert set(ALIASES.values()) <= set(EMOTIONS)
    for alias, name in ALIASES.items():
        assert canonical_name(f" {alias.upper()} ") == name
        assert EMOTIONS[emotion_index(alias)] == name


def test_a_name_of_ones_own_stays_as_it_is_but_for_case() -> None:
    assert canonical_name("Bored") == "bored"


@pytest.mark.parametrize(
    ("name", "classes", "ids"),
    [
        ("calm", ("neutral", "calm"), [1]),
        ("Calm", ("neutral", "calm"), [1]),
        ("calm", ("neutral", "happy"), [0]),
        ("anger", ("angry", "mad"), [0, 1]),
        ("happy", ("Happy", "happy"), [1]),
        ("HAPPY", ("Happy", "happy"), [0, 1]),
        ("bored", ("neutral", "happy"), []),
        ("none", ("neutral", "happy"), []),
    ],
)
def test_the_nearest_spelling_decides_which_classes_a_name_may_mean(
    name: str, classes: tuple[str, ...], ids: list[int]
) -> None:
    assert classes_named(name, classes) == ids


def test_names_that_are_taken_for_one_class_are_told() -> None:
    meant = [("calm", "neutral"), ("Happy", "happy"), ("neutral", "neutral"), ("happy", "happy")]
    assert merging_notes(meant) == ["Several names are taken for neutral: calm, neutral."]


def test_an_unknown_emotion_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(FacelexError, match=r"Unknown emotion 'hapy'. Did you mean 'happy'\?"):
        emotion_index("hapy")
