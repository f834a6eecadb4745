"""Text into the words that carry its meaning: tokens, stop words, refused negations, base forms.

English only, by word lists small enough to read. A mean of word vectors knows neither word order nor
negation, so these functions settle what a phrase can honestly stand for.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Container, Sequence

from facelex.errors import FacelexError


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


NEGATIONS = _words("not no never without neither nor none nobody nothing nowhere cannot n't hardly scarcely")
"""Words that turn a meaning round. "hardly" and "scarcely" are here: hardly happy is not happy."""

DEGREES = _words("""
    very really quite rather somewhat slightly barely almost nearly fairly extremely totally completely
    utterly highly deeply terribly incredibly absolutely mildly too so just only even more most less least
    much bit little lot half
""")
"""Words of degree, left out: they change how much, and the mean of vectors has no "how much".

"barely" is one of them: in "barely hidden anger" it weakens "hidden", not "anger".
"""

STOP_WORDS = DEGREES | _words("""
    a an the this that these those some any each every all both other another such own same
    i me my mine we us our ours you your yours he him his she her hers it its they them their theirs one ones
    myself yourself himself herself itself themselves ourselves someone somebody something anyone everyone
    who whom whose which what when where why how
    am is are was were be been being have has had having do does did doing
    will would shall should can could may might must let get gets got getting
    and or but if because as until while than then though although
    of at by for with about against between into through during before after above below to from up in
    out on off over under again further once here there
    s m re ve ll d t
    look looks looking looked seem seems seeming seemed appear appears appearing appeared
    feel feels feeling feelings felt face faces facial expression expressions person people
""")
"""Left out of phrases: grammar, degree, and words true of any face ("looks", "feeling", "person")."""

_TOKEN = re.compile(r"[^\W_]+(?:[-'][^\W_]+)*")
_NEGATED_VERB = re.compile(r"^[a-z]+n't$")
_CLITIC = re.compile(r"'(?:s|m|re|ve|ll|d)$")

_ENDINGS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("iness", ("y",)), ("ness", ("", "e")),
    ("ily", ("y",)), ("ably", ("able",)), ("ly", ("", "le")),
    ("iest", ("y",)), ("est", ("", "e")), ("ier", ("y",)), ("er", ("", "e")),
    ("ying", ("ie", "y")), ("ing", ("", "e")), ("ied", ("y",)), ("ed", ("", "e")),
    ("ies", ("y",)), ("es", ("", "e")), ("s", ("",)),
)  # fmt: skip


def fold(text: str) -> str:
    """Bring text to the form the vocabulary is written in: compatible characters, no case, plain apostrophes.

    Example:
        >>> fold(" Don’t ")
        "don't"
    """
    folded = unicodedata.normalize("NFKC", text).casefold().strip()
    return re.sub("[‐‑‒–]", "-", re.sub("[‘’ʼ`]", "'", folded))


def tokenize(text: str) -> list[str]:
    """Split text into folded words; hyphens and apostrophes inside a word stay, other marks go.

    Example:
        >>> tokenize("Wide-eyed, isn't she?!")
        ['wide-eyed', "isn't", 'she']
    """
    return _TOKEN.findall(fold(text))


def content_words(tokens: Sequence[str], known: Container[str], text: str) -> list[str]:
    """Drop stop words, unless all of ``tokens`` are; refuse negations.

    Args:
        tokens: From :func:`tokenize`.
        known: The vocabulary, to suggest an opposite that it knows.
        text: The phrase as typed, for the message.

    Raises:
        FacelexError: If the phrase negates a word.
    """
    bare = [token if token in known else _CLITIC.sub("", token) for token in tokens]
    followed = zip(bare, [*bare[1:], ""])
    bare = [word for word, after in followed if (word, after) not in (("kind", "of"), ("sort", "of"))]
    negating = [token for token in bare if token in NEGATIONS or _NEGATED_VERB.match(token)]
    content = [token for token in bare if token not in STOP_WORDS and token not in negating]
    if negating and content:
        opposites = [p + w for w in content for p in ("un", "dis", "in", "im") if p + w in known]
        hint = f", for example {opposites[0]!r}" if opposites else ""
        raise FacelexError(
            f"Cannot negate: word vectors would score {text!r} as {' '.join(content)!r}. "
            f"Say what is there instead{hint}."
        )
    return content or bare


def known_forms(token: str, known: Container[str]) -> list[str]:
    """Return the known word or words that stand for a token; an empty list if there are none.

    In this order: the token itself, without accents, without hyphens, the parts around its hyphens (all of
    them known; their stop words dropped), its base form ("smirking" becomes "smirk").
    """
    plain = "".join(c for c in unicodedata.normalize("NFKD", token) if not unicodedata.combining(c))
    for form in (token, plain, plain.replace("-", "")):
        if form in known:
            return [form]
    if "-" in plain:
        parts = [known_forms(part, known) for part in plain.split("-") if part not in STOP_WORDS]
        return [word for part in parts for word in part] if parts and all(parts) else []
    return next(([base] for base in _base_forms(plain) if base in known), [])


def _base_forms(word: str) -> list[str]:
    """Return spellings the word may have been built from, the likeliest first."""
    bases = []
    for ending, replacements in _ENDINGS:
        stem = word.removesuffix(ending)
        if stem == word or len(stem) < 2 or (ending == "s" and stem.endswith("s")):
            continue
        bases += [stem + replacement for replacement in replacements]
        if stem[-1] == stem[-2] and ending in ("ing", "ed", "er", "est"):  # "grinning" -> "grin"
            bases.append(stem[:-1])
    return [base for base in bases if len(base) >= 3]
