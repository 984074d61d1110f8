"""Programs that run on a worker: plain Python, sent there as its own text.

A worker needs only python3 (3.8 or newer) and qemu-img. A program is started as
``python3 -IS -c SOURCE ARGUMENT...`` and needs nothing but the standard library: where it imports
from another module of labkit (``shared``, ``programs.qcow2``), SOURCE holds that module's text.

``overlays``: one JSON object on standard input, one on standard output, status 0.

- ``{"verb": "create", "base_dir": D, "bases": {BASE: SHA256 or null},
  "overlays": [{"file": F, "base": BASE, "size": BYTES or null, "mark": {...}}]}``
  makes all of the overlays or none (``size`` null: the size of the base) and answers
  ``{"ok": true, "overlays": [{"file": F, "size": BYTES, "adopted": bool, "marked": bool}]}``.
  An overlay that is there is never overwritten; when its mark holds the same ``token`` it was made
  by this very request before its answer was lost, and is adopted. The mark is kept in the extended
  attribute ``user.labkit`` as JSON; ``marked`` is false where the file system has none.
  A SHA256 that is not null is compared with the base's content on the worker.
- ``{"verb": "delete", "base_dir": D, "paths": [P]}`` answers
  ``{"ok": true, "removed": [P], "absent": [P]}``. A path outside of ``base_dir`` is a problem, and
  then nothing is removed.
- ``{"verb": "look", "base_dir": D}`` answers ``{"ok": true, "home": H, "base_dir": absolute,
  "free": BYTES, "total": BYTES, "cores": N, "ram": BYTES, "python": V, "qemu_img": V or null,
  "bases": [{"file", "bytes"}],
  "overlays": [{"file", "bytes", "base", "size", "mark": {...} or null}]}``; a missing ``base_dir``
  is an empty one.

A request that cannot be done answers ``{"ok": false, "problem": {"code": CODE, ...}}``:

========================  ===============================================================
base-missing              ``file``
base-invalid              ``file``, ``reason``
base-differs              ``file``, ``here`` and ``wanted`` (sha256)
overlay-exists            ``file``, ``mark`` or null, ``base`` or null, ``user``,
                          ``modified`` (ISO 8601, UTC)
disk-too-small            ``file``, ``size``, ``base_size`` (bytes)
disk-full                 ``dir``, ``free`` (bytes)
not-writable              ``dir``, ``reason``
qemu-img-missing
qemu-img-failed           ``argv``, ``status``, ``stderr``
outside                   ``path``, ``base_dir``
========================  ===============================================================

``receive DIR FILE SHA256 SIZE IDLE``: takes a base image of SIZE bytes on standard input and puts
it at DIR/FILE, whole and verified or not at all. It answers in lines of JSON:
``{"state": "waiting", "seconds": S}`` (repeated, while another manager sends the same file),
``{"state": "have"}`` (nothing to send), ``{"state": "need", "offset": N, "free": BYTES}`` (N bytes
are here from an earlier, interrupted copy). ``{"state": "checking", "done": N}`` is a sign of life
while content is read back. Then it reads frames, each two little-endian 64-bit
numbers, offset and length, and that many bytes; length 0 ends. Last comes ``{"state": "done"}`` or
``{"state": "failed", "code": CODE, ...}`` with a code of the table above or ``corrupt``
(``got``, ``wanted``) or ``idle``.

``start`` and ``relay`` find, start and reach the steward of a slice, ``survey`` looks at what is
there without one, ``health`` at what may be wrong there; see there.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Sequence
from importlib import resources

PROGRAMS = ("overlays", "receive", "start", "relay", "survey", "health")
FUTURE = "from __future__ import annotations\n"  # may stand only once, at the top
INTERPRETER = ("python3", "-IS", "-c")


@functools.cache
def source(name: str) -> str:
    """The text of a program, complete in itself."""
    return f"{FUTURE}{_standalone(f'{__name__}.{name}', set())}"


def _standalone(module: str, seen: set[str]) -> str:
    """A module's text, with the text of labkit's modules in place of the imports from them."""
    seen.add(module)
    package, _, name = module.rpartition(".")
    text = resources.files(package).joinpath(f"{name}.py").read_text(encoding="utf-8")
    lines = text.replace(FUTURE, "").splitlines(keepends=True)
    for node in reversed(ast.parse("".join(lines)).body):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("labkit."):
            assert node.module
            assert node.end_lineno
            included = "" if node.module in seen else _standalone(node.module, seen)
            lines[node.lineno - 1 : node.end_lineno] = [included]
    return "".join(lines)


def program(name: str, *arguments: str) -> tuple[str, ...]:
    """The command that runs a program on a worker."""
    return (*INTERPRETER, source(name), *arguments)


def name_of(argv: Sequence[str]) -> str | None:
    """Which of these programs a command runs, if any: for simulators and transcripts."""
    if tuple(argv[:3]) == INTERPRETER and len(argv) > 3:
        for name in PROGRAMS:
            if argv[3] == source(name):
                return name
    return None
