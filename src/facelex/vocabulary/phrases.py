"""Text into the words that carry its meaning: tokens, stop words, refused negations, base forms.

English only, by word lists small enough to read. A mean of word vectors knows neither word order nor
negation, so these functions settle what a phrase can honestly stand for.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Container, Iterator, Sequence
from itertools import pairwise

from facelex.errors import FacelexError, shorten


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


NEGATIONS = _words(
    """
    not no non never without neither nor none nobody nothing nowhere cannot n't hardly scarcely rarely seldom
    less least lack lacks lacked lacking
    aint arent cant couldnt didnt doesnt dont hadnt hasnt havent isnt shouldnt wasnt werent wont wouldnt
    """
)
"""Words that turn a meaning round. "hardly" and "less" are here: the least happy face is not a happy one."""

DEGREES = _words("""
    very really quite rather somewhat slightly barely almost nearly fairly extremely totally completely
    utterly highly deeply terribly incredibly absolutely mildly too so just only even more most much bit
    little lot half
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

_TOKEN = re.compile(r"[^\s'-]+(?:[-'][^\s'-]+)*")
_JOINERS = "\u200c\u200d"
"""Without width, between letters of a word in Persian and the scripts of India."""
_UNSEEN = re.compile("[\u00ad\u200b\u2060\ufe00-\ufe0f\ufeff]")
"""Says where a word may be broken or how a letter is drawn: no part of the word."""
_NEGATING_PAIRS = frozenset({("far", "from"), ("anything", "but")})
_NEGATED_VERB = re.compile(r"^[a-z]+n't$")
_CLITIC = re.compile(r"'(?:s|m|re|ve|ll|d)$")

_ENDINGS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("iness", ("y",)), ("ness", ("", "e")),
    ("ily", ("y",)), ("ably", ("able",)), ("ly", ("", "le")),
    ("iest", ("y",)), ("est", ("", "e")), ("ier", ("y",)), ("er", ("", "e")),
    ("ying", ("ie", "y")), ("ing", ("", "e")), ("ied", ("y",)), ("ed", ("", "e")),
    ("ies", ("y",)), ("es", ("", "e")), ("s", ("",)),
)  # fmt: skip
_SHORT = re.compile(r"[^aeiou]*[aeiouy][^aeiouwxy]")
"""A stem that would double its last letter: "grin", "grinning"."""
_DOUBLED = re.compile(r".*[aeiouy]([^aeiouswxy])\1")


def fold(text: str) -> str:
    """Bring text to the form the vocabulary is written in: compatible characters, no case, plain apostrophes.

    Example:
        >>> fold(" Don’t ")
        "don't"
    """
    if not text.isascii():
        text = text.replace("´", "'")  # which NFKC would part into a space and a mark
        text = _UNSEEN.sub("", unicodedata.normalize("NFKC", text))
    folded = text.casefold().strip()
    return re.sub("[‐‑‒–]", "-", re.sub("[‘’ʼ`]", "'", folded))


def tokenize(text: str) -> list[str]:
    """Split text into folded words; hyphens and apostrophes inside a word stay, other punctuation goes.

    Marks that go with a letter, such as the vowels of Hindi and Thai, are part of the word.

    Example:
        >>> tokenize("Wide-eyed, isn't she?!")
        ['wide-eyed', "isn't", 'she']
    """
    letters = [" "]
    for letter in fold(text):
        in_a_word = letters[-1] not in " -'" and (
            letter in _JOINERS or unicodedata.category(letter)[0] == "M"
        )
        letters.append(letter if letter.isalnum() or letter in "-'" or in_a_word else " ")
    return _TOKEN.findall("".join(letters))


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
    bare = [part for token in bare for part in _split_negated(token, known)]
    followed = zip(bare, [*bare[1:], ""])
    bare = [word for word, after in followed if (word, after) not in (("kind", "of"), ("sort", "of"))]
    negating = [token for token in bare if token in NEGATIONS or _NEGATED_VERB.match(token)]
    negating += [word for pair in pairwise(bare) if pair in _NEGATING_PAIRS for word in pair]
    content = [token for token in bare if token not in STOP_WORDS and token not in negating]
    if negating and content:
        opposites = [p + w for w in content for p in ("un", "dis", "in", "im") if p + w in known]
        hint = f", for example {opposites[0]!r}" if opposites else ""
        raise FacelexError(
            f"Cannot negate: word vectors would score {shorten(text)!r} as {shorten(' '.join(content))!r}. "
            f"Say what is there instead{hint}."
        )
    return content or bare


def _split_negated(token: str, known: Container[str]) -> list[str]:
    """Split "not-happy" at its hyphens, where the negation is seen; known words ("care-free") stay whole."""
    parts = token.split("-")
    if len(parts) == 1 or _whole_form(token, known):
        return [token]
    if parts[0] == "un":
        return ["not", *parts[1:]]
    if parts[-1] in ("less", "free"):
        return ["without", *parts[:-1]]
    return parts if any(part in NEGATIONS or _NEGATED_VERB.match(part) for part in parts) else [token]


def known_forms(token: str, known: Container[str]) -> list[str]:
    """Return the known word or words that stand for a token; an empty list if there are none.

    In this order: the token itself, without accents, without hyphens, the parts around its hyphens (all of
    them known; their stop words dropped), its base form ("smirking" becomes "smirk") unless the token is more
    likely misspelled ("borred" is not "bor").
    """
    whole = _whole_form(token, known)
    if whole:
        return [whole]
    plain = _without_accents(token)
    if "-" in plain:
        parts = [known_forms(part, known) for part in plain.split("-") if part not in STOP_WORDS]
        return [word for part in parts for word in part] if parts and all(parts) else []
    bases = (base for base in base_forms(plain) if base in known)
    return next(([base] for base in bases if not _is_misspelled(plain, base, known)), [])


def _whole_form(token: str, known: Container[str]) -> str | None:
    plain = _without_accents(token)
    return next((form for form in (token, plain, plain.replace("-", "")) if form in known), None)


def _without_accents(token: str) -> str:
    return "".join(c for c in unicodedata.normalize("NFKD", token) if not unicodedata.combining(c))


def base_forms(word: str) -> list[str]:
    """Return spellings the word may have been built from, the likeliest first."""
    bases = []
    for ending, replacements in _ENDINGS:
        stem = word.removesuffix(ending)
        if stem == word or len(stem) < 2 or (ending == "s" and stem.endswith("s")):
            continue
        doubling = ending in ("ing", "ed", "er", "est")
        bare = not (doubling and _SHORT.fullmatch(stem)) and not (ending[0] == stem[-1] == "e")
        bases += [stem + letter for letter in replacements if letter or bare]  # "bored" is not of "bor"
        if doubling and _DOUBLED.fullmatch(stem):  # "grinning" -> "grin"
            bases.append(stem[:-1])
    return [base for base in bases if len(base) >= 3]


def _is_misspelled(word: str, base: str, known: Container[str]) -> bool:
    """Return whether a known word that is not of ``base`` is spelled like ``word`` but for one letter."""
    return any(
        near in known and near != base and base not in base_forms(near) for near in _one_letter_off(word)
    )


def _one_letter_off(word: str) -> Iterator[str]:
    """Yield the spellings with one letter left out, swapped with the next, replaced, or put in."""
    for i in range(len(word) + 1):
        before, after = word[:i], word[i:]
        yield before + after[1:]
        yield before + after[1:2] + after[:1] + after[2:]
        for letter in string.ascii_lowercase:
            yield before + letter + after[1:]
            yield before + letter + after
