"""The prompt: from its argument, a file, or standard input."""

from typing import BinaryIO

from core.errors import UsageError
from core.text_file import decode_text, read_text

MAX_PROMPT_CHARS = 200_000
_NOT_TEXT = "Give a text file in UTF-8 that describes what to build."


def read_prompt(argument: str | None, prompt_file: str | None, stdin: BinaryIO | None) -> str:
    """The prompt, where "-" means standard input.

    Raises UsageError when there is none, there are two, or it is not a text of a sane size.
    """
    if argument is not None and prompt_file is not None:
        raise UsageError("Both a prompt and --prompt-file were given.", "Give only one of them.")
    if argument is not None and argument != "-":
        return _checked(argument, "The prompt")
    if argument is None and prompt_file is None:
        raise UsageError("No prompt was given.", 'Say what to build: "Build a todo list app".')
    source = argument or prompt_file or "-"
    where = "Standard input" if source == "-" else f"The prompt file {source}"
    most_bytes = 4 * MAX_PROMPT_CHARS + 4
    try:
        if source != "-":
            return _checked(read_text(source, most_bytes), where)
        if stdin is None:
            raise UsageError("Standard input is closed.", "Give the prompt as an argument.")
        return _checked(decode_text(stdin.read(most_bytes)), where)
    except OSError as exc:
        raise UsageError(f"{where} cannot be read: {exc.strerror}.", _NOT_TEXT) from exc


def _checked(text: str, where: str) -> str:
    if not text.strip():
        raise UsageError(f"{where} is empty.", "Say what to build.")
    if len(text) > MAX_PROMPT_CHARS:
        raise UsageError(
            f"{where} is longer than {MAX_PROMPT_CHARS:,} characters.",
            "Describe what to build, and leave out reference material.",
        )
    if "\0" in text or any(0xD800 <= ord(c) <= 0xDFFF for c in text):
        raise UsageError(f"{where} is not text.", _NOT_TEXT)
    return text.strip()
