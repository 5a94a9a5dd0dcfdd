"""How an installation reaches the registries of packages: by this user's indexes, proxies and
certificates, without any credential."""

import configparser
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
_PIP = ("index-url", "extra-index-url", "trusted-host", "proxy", "cert")
_NPM = ("registry", "proxy", "https-proxy", "noproxy", "cafile")
_CERTIFICATES = ("NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")
_FILES = (*_CERTIFICATES, "PIP_CERT", "npm_config_cafile")
_HOSTS = ("NO_PROXY", "PIP_TRUSTED_HOST", "npm_config_noproxy")
_USER_INFO = re.compile(r"^([a-z]+://)?[^/\s]*@", re.IGNORECASE)
_CREDENTIAL_OF = re.compile(r"\s*//([^/\s]+?)/.*:(_authToken|_auth|_password|username)\s*=")
_DENIED = re.compile(
    r"\b(E40[137]|ENEEDAUTH)\b|\b40[137] ((Client )?Error|Proxy)\b|\bHTTP error 40[137]\b"
)
_UNREACHABLE = re.compile(
    r"\b(EAI_AGAIN|ECONNREFUSED|ECONNRESET|ENETUNREACH|ENOTFOUND|ETIMEDOUT|NameResolutionError"
    r"|NewConnectionError|ConnectTimeoutError|ProxyError|SSLCertVerificationError"
    r"|SELF_SIGNED_CERT_IN_CHAIN|UNABLE_TO_GET_ISSUER_CERT_LOCALLY)\b"
    r"|Temporary failure in name resolution"
)


@dataclass(frozen=True, slots=True)
class Registries:
    """`environ` are variables for the installation, `files` those that name a file of this machine,
    and `withheld` the hosts for which this user has credentials."""

    environ: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, Path] = field(default_factory=dict)
    withheld: tuple[str, ...] = ()

    def updated(self, others: "Registries") -> "Registries":
        """These and `others`, which count more."""
        environ, files = {**self.environ, **others.environ}, {**self.files, **others.files}
        return Registries(environ, files, (*self.withheld, *others.withheld))

    def lack(self, output: str) -> str:
        """Why a failed installation proves nothing, by what it printed; or nothing."""
        if (self.withheld or self.environ) and _DENIED.search(output):
            named = f" ({', '.join(self.withheld)})" if self.withheld else ""
            return f"a package registry{named} wants credentials, which no sandbox is given"
        if found := _UNREACHABLE.search(output):
            return f"a package registry cannot be reached from here: {found[0]}"
        return ""


def read_registries(environ: Mapping[str, str], home: Path) -> Registries:
    """Those that pip and npm of this user are set to."""
    found: dict[str, str] = {}
    withheld: list[str] = []
    for name, value in _named(environ, home, withheld):
        found[name] = value
    files = {name: Path(found.pop(name)) for name in _FILES if name in found}
    clean = {name: _clean(name, value, withheld) for name, value in found.items()}
    return Registries(
        {name: value for name, value in clean.items() if value},
        {name: path for name, path in files.items() if path.is_file()},
        tuple(dict.fromkeys(withheld)),
    )


def _named(
    environ: Mapping[str, str], home: Path, withheld: list[str]
) -> Iterator[tuple[str, str]]:
    """Variables and their values, what counts more later."""
    for path in _pip_files(environ, home):
        yield from _read_pip(path)
    for path in (Path("/usr/etc/npmrc"), Path("/etc/npmrc"), home / ".npmrc"):
        yield from _read_npm(path, withheld)
    wanted = {*_PROXIES, *_CERTIFICATES, *map(_pip_variable, _PIP)}
    for name, value in environ.items():
        if name.upper() in wanted:
            yield name.upper(), value
        elif name.lower() in map(_npm_variable, _NPM):
            yield name.lower(), value


def _pip_files(environ: Mapping[str, str], home: Path) -> list[Path]:
    """https://pip.pypa.io/en/stable/topics/configuration/"""
    chosen = environ.get("PIP_CONFIG_FILE", "")
    if chosen == os.devnull:
        return []
    config = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    usual = [Path("/etc/xdg/pip/pip.conf"), Path("/etc/pip.conf"), home / ".pip/pip.conf"]
    usual.append(config / "pip/pip.conf")
    return [*usual, Path(chosen)] if chosen else usual


def _read_pip(path: Path) -> Iterator[tuple[str, str]]:
    parser = configparser.RawConfigParser()
    try:
        parser.read(path, encoding="utf-8")
    except (OSError, UnicodeError, configparser.Error):
        return
    for section in filter(parser.has_section, ("global", "install")):
        for key, value in parser.items(section):
            if key in _PIP:
                yield _pip_variable(key), value


def _read_npm(path: Path, withheld: list[str]) -> Iterator[tuple[str, str]]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeError):
        return
    for line in lines:
        if found := _CREDENTIAL_OF.match(line):
            withheld.append(found[1])
        key, _, value = (part.strip() for part in line.partition("="))
        if key in _NPM and "${" not in value:
            yield _npm_variable(key), value.strip("\"'")


def _pip_variable(key: str) -> str:
    return "PIP_" + key.upper().replace("-", "_")


def _npm_variable(key: str) -> str:
    return "npm_config_" + key.replace("-", "_")


def _clean(name: str, value: str, withheld: list[str]) -> str:
    """Without user names, passwords and queries, and without places of this machine."""
    if name in _HOSTS:
        return value
    kept = []
    for url in value.split():
        bare = _USER_INFO.sub(r"\1", url).partition("?")[0]
        if bare != url:
            withheld.append(urlsplit(bare if "//" in bare else f"//{bare}").hostname or name)
        is_web = "://" not in bare or bare.lower().startswith(("http://", "https://"))
        if is_web and "@" not in bare and not bare.startswith(("/", ".")):
            kept.append(bare)
    return " ".join(kept)
