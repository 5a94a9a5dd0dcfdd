from collections.abc import Iterable

import attrs
import tomli_w


@attrs.frozen
class Item:
    name: str
    count: int = attrs.field(validator=attrs.validators.ge(0))


def render(items: Iterable[Item]) -> str:
    return tomli_w.dumps({item.name: item.count for item in items})
