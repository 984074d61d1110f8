"""The Python of a wish: run, it makes the same wish; read, it is what a person would write."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from labkit.templates import TEMPLATES, template
from labkit.wish import FileWish, Slice
from labkit.wish_python import to_python
from slice_worlds import two_hosts_and_a_router, wishes


class Recorder:
    """Takes the calls that the Python makes, and keeps the wish they describe."""

    def __init__(self) -> None:
        self.wish: Slice | None = None
        self.deployed = False

    def slice(self, name: str) -> Recorder:
        self.wish = Slice(name)
        return self

    def add_vm(self, name: str, **settings: Any) -> None:
        assert self.wish is not None
        self.wish = self.wish.with_vm(name, **settings)

    def link(self, *ends: str, **settings: Any) -> None:
        assert self.wish is not None
        self.wish = self.wish.with_link(*ends, **settings)

    def deploy(self) -> None:
        self.deployed = True


def made_by(python: str) -> Recorder:
    lab = Recorder()
    exec(python, {"lab": lab})
    return lab


FILES = st.builds(
    FileWish,
    st.sampled_from(["/etc/motd", "/root/a b'\"\\é"]),
    st.one_of(st.text().map(lambda text: text.encode(errors="replace")), st.binary()),
    mode=st.sampled_from([0o644, 0o755, 0o4755]),
)
COMMANDS = st.text(min_size=1).filter(lambda text: text.strip() and "\0" not in text)


@given(
    wishes(),
    st.lists(FILES, max_size=1),
    st.lists(COMMANDS, max_size=2),
    st.dictionaries(st.sampled_from(["server", "n9.example.org"]), st.just("10.9.9.9")),
    st.sampled_from([{}, {"loss": "1%"}, {"delay": "20ms", "jitter": "5ms", "rate": "5Mbit"}]),
)
def test_run_it_makes_the_same_wish_and_deploys_it(
    wish: Slice,
    files: list[FileWish],
    commands: list[str],
    hosts: dict[str, str],
    sends: dict[str, str],
) -> None:
    wish = wish.with_vm(
        "extra",
        interfaces=2,
        internet=True,
        addresses={"eth1": ["10.0.1.1/24", "fd00::1/64"], "eth2": "10.77.2.1/24"},
        routes=["10.88.0.0/16 via 10.77.2.2", "default via fd00::2"],
        files={file.path: file for file in files},
        commands=commands,
        hosts=hosts,
        knows_others=False,
        cores=2,
        host="worker-1",
    )
    if wish.links:
        link = wish.links[0]
        wish = wish.with_changed_link(link.name, sends={link.ends[0]: sends})
    lab = made_by(to_python(wish))
    assert lab.wish == wish
    assert lab.deployed


@given(wishes())
def test_lines_are_short_where_they_can_be(wish: Slice) -> None:
    assert all(len(line) <= 88 for line in to_python(wish).splitlines())


def test_every_template_survives_it() -> None:
    for name, shape in TEMPLATES.items():
        wish = template(name, shape.usual, "net")
        assert made_by(to_python(wish)).wish == wish


def test_how_it_reads() -> None:
    wish = two_hosts_and_a_router("ospf").with_changed_link("h1-r", delay="20ms")
    wish = wish.with_changed_link("r-h2", up=False, sends={"r:eth2": {"loss": "1%"}})
    wish = wish.with_changed_vm("h2", files={"/run.sh": FileWish("/run.sh", b"ls\n", mode=0o755)})
    assert (
        to_python(wish, variable="slice1")
        == """\
from labkit.wish import FileWish

slice1 = lab.slice("ospf")
slice1.add_vm(
    "h1", flavor="micro", interfaces=1, addresses={"eth1": "10.0.1.2/24"},
    routes=["default via 10.0.1.1"],
)
slice1.add_vm(
    "h2", flavor="micro", interfaces=1, addresses={"eth1": "10.0.2.2/24"},
    routes=["default via 10.0.2.1"],
    files={"/run.sh": FileWish("/run.sh", b'ls\\n', mode=0o755)},
)
slice1.add_vm(
    "r", flavor="micro", interfaces=2,
    addresses={"eth1": "10.0.1.1/24", "eth2": "10.0.2.1/24"}, forwarding=True,
)
slice1.link("h1:eth1", "r:eth1", name="h1-r", delay="20ms")
slice1.link(
    "r:eth2", "h2:eth1", name="r-h2", up=False, sends={"r:eth2": {"loss": "1%"}},
)
slice1.deploy()
"""
    )
