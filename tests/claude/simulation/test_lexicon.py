"""What the simulated Claude reads out of prompts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude.simulation import vocabulary
from claude.simulation.lexicon import MAX_NOUNS, MAX_VERBS, Reading, excerpt, read_prompt


def nouns(prompt: str) -> list[str]:
    return [s.noun.singular for s in read_prompt(prompt).subjects]


def verbs(prompt: str) -> dict[str, tuple[str, ...]]:
    return {s.noun.singular: s.verbs for s in read_prompt(prompt).subjects}


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("Build a todo list app with add/delete/complete", ["todo"]),
        ("Build a to-do list", ["todo"]),
        ("Build a task management system", ["task"]),
        ("Build a landing page with contact form", ["message"]),
        ("Build a full-stack blog with posts, comments and users", ["post", "comment", "user"]),
        (
            "Build an e-commerce platform with product catalog, cart, checkout",
            ["product", "cart item", "order"],
        ),
        ("Open an online store", ["product", "cart item", "order"]),
        ("An app to store recipes", ["recipe"]),
        ("Create a REST API for managing books with create and search", ["book"]),
        ("Build platform", ["item"]),
        ("", ["item"]),
        ("日本語だけ", ["item"]),
        ("Build a recipe manager with ratings and authentication", ["recipe", "rating"]),
        ("Build a zorp", ["zorp"]),
        ("Build a class tracker", ["class"]),
        ("Build a chat with users", ["message", "user"]),
        ("A todo app for my tasks", ["todo"]),
        ("A basket for users", ["product", "cart item", "user"]),
    ],
)
def test_nouns_of_the_prompt_become_subjects(prompt: str, expected: list[str]) -> None:
    assert nouns(prompt) == expected


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("todos with add/delete/complete", {"todo": ("add", "delete", "complete")}),
        ("adding, deleting and completing todos", {"todo": ("add", "delete", "complete")}),
        ("Create a book API with create, update", {"book": ("create", "update")}),
        ("Create a book API", {"book": ()}),
        ("gizmos: add, frobnicate and delete", {"gizmo": ("add", "frobnicate", "delete")}),
        ("add and frobnicate gizmos", {"gizmo": ("add", "frobnicate")}),
        ("a complete todo app", {"todo": ()}),
        ("a todo app with a search", {"todo": ("search",)}),
        ("posts and comments: publish posts, approve comments", {
            "post": ("publish",),
            "comment": ("approve",),
        }),
        ("posts and comments. delete. approve", {
            "post": ("delete", "approve"),
            "comment": ("delete",),
        }),
        ("I want to water my plants", {"plant": ("water",)}),
    ],
)  # fmt: skip
def test_verbs_go_to_the_noun_they_are_said_of(
    prompt: str, expected: dict[str, tuple[str, ...]]
) -> None:
    assert verbs(prompt) == expected


@pytest.mark.parametrize(
    ("prompt", "small"),
    [
        ("Write a hello world script", True),
        ("a function that reverses a string", True),
        ("hello world", True),
        ("Build a todo list app", False),
        ("a script for my web app", False),
        ("a script " + "that is long " * 40, False),
    ],
)
def test_a_script_or_function_is_a_small_job(prompt: str, small: bool) -> None:
    assert read_prompt(prompt).is_small is small


@pytest.mark.parametrize(
    ("verb", "expected"),
    [
        ("complete", "completed"),
        ("pay", "paid"),
        ("ship", "shipped"),
        ("verify", "verified"),
        ("play", "played"),
        ("fix", "fixed"),
        ("archive", "archived"),
    ],
)
def test_past_participles(verb: str, expected: str) -> None:
    assert vocabulary.participle(verb) == expected


@pytest.mark.parametrize(
    ("one", "many"),
    [
        ("todo", "todos"),
        ("category", "categories"),
        ("box", "boxes"),
        ("class", "classes"),
        ("person", "people"),
        ("movie", "movies"),
        ("cart item", "cart items"),
    ],
)
def test_plurals_and_back(one: str, many: str) -> None:
    assert vocabulary.plural(one) == many
    assert vocabulary.singular(many) == one


@pytest.mark.parametrize("word", ["status", "class", "analysis", "bus"])
def test_an_s_at_the_end_is_not_always_a_plural(word: str) -> None:
    assert vocabulary.singular(word) == word


def test_every_known_noun_is_found_in_singular_and_plural() -> None:
    for noun in vocabulary.NOUNS:
        if noun != "cart item":
            assert noun in nouns(f"an app for {vocabulary.plural(noun)}"), noun


@pytest.mark.parametrize(
    ("phrase", "expected"), [("todo", "a todo"), ("item", "an item"), ("user", "a user")]
)
def test_articles(phrase: str, expected: str) -> None:
    assert vocabulary.with_article(phrase) == expected


def test_an_excerpt_is_one_visible_line() -> None:
    assert excerpt("a\n\tb\x00\x1b[31m\u202ec\ud800 d") == "a b[31mc d"


def test_an_excerpt_is_cut_to_its_length() -> None:
    assert excerpt("x" * 100_000, 10) == "x" * 9 + "…"
    assert excerpt("x " + "\u200b" * 100, 10) == "x…"
    assert excerpt("x" * 10, 10) == "x" * 10
    assert excerpt("", 10) == ""


@given(st.text())
def test_any_text_has_a_reading_within_the_limits(prompt: str) -> None:
    reading = read_prompt(prompt)
    assert isinstance(reading, Reading)
    assert 1 <= len(reading.subjects) <= MAX_NOUNS
    assert all(len(s.verbs) <= MAX_VERBS for s in reading.subjects)
    assert len(excerpt(prompt)) <= 160
    assert excerpt(prompt).isprintable()


WORDS = sorted(
    set(vocabulary.NOUNS) | vocabulary.VERBS | vocabulary.OTHER_WORDS | {"zorp", "frob", ",", "and"}
)


@given(st.lists(st.sampled_from(WORDS), max_size=60).map(" ".join))
def test_any_salad_of_known_words_names_subjects_only_in_ascii_letters(prompt: str) -> None:
    for subject in read_prompt(prompt).subjects:
        for word in (*subject.noun.singular.split(), *subject.verbs):
            assert word.replace("-", "").isascii()
            assert word.replace("-", "").isalpha()
