"""What a browser would find on an HTML page: elements, forms, links, text."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = frozenset(
    ("area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "wbr")
)
HIDDEN = frozenset(("script", "style", "template", "head", "noscript"))


@dataclass(slots=True)
class Element:
    """An element of the page; `pieces` are its texts and elements in their order."""

    tag: str
    attributes: dict[str, str]
    pieces: list[Element | str] = field(default_factory=list)

    def all(self, *tags: str, **attributes: str) -> list[Element]:
        """All elements below of these tags (any if none) that have these attributes."""
        found: list[Element] = []
        for piece in self.pieces:
            if isinstance(piece, Element):
                if piece.fits(tags, attributes):
                    found.append(piece)
                found += piece.all(*tags, **attributes)
        return found

    def fits(self, tags: tuple[str, ...], attributes: dict[str, str]) -> bool:
        wanted = {name.strip("_").replace("_", "-"): value for name, value in attributes.items()}
        return (not tags or self.tag in tags) and all(
            self.attributes.get(name) == value for name, value in wanted.items()
        )

    def one(self, *tags: str, **attributes: str) -> Element:
        """The first of `all`; AssertionError if there is none."""
        found = self.all(*tags, **attributes)
        assert found, f"no element {tags} {attributes} in: {self.text()[:200]!r}"
        return found[0]

    def get(self, name: str, default: str = "") -> str:
        return self.attributes.get(name, default)

    def text(self) -> str:
        """What a reader sees, with blanks run together."""
        return " ".join("".join(self.words()).split())

    def words(self) -> list[str]:
        words: list[str] = []
        for piece in self.pieces:
            if isinstance(piece, str):
                words.append(piece)
            elif piece.tag not in HIDDEN:
                words += [" ", *piece.words(), " "]
        return words

    def classes(self) -> list[str]:
        return self.get("class").split()


class Reader(HTMLParser):
    """Builds the elements; forgives what browsers forgive."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Element("", {})
        self.open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.open[-1].pieces.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open[-1].pieces.append(Element(tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        places = [place for place, element in enumerate(self.open) if element.tag == tag]
        if places:
            del self.open[places[-1] :]

    def handle_data(self, data: str) -> None:
        self.open[-1].pieces.append(data)


def read_page(text: str) -> Element:
    reader = Reader()
    reader.feed(text)
    reader.close()
    return reader.root


def form_fields(form: Element) -> dict[str, str]:
    """The fields of a form with what they hold when it is shown, tokens against forgery too."""
    fields: dict[str, str] = {}
    for element in form.all("input", "textarea", "select"):
        name, kind = element.get("name"), element.get("type")
        if not name or kind in ("submit", "button", "file", "image", "reset"):
            continue
        if kind in ("checkbox", "radio") and "checked" not in element.attributes:
            continue
        fields[name] = held(element)
    return fields


def held(element: Element) -> str:
    if element.tag == "textarea":
        return "".join(piece for piece in element.pieces if isinstance(piece, str))
    if element.tag == "select":
        options = element.all("option")
        chosen = [option for option in options if "selected" in option.attributes] or options[:1]
        return chosen[0].get("value", chosen[0].text()) if chosen else ""
    return element.get("value")
