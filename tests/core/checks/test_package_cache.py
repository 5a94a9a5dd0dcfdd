"""Packages that installations share, and what a hostile project makes of them: nothing."""

from __future__ import annotations

import gzip
import os
import re
from hashlib import sha512
from pathlib import Path

import pytest

from core.checks import package_cache
from core.checks.package_cache import PackageCache, open_package_cache
from core.checks.registries import read_registries
from core.checks.sandbox import Bubblewrap, Places, directories_of
from core.clock import SystemClock
from core.shell.shell import CommandEnd, Shell

CONTENT = ".npm/_cacache/content-v2/sha512"
PACKED = gzip.compress(b"a package")
DIGEST = sha512(PACKED).hexdigest()


def put(home: Path, digest: str, data: bytes) -> Path:
    place = home / CONTENT / digest[:2] / digest[2:4] / digest[4:]
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(data)
    return place


@pytest.fixture
def cache(tmp_path: Path) -> PackageCache:
    found = open_package_cache({"XDG_CACHE_HOME": str(tmp_path)}, Path("/nowhere"))
    assert found is not None
    return found


def test_what_one_leaves_the_next_finds(cache: PackageCache, tmp_path: Path) -> None:
    place = put(tmp_path / "first", DIGEST, PACKED)
    cache.take(tmp_path / "first")
    cache.lend(tmp_path / "second", str(cache.root))
    found = tmp_path / "second" / place.relative_to(tmp_path / "first")
    assert found.read_bytes() == PACKED
    cache.take(tmp_path / "second")
    assert [p.name for p in cache.root.iterdir()] == [DIGEST]


def test_only_packages_are_kept_and_only_under_their_own_digest(
    cache: PackageCache, tmp_path: Path
) -> None:
    put(tmp_path, DIGEST, PACKED + b"forged")
    put(tmp_path, sha512(b"{}").hexdigest(), b"{}")
    outside = tmp_path / "outside"
    outside.write_bytes(gzip.compress(b"of the user"))
    digest = sha512(outside.read_bytes()).hexdigest()
    put(tmp_path, digest, b"").unlink()
    tmp_path.joinpath(CONTENT, digest[:2], digest[2:4], digest[4:]).symlink_to(outside)
    cache.take(tmp_path)
    assert list(cache.root.iterdir()) == []


def test_the_oldest_make_room(
    cache: PackageCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(package_cache, "_MOST", 1)
    cache.root.joinpath("0" * 128).write_bytes(b"")
    os.utime(cache.root / ("0" * 128), (0, 0))
    put(tmp_path, DIGEST, PACKED)
    cache.take(tmp_path)
    assert [p.name for p in cache.root.iterdir()] == [DIGEST]


def test_a_cache_that_cannot_be_made_is_left_out(tmp_path: Path) -> None:
    tmp_path.joinpath(".cache").write_text("a file")
    assert open_package_cache({}, tmp_path) is None


class Installer:
    """Runs commands with the network in new sandboxes that share a cache."""

    def __init__(self, root: Path, cache: PackageCache) -> None:
        self._root, self._runs = root, 0
        registries = read_registries(os.environ, Path.home())
        self._sandbox = Bubblewrap("bwrap", directories_of(["node", "npm"]), registries, cache)

    def run(self, command: str) -> CommandEnd:
        self._runs += 1
        places = Places.below(self._root / str(self._runs))
        places.make()
        places.project.joinpath("package.json").write_text("{}")
        scratch = self._root / "scratch"
        with (
            Shell(places.project, SystemClock(), environ={}, scratch=scratch) as shell,
            self._sandbox.sharing_packages(places),
        ):
            return shell.execute(self._sandbox.wrap(command, places, network=True))


@pytest.mark.bubblewrap
def test_no_installation_writes_to_what_others_read(tmp_path: Path, cache: PackageCache) -> None:
    installer = Installer(tmp_path, cache)
    cache.root.joinpath(DIGEST).write_bytes(PACKED)
    link = f"~/{CONTENT}/{DIGEST[:2]}/{DIGEST[2:4]}/{DIGEST[4:]}"
    assert installer.run(f"cmp {link} /sandbox/packages/{DIGEST}").exit_code == 0
    assert installer.run(f"echo x > {link}").exit_code != 0
    assert installer.run(f"rm {link}; echo x > {link}").exit_code == 0
    assert cache.root.joinpath(DIGEST).read_bytes() == PACKED


@pytest.mark.bubblewrap
@pytest.mark.registries
def test_npm_fetches_a_package_once(tmp_path: Path, cache: PackageCache) -> None:
    installer, install = Installer(tmp_path, cache), "npm install --loglevel=http ini@5.0.0"
    fetched = re.compile(r"fetch GET 200 .*\.tgz")
    assert fetched.search(installer.run(install).output)
    again = installer.run(install)
    assert again.exit_code == 0, again.output
    assert not fetched.search(again.output)
