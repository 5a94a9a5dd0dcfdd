"""What a person gives beside the prompt, as models get it."""

from dataclasses import dataclass

from core.quoting import escaped, quoted


@dataclass(frozen=True, slots=True)
class ContextImage:
    """`data` is in base64."""

    name: str
    media_type: str
    data: str


@dataclass(frozen=True, slots=True)
class Context:
    """`text` has all texts, each in a block with its name; `images` only a planner sees."""

    text: str = ""
    images: tuple[ContextImage, ...] = ()

    def added_to(self, prompt: str) -> str:
        """What is asked for: the prompt with the texts that belong to it."""
        return f"{prompt}\n\n{self.text}" if self.text else prompt


NO_CONTEXT = Context()


def render_text(name: str, text: str) -> str:
    return f'<context name="{escaped(name)}">\n{quoted(text.strip())}\n</context>'
