"""What the address of an API may look like: paths are added to it, and no secret stands in it."""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit


def check_base_url(url: str) -> str:
    """`url`, which may be empty. Raises ValueError with what it must be."""
    parts = urlsplit(url)
    if url and (parts.scheme not in ("http", "https") or not parts.hostname):
        raise ValueError("it must be a URL that begins with http:// or https://")
    if parts.username or parts.password:
        raise ValueError("it must not hold a user name or password")
    if parts.query or parts.fragment:
        raise ValueError("it must not hold a query or a fragment, since paths are added to it")
    if url and _port(parts) is None:
        raise ValueError("its port must be a number from 0 to 65535")
    return url


def _port(parts: SplitResult) -> int | None:
    """0 where there is none, and None where it is no port."""
    try:
        return parts.port or 0
    except ValueError:
        return None
