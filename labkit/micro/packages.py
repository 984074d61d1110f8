"""Debian packages by name: the index of a mirror, what a package needs, the lock of versions."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from labkit.errors import PackageInvalid, PackageMissing

LOCK_FORMAT = 1

# What only maintainer scripts need: they never run, so it is never wanted in a guest.
SKIP = frozenset(
    {
        "adduser",
        "cdebconf",
        "debconf",
        "debianutils",
        "dpkg",
        "gcc-12-base",
        "init-system-helpers",
        "initramfs-tools",
        "kmod",
        "libdebconfclient0",
        "libpam-modules",
        "libpam-modules-bin",
        "libpam-runtime",
        "linux-base",
        "login",
        "lsb-base",
        "passwd",
        "perl",
        "perl-base",
        "sensible-utils",
        "systemd",
        "systemd-sysv",
        "sysvinit-utils",
        "tar",
        "ucf",
    }
)

_FIELD = re.compile(r"^(Package|Version|Filename|SHA256|Size|Depends|Pre-Depends): (.*)$", re.M)
_NAME = re.compile(r"^Package: (\S+)$", re.M)
_PROVIDES = re.compile(r"^Provides: (.*)$", re.M)
_WORD = re.compile(r"[a-z0-9][a-z0-9.+-]+")
_REMARKS = re.compile(r"\([^)]*\)|\[[^]]*\]|:[a-z0-9]+")


@dataclass(frozen=True, slots=True)
class Package:
    """One version of a package: `path` is relative to a mirror."""

    name: str
    version: str
    path: str
    sha256: str
    size: int

    @property
    def file(self) -> str:
        """The file name at the end of its path."""
        return self.path.rpartition("/")[2]


def version_key(version: str) -> tuple[object, ...]:
    """Sorts versions as Debian does: ``1.0~rc1``, ``1.0``, ``1.0-1``, ``1.0a``, ``1:0.1``."""
    epoch, _, rest = version.partition(":") if ":" in version else ("0", "", version)
    upstream, _, revision = rest.rpartition("-") if "-" in rest else (rest, "", "")
    return (int(epoch or 0), _part_key(upstream), _part_key(revision))


def _part_key(part: str) -> tuple[object, ...]:
    key: list[object] = []
    for text, number in re.findall(r"(\D*)(\d*)", part):
        key += [(*map(_order, text), 0), int(number or 0)]
    return tuple(key)


def _order(character: str) -> int:
    if character == "~":
        return -1
    return ord(character) if character.isalpha() else ord(character) + 256


class Index:
    """The newest version of every package in the given `Packages` files."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._paragraphs: dict[str, str] = {}
        self._providers: dict[str, str] = {}
        for text in texts:
            for paragraph in text.split("\n\n"):
                self._add(paragraph)

    def _add(self, paragraph: str) -> None:
        match = _NAME.search(paragraph)
        if match is None:
            return
        name = match[1]
        known = self._paragraphs.get(name)
        if known is not None and version_key(_fields(known)["Version"]) >= version_key(
            _fields(paragraph)["Version"]
        ):
            return
        self._paragraphs[name] = paragraph
        provides = _PROVIDES.search(paragraph)
        if provides is not None:
            for virtual in _WORD.findall(_REMARKS.sub("", provides[1])):
                self._providers.setdefault(virtual, name)

    def __contains__(self, name: str) -> bool:
        return name in self._paragraphs or name in self._providers

    def package(self, name: str) -> Package:
        """The package of this name, or the first that provides it."""
        fields = self._of(name)
        try:
            return Package(
                fields["Package"],
                fields["Version"],
                fields["Filename"],
                fields["SHA256"],
                int(fields["Size"]),
            )
        except (KeyError, ValueError) as error:
            raise PackageInvalid(
                f"the mirror's entry of {name} cannot be used",
                why=f"a field is missing or broken: {error}",
                fix="Take another mirror.",
                package=name,
            ) from error

    def closure(self, names: Iterable[str], *, known: Iterable[str] = ()) -> dict[str, Package]:
        """These packages and all they depend on, but for `known` and what only scripts need."""
        asked = list(names)
        done = set(known) - set(asked)
        found: dict[str, Package] = {}
        todo = list(asked)
        while todo:
            name = todo.pop(0)
            if name in done or (name in SKIP and name not in asked):
                continue
            done.add(name)
            package = self.package(name)
            if package.name not in found and (package.name == name or package.name not in done):
                done.add(package.name)
                found[package.name] = package
                todo.extend(self._depends(name))
        return dict(sorted(found.items()))

    def _depends(self, name: str) -> Iterator[str]:
        fields = self._of(name)
        clauses = f"{fields.get('Pre-Depends', '')},{fields.get('Depends', '')}".split(",")
        for clause in clauses:
            alternatives = _WORD.findall(_REMARKS.sub("", clause))
            if any(one in SKIP for one in alternatives):
                continue
            if alternatives:
                yield next((one for one in alternatives if one in self), alternatives[0])

    def _of(self, name: str) -> Mapping[str, str]:
        paragraph = self._paragraphs.get(name) or self._paragraphs.get(
            self._providers.get(name, "")
        )
        if paragraph is None:
            raise PackageMissing(
                f"the mirror has no package {name}",
                why="neither a package nor a virtual package has this name",
                fix="Look at its spelling, or name a mirror that has it.",
                package=name,
            )
        return _fields(paragraph)


def _fields(paragraph: str) -> dict[str, str]:
    return dict(_FIELD.findall(paragraph))


@dataclass(frozen=True, slots=True)
class Lock:
    """The packages of an image by name.

    `add` are those a user asked for, `whole` these and what only they need: all their files are
    in the image, while of the others only what is used.
    """

    packages: Mapping[str, Package]
    add: tuple[str, ...] = ()
    whole: tuple[str, ...] = ()


def with_added(base: Lock, add: tuple[str, ...], index: Index) -> Lock:
    """A lock with these packages, and what they need, besides those of another.

    One that `base` has already is followed as well: until now only some of its programs were
    wanted, and what the others need was left out.
    """
    packages = index.closure(add, known=base.packages)
    return Lock({**packages, **base.packages}, add, tuple(sorted({*add, *packages})))


def write_lock(lock: Lock) -> str:
    """The text of a lock file: one package a line, so that changes read well."""
    lines = [json.dumps(asdict(package)) for _, package in sorted(lock.packages.items())]
    head = {"format": LOCK_FORMAT, "add": lock.add, "whole": lock.whole}
    return json.dumps(head)[:-1] + ', "packages": [\n' + ",\n".join(lines) + "\n]}\n"


def read_lock(text: str, origin: str) -> Lock:
    """The content of a lock file; `origin` is its path, for the error."""
    try:
        document: Any = json.loads(text)
        if document["format"] != LOCK_FORMAT:
            raise ValueError(f"its format is {document['format']!r}, not {LOCK_FORMAT}")
        packages = [_locked(entry) for entry in document["packages"]]
        by_name = {package.name: package for package in packages}
        return Lock(by_name, tuple(document["add"]), tuple(document["whole"]))
    except (ValueError, KeyError, TypeError) as error:
        raise PackageInvalid(
            f"cannot read the lock file {origin}",
            why=f"a field is missing: {error}" if isinstance(error, KeyError) else str(error),
            fix="Write it again with: labkit image build micro --refresh",
            path=origin,
        ) from error


def _locked(entry: dict[str, Any]) -> Package:
    package = Package(**entry)
    if not re.fullmatch(r"[0-9a-f]{64}", package.sha256):
        raise ValueError(f"the sha256 of {package.name} is not one")
    if package.path.startswith("/") or ".." in package.path.split("/"):
        raise ValueError(f"the path of {package.name} leaves the mirror")
    return package
