"""Where Debian packages come from: a mirror that is named, apt's sources, or apt's templates."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from labkit import rules
from labkit.errors import MirrorMissing

SETTING = "LABKIT_MIRROR"
SUITE = "bookworm"  # the image is made of this release on every machine, whatever runs there
_APT = Path("/etc/apt")
# Of python-apt-common: where apt of other distributions would find Debian's archives.
_TEMPLATE = Path("/usr/share/python-apt/templates/Debian.info")
_RELEASES = {"bullseye", "bookworm", "trixie", "forky", "duke", "sid"}
_RELEASES |= {"oldstable", "stable", "testing", "unstable"}
_LINE = re.compile(r"deb\s+(?:\[[^]]*\]\s+)?(\S+)\s+(\S+)\s+(.*)")
_OPTION = re.compile(r"^([A-Za-z-]+):[ \t]*(.*(?:\n[ \t].*)*)", re.M)


@dataclass(frozen=True, slots=True)
class Mirror:
    """An archive (`url`, without a slash at its end) and the suites of it to look in."""

    url: str
    suites: tuple[str, ...] = (SUITE,)


def mirrors(
    named: str | None = None, *, apt: Path = _APT, template: Path = _TEMPLATE
) -> list[Mirror]:
    """The named mirror ("URL" or "URL SUITE…"), else the setting's, else those of apt.

    Where apt serves another distribution, its template of Debian says where that is.
    """
    text = named or os.environ.get(SETTING, "")
    if text.strip():
        url, *suites = text.split()
        if not re.match(r"https?://[^/]", url):
            rules.invalid("mirror", url, "an address such as 'http://HOST/debian'")
        return [Mirror(url.rstrip("/"), tuple(suites) or (SUITE,))]
    found = from_apt(apt) or from_template(template)
    if not found:
        raise MirrorMissing(
            "there is no mirror to take Debian packages from",
            why=f"no mirror is named, {SETTING} is not set, and {apt} has no Debian source",
            fix=f"Set {SETTING} to the address of a Debian mirror, as 'http://HOST/debian'; or, on "
            "Ubuntu, install python-apt-common, which knows one.",
        )
    return found


def from_apt(folder: Path = _APT) -> list[Mirror]:
    """The archives apt is set up with on this machine, each once, in their order.

    Of the suites only the kind is taken over ("-updates", "-security"): the release is ours.
    """
    suites: dict[str, list[str]] = {}
    for path in _source_files(folder):
        text = path.read_text(encoding="utf-8", errors="replace")
        entries = _deb822(text) if path.suffix == ".sources" else _one_line(text)
        for url, suite, components in entries:
            release = suite.partition("-")[0].partition("/")[0]
            is_debian = release in _RELEASES and "main" in components
            if is_debian and re.match(r"https?://", url):
                known = suites.setdefault(url.rstrip("/"), [])
                ours = SUITE + "".join(suite.partition("-")[1:])
                if ours not in known:
                    known.append(ours)
    return [Mirror(url, tuple(names)) for url, names in suites.items()]


def from_template(path: Path = _TEMPLATE) -> list[Mirror]:
    """The archives of our release that a template of python-apt names."""
    if not path.exists():
        return []
    found: list[Mirror] = []
    for paragraph in re.split(r"\n\s*\n", path.read_text(encoding="utf-8")):
        fields = {name.lower(): value.strip() for name, value in _OPTION.findall(paragraph)}
        suite = fields.get("suite", "").replace("{series}", SUITE)
        mirror = Mirror(fields.get("baseuri", "").rstrip("/"), (suite,))
        if suite in (SUITE, f"{SUITE}-security") and mirror.url and mirror not in found:
            found.append(mirror)
    return found


def _source_files(folder: Path) -> list[Path]:
    parts = folder / "sources.list.d"
    found = sorted([*parts.glob("*.list"), *parts.glob("*.sources")])
    return [path for path in (folder / "sources.list", *found) if path.is_file()]


def _one_line(text: str) -> Iterable[tuple[str, str, Sequence[str]]]:
    for line in text.splitlines():
        match = _LINE.fullmatch(line.partition("#")[0].strip())
        if match is not None:
            yield match[1], match[2], match[3].split()


def _deb822(text: str) -> Iterable[tuple[str, str, Sequence[str]]]:
    text = re.sub(r"^#.*\n?", "", text, flags=re.M)
    for paragraph in re.split(r"\n\s*\n", text):
        fields = {name.lower(): value.split() for name, value in _OPTION.findall(paragraph)}
        if "deb" not in fields.get("types", ()) or fields.get("enabled") == ["no"]:
            continue
        for url in fields.get("uris", ()):
            for suite in fields.get("suites", ()):
                yield url, suite, fields.get("components", ())
