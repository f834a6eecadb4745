"""What a word will look for: correlations against sampled faces, the method, and the verb ``words``."""

import json

import numpy as np
import pytest

from facelex import Recognizer, Vocabulary
from facelex.cli.main import main
from facelex.emotions import EMOTION_WORDS, EMOTIONS
from facelex.errors import FacelexError
from facelex.recognize.word_meanings import describe_words
from facelex.recognize.words import TextProjection, WordScorer, normalize
from facelex.vocabulary import Thesaurus
from facelex.vocabulary.thesaurus import Lists

WORDS = ["glad", "merry", "gloomy", "table", "pale"]


@pytest.fixture(scope="module")
def scorer() -> WordScorer:
    rng = np.random.default_rng(0)
    dim, hidden, embed = 6, 8, 4
    root = rng.normal(size=(embed, embed))
    projection = TextProjection(
        text_center=rng.normal(size=dim).astype(np.float32) / 4,
        text_weight1=rng.normal(size=(hidden, dim)).astype(np.float32),
        text_bias1=rng.normal(size=hidden).astype(np.float32),
        text_weight2=rng.normal(size=(embed, hidden)).astype(np.float32),
        text_bias2=np.zeros(embed, np.float32),
        feature_mean=rng.normal(size=embed).astype(np.float32),
        feature_cov=(root @ root.T).astype(np.float32),
    )
    thesaurus = Thesaurus(
        WORDS, Lists.of([[1], [], [4], [], []]), Lists.of([[1, 4], [], [], [], []]), np.full(5, -1)
    )
    vocabulary = Vocabulary(WORDS, rng.normal(size=(len(WORDS), dim)), "made").retrofitted(thesaurus)
    return WordScorer(projection, vocabulary)


def test_likeness_is_the_correlation_of_scores_over_faces(scorer: WordScorer) -> None:
    classes = {"happy": ["merry"], "sad": ["gloomy", "pale"]}
    found = describe_words(scorer, classes, "glad, gloomy table")

    projection = scorer.projection
    faces = np.random.default_rng(1).multivariate_normal(
        projection.feature_mean, projection.feature_cov, size=200_000
    )
    phrase = scorer.vocabulary.phrase
    sad = np.mean([normalize(phrase("gloomy")), normalize(phrase("pale"))], axis=0)
    vectors = np.stack([phrase("glad"), phrase("gloomy table"), phrase("merry"), sad])
    sampled = np.corrcoef(faces @ projection.encode(vectors.astype(np.float32)).T, rowvar=False)
    for place, meaning in enumerate(found):
        assert list(meaning.likeness) == ["happy", "sad"]
        np.testing.assert_allclose(list(meaning.likeness.values()), sampled[place, 2:], atol=0.01)
    assert len({round(value, 2) for one in found for value in one.likeness.values()}) == 4


def test_the_words_it_is_understood_by_are_told_once(scorer: WordScorer) -> None:
    glad, phrase = describe_words(scorer, {"happy": ["merry"]}, ["glad", "very gloomy glad"])
    assert (glad.word, glad.read_as, glad.related) == ("glad", ("glad",), ("merry", "pale"))
    assert (phrase.read_as, phrase.related) == (("gloomy", "glad"), ("pale", "merry"))
    assert glad.likeness["happy"] <= 1


def test_classes_whose_words_are_unknown_are_left_out(scorer: WordScorer) -> None:
    (found,) = describe_words(scorer, {"happy": ["merry"], "odd": ["unheard"]}, "glad")
    assert list(found.likeness) == ["happy"]
    with pytest.raises(FacelexError, match="made has none of them"):
        describe_words(scorer, {"odd": ["unheard"]}, "glad")
    with pytest.raises(FacelexError, match="No vector in made for a word: 'unheard'"):
        describe_words(scorer, {"happy": ["merry"]}, "unheard")


def test_the_packaged_model_takes_synonyms_for_their_emotion() -> None:
    recognizer = Recognizer("tiny", detector="none")
    for emotion, words in (("happy", ["gleeful", "joyous"]), ("sad", ["sorrowful"]), ("angry", ["irate"])):
        for meaning in recognizer.describe_words(words):
            assert max(meaning.likeness, key=meaning.likeness.__getitem__) == emotion
    own = recognizer.describe_words([words[0] for words in EMOTION_WORDS.values()])
    assert all(one.likeness[name] > 0.8 for one, name in zip(own, EMOTIONS, strict=True))


def test_the_verb_prints_a_table_and_json(capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["words", "gleeful,", "a barely hidden anger", "--model", "tiny"]) == 0
    printed = capsys.readouterr().out
    first, second = printed.splitlines()[1:3]
    assert first.startswith("gleeful")
    assert "happy +0.9" in first
    assert "sad -0.8" in first
    assert "jubilant" in first
    assert "(read as hidden anger)" in second
    assert main(["words", "gleeful", "--model", "tiny", "--format", "json"]) == 0
    (record,) = json.loads(capsys.readouterr().out)
    assert list(record) == ["word", "read_as", "related", "likeness"]
    assert list(record["likeness"]) == list(EMOTIONS)
    assert record["related"][:2] == ["jubilant", "joyous"]


def test_mistakes_are_one_sentence(capsys) -> None:
    for words, said in (
        ([], "Expected words such as relieved"),
        (["releived"], "nearest: 'relived'"),
        (["not happy"], "Cannot negate"),
    ):
        assert main(["words", *words, "--model", "tiny"]) == 2
        printed = capsys.readouterr()
        assert printed.out == ""
        assert said in printed.err
        assert printed.err.count("\n") == 1
