"""The docker command's current context: which engine it names, and with which certificates.

The SDK's own reader takes the default engine for a context that it cannot find or read.
"""

import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from core.errors import BackendError

_DEFAULT = "default"


def context_options(environ: Mapping[str, str]) -> dict[str, Any]:
    """What the SDK's client is to be made with; nothing for the default context.

    Raises BackendError for a context that does not exist, or that cannot be read.
    """
    given = environ.get("DOCKER_CONFIG")
    folder = Path(given) if given else Path(environ.get("HOME") or Path.home(), ".docker")
    name = environ.get("DOCKER_CONTEXT") or _current_name(folder / "config.json")
    if name == _DEFAULT:
        return {}
    digest = sha256(name.encode(errors="surrogateescape")).hexdigest()
    place = folder / "contexts" / "meta" / digest / "meta.json"
    what = f"The docker context {name!r} cannot be used"
    fix = "Choose another one: docker context ls, docker context use; or set DOCKER_HOST."
    if not place.exists():
        raise BackendError(f"{what}: it does not exist in {folder}.", fix)
    try:
        endpoint = _read(place)["Endpoints"]["docker"]
        host, skips = endpoint["Host"], bool(endpoint.get("SkipTLSVerify"))
        if not isinstance(host, str) or not host:
            raise TypeError("its host is no text")
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as exc:
        raise BackendError(f"{what}: {place} is damaged.", fix) from exc
    return {"base_url": host} | _certificates(
        folder / "contexts" / "tls" / digest / "docker", skips
    )


def _current_name(config: Path) -> str:
    try:
        found = _read(config).get("currentContext") or _DEFAULT
    except FileNotFoundError:
        return _DEFAULT
    except (OSError, ValueError, AttributeError, RecursionError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "it is damaged"
        raise BackendError(
            f"The docker configuration {config} cannot be read: {reason}.",
            "Correct it, or set DOCKER_HOST or DOCKER_CONFIG.",
        ) from exc
    return str(found)


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _certificates(folder: Path, skips_check: bool) -> dict[str, Any]:
    from docker.tls import TLSConfig

    if not folder.is_dir():
        return {}
    cert, key, ca = (folder / f"{name}.pem" for name in ("cert", "key", "ca"))
    own = (str(cert), str(key)) if cert.exists() or key.exists() else None
    known = str(ca) if ca.exists() else None
    return {"tls": TLSConfig(client_cert=own, ca_cert=known, verify=not skips_check)}
