"""The packages that images are made of: looked up on a mirror, and kept on this machine."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import platformdirs

from labkit.events import ImageBuildStage, Listener
from labkit.micro import debs, layers
from labkit.micro.fetch import PackageCache, fetch
from labkit.micro.index import read_index
from labkit.micro.packages import Index, Lock, Package, with_added
from labkit.micro.sources import Mirror, mirrors
from labkit.micro.tree import Tree


class Shelf:
    """The packages of one build: index, lock and files."""

    def __init__(self, cache: Path | None, mirror: str | None, on_event: Listener) -> None:
        self._mirror = mirror
        self._on_event = on_event
        folder = cache or platformdirs.user_cache_path("labkit") / "packages"
        self._cache = PackageCache(folder, self._mirrors, on_event)

    def _mirrors(self) -> list[Mirror]:
        return mirrors(self._mirror)

    def unpack(self, package: Package) -> Tree:
        """The files of a package."""
        return debs.files(self._cache.get(package), package.name)

    def control(self, package: Package) -> dict[str, str]:
        """What a package says of itself."""
        return debs.control(self._cache.get(package), package.name)

    def find(self, name: str) -> Package:
        """The newest version the mirror has of a package."""
        return self._index.package(name)

    def newest(self) -> Lock:
        """The newest versions of what the image is made of, without what gives nothing to it."""
        packages = self._index.closure(layers.ROOTS)
        contents = layers.assemble(packages, lambda name: self.unpack(packages[name]))
        return Lock({name: packages[name] for name in packages if name in contents.used})

    def with_added(self, base: Lock, add: tuple[str, ...]) -> Lock:
        """A lock with these packages, and what they need, besides those of another."""
        return with_added(base, add, self._index) if add else base

    @cached_property
    def _index(self) -> Index:
        self._on_event(ImageBuildStage("localhost", "packages", "index"))
        return read_index(self._mirrors(), fetch)
