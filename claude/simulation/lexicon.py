"""From a prompt to its nouns and verbs: what the simulated Claude understands of a request.

No grammar, only word lists and the company a word keeps. Every text gives a Reading: with nothing
to go by it is about items. Only ASCII letters of the prompt ever reach a name.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from claude.simulation import vocabulary as words
from claude.simulation.vocabulary import NOUNS, Field, Noun

MAX_READ_CHARS = 4_000  # a longer prompt has said what it is about by then
MAX_READ_TOKENS = 400
MAX_NOUNS = 4  # with the shared tasks, a plan of 12
MAX_VERBS = 6

_TOKEN = re.compile(r"[a-z]+(?:-[a-z]+)*|[,/&;+]|[.!?:\n]")
_JOINS = frozenset({",", "/", "&", ";", "+", "and", "or"})
_ENDS = frozenset(".!?:\n")
_ARTICLES = frozenset({"a", "an", "the", "my", "our", "some", "each", "every", "all", "new"})
_HEADS = words.word_set("""
    app application system platform api manager tracker list site website tool management
    catalog database dashboard organizer collection inventory service portal""")
_BEFORE_NOUN = frozenset({"for", "of", "manage", "managing", "track", "tracking", "with", "about"})
_SMALL_HEADS = frozenset({"script", "function", "snippet", "one-liner", "method", "oneliner"})
_LARGE_HEADS = words.word_set("""
    app apps application applications api platform website site page pages system server service
    dashboard shop blog portal saas frontend backend full-stack""")
_MAX_SMALL_CHARS = 300
_NOT_NOUNS = re.compile(r".*(?:ing|ed|ly|ous|ful|ive|able|ation|ity|ness|ment)")
_FEATURES = words.word_set("""
    tests settings notifications permissions roles details statistics docs charts colors colours
    buttons filters features animations styles dates users-only graphs options updates emails
    errors icons""")


@dataclass(frozen=True, slots=True)
class Subject:
    """A kind of record the project is about, and the verbs the prompt has for it, in its order."""

    noun: Noun
    verbs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Reading:
    """What a prompt asks for. `product` is the word the project is named after."""

    subjects: tuple[Subject, ...]
    product: str
    is_small: bool
    is_landing: bool
    is_shop: bool
    words: tuple[str, ...]


def read_prompt(prompt: str) -> Reading:
    """Never fails: any text, of any length and language, has a reading."""
    tokens = tuple(_TOKEN.findall(_plain(prompt))[:MAX_READ_TOKENS])
    verbs = _find_verbs(tokens)
    nouns = _find_nouns(tokens, frozenset(verbs))
    is_landing = "landing" in tokens
    sells = not words.SHOPS.isdisjoint(tokens) or {"product", "cart item"} <= set(nouns.values())
    is_shop = sells and not is_landing
    names = _chosen(tokens, nouns, is_landing, is_shop)
    return Reading(
        subjects=tuple(_subject(name, names, tokens, nouns, verbs) for name in names),
        product=_product(tokens, names, is_landing, is_shop),
        is_small=_is_small(tokens, len(prompt)),
        is_landing=is_landing,
        is_shop=is_shop,
        words=tuple(t for t in tokens if t.isalpha()),
    )


def excerpt(prompt: str, max_chars: int = 160) -> str:
    """The prompt on one line without invisible characters, cut to `max_chars`. Not escaped."""
    head = prompt[: max_chars * 8]
    visible = "".join(" " if c.isspace() else c for c in head if c.isspace() or _is_visible(c))
    line = " ".join(visible.split())
    if len(line) > max_chars:
        return line[: max_chars - 1].rstrip() + "…"
    return line + "…" if len(prompt) > len(head) and line else line


def _is_visible(char: str) -> bool:
    # C*: controls, surrogates, private use, and the marks that turn the direction of text
    return unicodedata.category(char)[0] != "C"


def _plain(prompt: str) -> str:
    decomposed = unicodedata.normalize("NFKD", prompt[:MAX_READ_CHARS]).lower()
    text = "".join(c for c in decomposed if not unicodedata.combining(c))
    text = re.sub(r"\bto[- ]?do[- ]?lists?\b|\bto-dos?\b", "todo list", text)
    text = re.sub(r"\b(?:online|web|a|my|our) store\b|\b(?:webshop|storefront)\b", "a shop", text)
    return re.sub(r"['’]s\b", "", text)


def _is_small(tokens: Sequence[str], chars: int) -> bool:
    said = set(tokens)
    small = not _SMALL_HEADS.isdisjoint(said) or {"hello", "world"} <= said
    return small and _LARGE_HEADS.isdisjoint(said) and chars <= _MAX_SMALL_CHARS


# Verbs


def _gerunds(verb: str) -> tuple[str, ...]:
    stem = verb.removesuffix("e")
    return (stem + "ing", verb + "ing", verb + verb[-1] + "ing")


_BASE_FORMS = {form: verb for verb in sorted(words.VERBS) for form in _gerunds(verb)}


def _find_verbs(tokens: Sequence[str]) -> dict[int, str]:
    """Positions of the words that are meant as verbs on records, with their base forms."""
    sure: dict[int, str] = {}
    for i, token in enumerate(tokens):
        verb = _BASE_FORMS.get(token, token)
        if verb in words.VERBS and _is_verb_here(tokens, i, verb):
            sure[i] = verb
    for i in _listed_beside(tokens, sure):
        sure.setdefault(i, _BASE_FORMS.get(tokens[i], tokens[i]))
    return dict(sorted(sure.items()))


def _is_verb_here(tokens: Sequence[str], i: int, verb: str) -> bool:
    before = tokens[i - 1] if i else ""
    if verb == "create" and i == 0:
        return False  # "Create an app ..." is said to us
    if before in _ARTICLES:
        return verb in words.SEARCH
    return verb not in words.AMBIGUOUS or before == "to"


def _listed_beside(tokens: Sequence[str], sure: dict[int, str]) -> Iterator[int]:
    """Words not known as verbs that stand alone in a list with one: `add, frob and delete`."""
    phrases = list(_phrases(tokens))
    known = set(sure)
    for order in (phrases, phrases[::-1]):
        previous: list[int] = []
        for phrase in order:
            word = phrase[0] if phrase else -1
            beside = bool(previous) and not known.isdisjoint((previous[0], previous[-1]))
            if beside and _may_be_verb(tokens, phrase, order is phrases):
                known.add(word)
                yield word
            previous = phrase


def _may_be_verb(tokens: Sequence[str], phrase: list[int], forwards: bool) -> bool:
    word = tokens[phrase[0]] if phrase else ""
    if word in words.AMBIGUOUS:
        return len(phrase) == 1
    if not _is_unknown(word) or len(word) > words.MAX_VERB_CHARS or _NOT_NOUNS.fullmatch(word):
        return False
    if len(phrase) == 1:
        return not word.endswith("s")
    # "add, delete and frobnicate gizmos": the last verb of a list has the object
    return forwards and tokens[phrase[1]].endswith("s") and not word.endswith("s")


def _phrases(words: Sequence[str]) -> Iterator[list[int]]:
    """Positions of the words between the joints of lists; an empty one ends a sentence."""
    phrase: list[int] = []
    for i, word in enumerate(words):
        if word not in _JOINS and word not in _ENDS:
            if word != "to":
                phrase.append(i)
            continue
        if phrase:
            yield phrase
        if word in _ENDS:
            yield []
        phrase = []
    if phrase:
        yield phrase


# Nouns


def _find_nouns(tokens: Sequence[str], verbs: frozenset[int]) -> dict[int, str]:
    """Positions of the words that name records, with the noun's singular."""
    known = {
        i: name for i, t in enumerate(tokens) if i not in verbs and (name := _known(tokens, i, t))
    }
    unknown = [i for i, t in enumerate(tokens) if i not in verbs and _is_candidate(t)]
    if known:
        found = [i for i in unknown if _is_plural(tokens[i]) and _stands_as_noun(tokens, i)]
    else:
        found = [i for i in unknown if _stands_as_noun(tokens, i)] or [
            i for i in unknown if _is_plural(tokens[i]) or tokens[i - 1] in ("a", "an")
        ][:1]
    return dict(sorted((known | {i: words.singular(tokens[i]) for i in found}).items()))


def _known(tokens: Sequence[str], i: int, token: str) -> str:
    single = words.singular(token)
    name = words.SYNONYMS.get(token) or words.SYNONYMS.get(single) or single
    if name == "contact" and tokens[i + 1 : i + 2] in (("form",), ("page",), ("us",)):
        return "message"
    return name if name in NOUNS else ""


def _is_unknown(word: str) -> bool:
    return (
        len(word) > 2
        and word.isalpha()
        and word not in words.OTHER_WORDS
        and word not in words.IMPERATIVES
        and word not in words.PRODUCTS
        and word not in words.VERBS
        and words.singular(word) not in NOUNS
        and words.singular(word) not in words.SYNONYMS
    )


def _is_candidate(word: str) -> bool:
    return (
        _is_unknown(word)
        and len(word) <= words.MAX_NOUN_CHARS
        and word not in _FEATURES
        and not _NOT_NOUNS.fullmatch(word)
        and len(words.singular(word)) > 1
    )


def _is_plural(word: str) -> bool:
    return words.singular(word) != word


def _stands_as_noun(tokens: Sequence[str], i: int) -> bool:
    after = tokens[i + 1] if i + 1 < len(tokens) else ""
    before = tokens[i - 1] if i else ""
    if after in _HEADS or before in _BEFORE_NOUN:
        return True
    return _is_plural(tokens[i]) and (before in _JOINS or after in _JOINS)


def _chosen(
    tokens: Sequence[str], nouns: dict[int, str], is_landing: bool, is_shop: bool
) -> tuple[str, ...]:
    """Which nouns become parts of the project: at most MAX_NOUNS, what a record refers to first."""
    names = list(dict.fromkeys(nouns.values()))
    if is_landing:
        names = ["message", *(n for n in names if n not in ("message", "contact"))]
    elif is_shop:
        names = [*words.PRODUCTS["shop"], *names]
    else:
        implied = [n for t in tokens for n in words.PRODUCTS.get(t, ())]
        names = [*implied, *names] or ["item"]
    if "cart item" in names:
        names = ["product", *names]  # which a cart item is nothing without
    if "todo" in names:
        names = [n for n in names if n != "task"]
    needed = {f.refers for n in names if n in NOUNS for f in NOUNS[n].fields}
    referred = [n for n in names if n in needed]
    return tuple(dict.fromkeys([*referred, *names]))[:MAX_NOUNS]


def _subject(
    name: str,
    names: Sequence[str],
    tokens: Sequence[str],
    nouns: dict[int, str],
    verbs: dict[int, str],
) -> Subject:
    own = [
        verb
        for i, verb in verbs.items()
        if (said_of := _object(tokens, i, nouns, verbs, names)) == name
        or (not said_of and (_is_general(verb) or name == names[0]))
    ]
    noun = NOUNS.get(name) or Noun(name, (Field("name"), Field("notes", "note")), f"First {name}")
    kept = tuple(f for f in noun.fields if not f.refers or f.refers in names)
    noun = Noun(noun.singular, kept, noun.example, noun.states)
    return Subject(noun, tuple(dict.fromkeys(own))[:MAX_VERBS])


def _is_general(verb: str) -> bool:
    return verb not in words.STATES and verb in words.VERBS


def _object(
    tokens: Sequence[str],
    i: int,
    nouns: dict[int, str],
    verbs: dict[int, str],
    names: Sequence[str],
) -> str:
    """The noun a verb is said of: the first within three words, past the verbs listed with it."""
    patience = 3
    for j in range(i + 1, len(tokens)):
        if tokens[j] in _JOINS or j in verbs:
            continue
        if tokens[j] in _ENDS or patience == 0:
            return ""
        if nouns.get(j) in names:
            return nouns[j]
        patience -= 1
    return ""


def _product(tokens: Sequence[str], names: Sequence[str], is_landing: bool, is_shop: bool) -> str:
    if is_landing:
        return "landing"
    if is_shop:
        return "shop"
    said = (t for t in tokens if t in words.PRODUCTS and t.isalpha())
    return next(said, names[0])
