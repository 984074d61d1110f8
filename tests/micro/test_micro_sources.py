"""The mirror comes from an argument, the setting, or apt's own files in both formats."""

from __future__ import annotations

from pathlib import Path

import pytest

from labkit.errors import MirrorMissing
from labkit.micro.sources import SETTING, SUITE, Mirror, from_apt, from_template, mirrors

DEB822 = f"""\
Types: deb deb-src
# a remark
URIs: http://one/debian/
Suites: {SUITE} trixie-updates
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 abc

Enabled: no
Types: deb
URIs: http://off/debian
Suites: {SUITE}
Components: main

Types: deb-src
URIs: http://sources/debian
Suites: {SUITE}
Components: main

Types: deb
URIs: http://two/security
Suites: stable-security
Components: contrib main
"""
TEMPLATE = """\
_ChangelogURI: http://changes/%s

Suite: forky
RepositoryType: deb
BaseURI: https://archive/debian/
Component: main
CompDescription: Officially supported

Suite: {series}
RepositoryType: deb
BaseURI: https://archive/debian/
MatchURI: archive/debian
Component: main

Suite: {series}-security
RepositoryType: deb
BaseURI: https://security/debian-security/
Component: main
"""
ONE_LINE = """\
# deb http://no/debian bookworm main
deb [arch=amd64 signed-by=/k] https://three/debian sid main contrib # why
deb cdrom:[x]/ sid main
deb-src http://no/debian sid main
deb http://extra/repo sid universe
"""


@pytest.fixture
def apt(tmp_path: Path) -> Path:
    (tmp_path / "sources.list.d").mkdir()
    return tmp_path


def test_both_formats_are_read(apt: Path) -> None:
    (apt / "sources.list").write_text(ONE_LINE)
    (apt / "sources.list.d" / "debian.sources").write_text(DEB822)
    (apt / "sources.list.d" / "off.list.disabled").write_text("deb http://no/debian sid main\n")
    assert from_apt(apt) == [
        Mirror("https://three/debian", (SUITE,)),
        Mirror("http://one/debian", (SUITE, f"{SUITE}-updates")),
        Mirror("http://two/security", (f"{SUITE}-security",)),
    ]


def test_a_named_mirror_goes_before_all(apt: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SETTING, "http://set/debian trixie trixie-updates")
    assert mirrors("http://named/debian/", apt=apt) == [Mirror("http://named/debian")]
    assert mirrors(apt=apt) == [Mirror("http://set/debian", ("trixie", "trixie-updates"))]


def test_no_mirror_says_what_to_do(apt: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SETTING, raising=False)
    with pytest.raises(MirrorMissing, match=f"Set {SETTING} to the address of a Debian mirror"):
        mirrors(apt=apt, template=apt / "none")


def test_another_distribution_s_archives_hold_nothing_for_us(apt: Path) -> None:
    (apt / "sources.list").write_text("deb http://other/archive noble main universe\n")
    assert from_apt(apt) == []


def test_there_the_template_of_debian_says_where_it_is(
    apt: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(SETTING, raising=False)
    (apt / "sources.list").write_text("deb http://other/archive noble main universe\n")
    template = apt / "Debian.info"
    template.write_text(TEMPLATE)
    expected = [
        Mirror("https://archive/debian", (SUITE,)),
        Mirror("https://security/debian-security", (f"{SUITE}-security",)),
    ]
    assert from_template(template) == expected
    assert mirrors(apt=apt, template=template) == expected
