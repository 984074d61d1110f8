"""``%%vm r1`` runs a cell in a VM, ``%vm r1 COMMAND`` a line; names of VMs and links complete."""

from __future__ import annotations

import dataclasses
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from IPython.core.completer import CompletionContext, SimpleCompletion, context_matcher
from IPython.core.interactiveshell import InteractiveShell

from labkit import markup, rules
from labkit.errors import InvalidArgument, UsageError
from labkit.executor import Result
from labkit.guest import DEFAULT_TIMEOUT
from labkit.lab import LabSlice, LabVM, faces

OPTION = re.compile(r"--(slice|timeout)(?:\s+|=)(\S+)\s*")
WORD = re.compile(r"(\S+)\s*")
HOW = "Write %%vm NAME [--slice NET] [--timeout SECONDS] above the commands, or %vm NAME COMMAND."
# Where names are wanted: after the magic, after its option, and in calls of a slice's methods.
_MAGIC = re.compile(r"^\s*%%?vm\s+(?:--(?:slice|timeout)(?:\s+|=)\S+\s+)*(?P<word>[\w.-]*)$")
_SLICE = re.compile(r"^\s*%%?vm\s.*--slice(?:\s+|=)(?P<word>[\w.-]*)$")
_CALL = re.compile(
    r"(?P<object>\b[A-Za-z_]\w*)\.(?P<method>\w+)\(\s*(?:[\"'][\w.:-]*[\"']\s*,\s*)*"
    r"[\"'](?P<word>[\w.:-]*)$"
)
_OF_LINKS = ("get_link", "remove_link", "capture")
_OF_VMS = ("get_vm", "remove_vm", "change_vm", "reset")
_OF_ENDS = ("link",)


class Shown(Result):
    """A result whose output was shown as it came: what is left to show is the status.

    In a notebook a status of 0 goes without saying; a terminal has its ``Out[1]:`` anyway.
    """

    __slots__ = ()

    def _ipython_display_(self) -> None:
        if not self.ok or not faces.is_in_notebook():
            raise NotImplementedError

    def _repr_mimebundle_(self, **_options: Any) -> markup.Bundle:
        told, seconds = f"status {self.returncode}", f"{self.seconds:.2f} s"
        chip = markup.chip(told, markup.GOOD if self.ok else markup.BAD)
        return markup.bundle(f"{told} ({seconds})", markup.heading("", chip, seconds))


@dataclass(frozen=True, slots=True)
class Request:
    """What a magic's line says."""

    vm: str
    command: str
    slice: str | None = None
    timeout: float = DEFAULT_TIMEOUT

    @classmethod
    def parse(cls, line: str) -> Request:
        """Options first or after the VM's name; the rest is the command, as it is."""
        rest, found, vm = line.strip(), {}, ""
        while rest:
            option = OPTION.match(rest)
            if option is not None:
                found[option[1]] = option[2]
                rest = rest[option.end() :]
            elif not vm and (word := WORD.match(rest)) is not None:
                vm, rest = word[1], rest[word.end() :]
            else:
                break
        if not vm or vm.startswith("-"):
            raise UsageError(f"%vm {line}".strip(), why="it names no VM", fix=HOW)
        return cls(vm, rest, found.get("slice"), _seconds(found.get("timeout")))


def _seconds(text: str | None) -> float:
    if text is None:
        return DEFAULT_TIMEOUT
    try:
        return rules.positive(float(text), "timeout")
    except ValueError as error:
        raise InvalidArgument(
            f"timeout is {text!r}",
            why="a number of seconds is needed",
            fix=HOW,
            argument="timeout",
            value=text,
        ) from error


class Magics:
    """The magics of one shell, and what it completes."""

    def __init__(self, shell: InteractiveShell) -> None:
        self._shell = shell

    def register(self) -> None:
        """Teach them to the shell; again is fine."""
        self._shell.magics_manager.register_function(self.vm, "line_cell", "vm")
        matchers = self._shell.Completer.custom_matchers
        if not any(getattr(one, "is_labkits", False) for one in matchers):
            matchers.append(self._matcher())

    def vm(self, line: str, cell: str | None = None) -> Shown | None:
        """Run a cell (``%%vm r1``) or a line (``%vm r1 ip -br addr``) in a VM, by its shell.

        ``--slice NET`` (a variable, or a slice's name) where several slices have such a VM;
        ``--timeout SECONDS`` after which it is ended. The `Result` is in ``_``.
        """
        request = Request.parse(line)
        if cell is None and not request.command:
            raise UsageError(f"%vm {line}", why="there is no command", fix=HOW)
        if cell is not None and request.command:
            raise UsageError(
                f"%%vm {line}",
                why=f"what is {request.command.split()[0]!r} to mean, above a cell?",
                fix=HOW,
            )
        vm = find_vm(self._shell.user_ns, request.vm, request.slice)
        command = request.command if cell is None else cell
        result = vm.run(command, timeout=request.timeout, on_output=_write)
        return Shown(**{one.name: getattr(result, one.name) for one in dataclasses.fields(result)})

    def _matcher(self) -> Any:
        @context_matcher(identifier="labkit", priority=10)  # type: ignore[untyped-decorator]
        def names(context: CompletionContext) -> dict[str, Any]:
            word, found = completions(self._shell.user_ns, context.text_until_cursor)
            return {
                "completions": [SimpleCompletion(text=one, type="name") for one in found],
                "matched_fragment": word,
                "suppress": bool(found),
            }

        names.is_labkits = True
        return names


def _write(stream: str, text: str) -> None:
    target = sys.stderr if stream == "stderr" else sys.stdout
    target.write(text)
    target.flush()


def slices_in(namespace: Mapping[str, Any]) -> dict[str, LabSlice]:
    """The slices that a notebook has in variables, by the variable's name."""
    return {
        name: value
        for name, value in list(namespace.items())
        if isinstance(value, LabSlice) and not name.startswith("_")
    }


def find_vm(namespace: Mapping[str, Any], name: str, slice_name: str | None) -> LabVM:
    """The VM of this name, of the slice that is named or of the only one that has it."""
    known = slices_in(namespace)
    if slice_name is not None:
        chosen = [s for key, s in known.items() if slice_name in (key, s.name)]
        if not chosen:
            raise _no_such("slice", slice_name, sorted(known))
        return chosen[0][name]
    having = {s.name: s for s in known.values() if name in s}
    if not having:
        raise _no_such("vm", name, sorted({vm.name for s in known.values() for vm in s}))
    if len(having) > 1:
        raise InvalidArgument(
            f"VM {name!r} is in several slices",
            why=f"they are {', '.join(sorted(having))}",
            fix="Say which: --slice NAME.",
            argument="vm",
            value=name,
        )
    return next(iter(having.values()))[name]


def _no_such(kind: str, name: str, there: Sequence[str]) -> InvalidArgument:
    return InvalidArgument(
        f"there is no {'VM' if kind == 'vm' else kind} {name!r} in the variables of this notebook",
        why=f"there are {', '.join(there)}" if there else "no variable is a slice",
        fix="Get the slice first: net = labkit.Lab().slice(NAME).",
        argument=kind,
        value=name,
    )


def completions(namespace: Mapping[str, Any], text: str) -> tuple[str, list[str]]:
    """What is being typed at the end of `text`, and the names that it may become."""
    known = slices_in(namespace)
    if match := _SLICE.match(text):
        return _those(match["word"], known)
    if match := _MAGIC.match(text):
        return _those(match["word"], (vm.name for s in known.values() for vm in s))
    if (match := _CALL.search(text)) and match["object"] in known:
        return _those(match["word"], _names_for(known[match["object"]], match["method"]))
    return "", []


def _names_for(slice_: LabSlice, method: str) -> Iterable[str]:
    if method in _OF_LINKS:
        return [link.name for link in slice_.wish.links]
    if method in _OF_VMS:
        return [vm.name for vm in slice_.wish.vms]
    if method in _OF_ENDS:
        taken = {end for link in slice_.wish.links for end in link.ends}
        ends = [
            f"{vm.name}:eth{number}"
            for vm in slice_.wish.vms
            for number in range(1, vm.interfaces + 1)
        ]
        return [end for end in ends if end not in taken]
    return []


def _those(word: str, names: Iterable[str]) -> tuple[str, list[str]]:
    return word, sorted({name for name in names if name.startswith(word)})


def load(shell: InteractiveShell) -> None:
    """What ``%load_ext labkit`` does."""
    Magics(shell).register()
