"""Small jobs: a script or a function is one task, since splitting it would cost more than it saves.

What a catalogue of well-known functions does not cover becomes a one-file program that keeps
records of the prompt's noun.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from claude.simulation.blueprint import Blueprint, Entity, build_blueprint
from claude.simulation.lexicon import Reading
from claude.simulation.manual import escape_markdown
from claude.simulation.modules import meaning
from claude.simulation.sections import fill
from claude.simulation.source import literal, sentence, shown
from claude.simulation.tasks import Work
from core.plan import Analysis, Criterion, Plan


@dataclass(frozen=True, slots=True)
class Sample:
    """A well-known function: words of the prompt that ask for it, and what shows that it works."""

    module: str
    words: frozenset[str]
    purpose: str
    argument: str
    answer: str


def _sample(module: str, words: str, purpose: str, argument: str, answer: str) -> Sample:
    return Sample(module, frozenset(words.split()), purpose, argument, answer)


# The first whose words are all there; `a|b` means either.
_SAMPLES = (
    _sample(
        "reverse_string", "reverse|reverses|reversed|reversing", "Reverse a text", "abc", "cba"
    ),
    _sample("palindrome", "palindrome|palindromes", "Tell palindromes", "Never odd or even", "yes"),
    _sample("fibonacci", "fibonacci", "Compute Fibonacci numbers", "10", "55"),
    _sample("factorial", "factorial|factorials", "Compute factorials", "5", "120"),
    _sample("prime_number", "prime|primes", "Tell prime numbers", "97", "yes"),
    _sample("fizz_buzz", "fizzbuzz|fizz-buzz|fizz", "Play FizzBuzz", "15", "FizzBuzz"),
    _sample("word_count", "word|words count|counts|counting|counter", "Count words", "a b c", "3"),
    _sample("vowel_count", "vowel|vowels", "Count vowels", "education", "5"),
    _sample("leap_year", "leap", "Tell leap years", "2000", "yes"),
    _sample(
        "temperature",
        "celsius|fahrenheit|temperature",
        "Convert degrees Celsius to Fahrenheit",
        "100",
        "212.0",
    ),
    _sample("roman_numeral", "roman", "Write numbers in Roman numerals", "1987", "MCMLXXXVII"),
    _sample(
        "hello_world", "hello|hi|greet|greets|greeting", "Greet somebody", "Ada", "Hello, Ada!"
    ),
)


def small_project(
    prompt: str, reading: Reading, seed: int
) -> tuple[Plan, dict[str, Mapping[str, str]]]:
    """The plan of one task, and its files."""
    blueprint = build_blueprint(prompt, reading, seed)
    found = next((s for s in _SAMPLES if _asks_for(reading, s)), None)
    if found is None:
        return _record_program(blueprint)
    return _function_program(found, blueprint.said)


def _asks_for(reading: Reading, sample: Sample) -> bool:
    said = set(reading.words)
    return all(not said.isdisjoint(either.split("|")) for either in sample.words)


def _one_task(title: str, summary: str, work: Work, score: int, criterion: str) -> Plan:
    analysis = Analysis(
        complexity=score,
        rationale="One short module with its test. A second executor would only wait for the "
        "first, so all of it is one task.",
        recommended_executors=1,
        parallel_pays=False,
    )
    return Plan(
        title=title,
        summary=summary,
        analysis=analysis,
        contracts=(),
        tasks=(work.task(),),
        acceptance_criteria=(
            Criterion(text=criterion, served_by=(work.id,)),
            Criterion(text="Its tests pass.", served_by=(work.id,)),
        ),
    )


def _function_program(s: Sample, said: str) -> tuple[Plan, dict[str, Mapping[str, str]]]:
    title = s.module.replace("_", " ").title()
    names = {"module": s.module, "purpose": s.purpose, "title": title, "said": _quoted(said)}
    call = f"python3 {s.module}.py {literal(s.argument)}"
    code = f"{s.module}.py"
    files = {
        code: fill("functions", s.module),
        "tests/__init__.py": fill("contract.py", "tests", title=title),
        f"tests/test_{s.module}.py": fill("functions", f"test_{s.module}"),
        "README.md": fill("functions", "readme", **names, call=call, answer=s.answer),
    }
    work = Work(
        "build",
        s.purpose,
        f"Write {code}: one function that can be imported, and main(arguments) that prints its "
        f"answer for an argument of the command line; `{call}` prints {s.answer}. An argument that "
        "does not fit is a usage error (exit code 2). Write tests in tests/ for ordinary and edge "
        "cases, and a short README.md.",
        files,
        owns=(code, "tests/", "README.md"),
        checks=("python3 -m unittest discover -s tests -t .",),
    )
    summary = f"{s.purpose}: one importable function and a small command line around it."
    return _one_task(title, summary, work, 1, f"{call} prints {s.answer}."), {work.id: files}


def _record_program(b: Blueprint) -> tuple[Plan, dict[str, Mapping[str, str]]]:
    entity = b.entities[0]
    module = f"{entity.module}_script"
    code = f"{module}.py"
    rows = _commands(entity)
    names = _program_names(entity, module)
    files = {
        code: fill("script", "file", **names, parsers=_parsers(entity), runs=_runs(entity)),
        "tests/__init__.py": fill("contract.py", "tests", title=b.title),
        f"tests/test_{module}.py": fill("script", "tests", **names, methods=_tests(entity)),
        "README.md": fill(
            "script",
            "readme",
            **names,
            title=b.title,
            said=_quoted(b.said),
            commands="\n".join(f"| `{words}` | {what} |" for words, what in rows),
        ),
    }
    verbs = ", ".join(words for words, _ in rows)
    work = Work(
        "build",
        f"Program for {entity.plural}",
        f"Write {code}, one file for the command line, with the commands {verbs}. Records are kept "
        f"in a JSON file (--data FILE, default {module}.json) that each change replaces as a whole "
        "through a temporary file. An unknown id, an empty text or a damaged file prints "
        "'error: ...' and exits with code 1. Write tests in tests/ for every command, and a short "
        "README.md.",
        files,
        owns=(code, "tests/", "README.md"),
        checks=("python3 -m unittest discover -s tests -t .",),
    )
    summary = f"One Python file that keeps {entity.plural} in a JSON file, by command line."
    criterion = f"python3 {code} offers {verbs}, and what it stores survives."
    return _one_task(b.title, summary, work, 2, criterion), {work.id: files}


def _quoted(said: str) -> str:
    return escape_markdown(said) or "an empty request"


def _program_names(entity: Entity, module: str) -> dict[str, str]:
    return {
        "module": module,
        "singular": entity.singular,
        "plural": entity.plural,
        "create": entity.create.verb,
        "Done": sentence(entity.create.done),
        "example": literal(shown(entity)),
    }


def _commands(entity: Entity) -> list[tuple[str, str]]:
    rows = [(f"{entity.create.verb} TEXT", f"store a new {entity.singular}")]
    rows.append(("list", meaning(entity, "list")))
    for action in entity.actions:
        if action.kind != "create":
            tail = {"search": " WORDS", "edit": " ID TEXT"}.get(action.kind, " ID")
            rows.append((action.verb + tail, meaning(entity, action.kind, action)))
    return rows


def _parsers(entity: Entity) -> str:
    return "".join(
        fill("script", f"parser_{a.kind}", verb=a.verb, help=meaning(entity, a.kind, a))
        for a in entity.actions
        if a.kind != "create"
    )


def _runs(entity: Entity) -> str:
    return "".join(_section("run", entity, n) for n in range(len(entity.actions)))


def _tests(entity: Entity) -> str:
    return "".join(_section("test", entity, n) for n in range(len(entity.actions))).rstrip("\n")


def _section(prefix: str, entity: Entity, n: int) -> str:
    action = entity.actions[n]
    if action.kind == "create":
        return ""
    return fill(
        "script",
        f"{prefix}_{action.kind}",
        verb=action.verb,
        method=action.method,
        Done=sentence(action.done),
        flag=action.field,
        value=str(action.value),
        create=entity.create.verb,
        example=literal(shown(entity)),
        upper=literal(shown(entity).upper()),
        plural=entity.plural,
        inside="assertIn" if action.value else "assertNotIn",
    )
