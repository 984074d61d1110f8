"""The one place where a command becomes a shell line: quoting, start marks and the dead-man.

sshd hands the text of a request to the user's login shell, so a line is needed; every word that
comes from outside is in single quotes in it. The line

- says on both streams that it starts, so that what ~/.bashrc printed before is told apart, and
  tells its process id, which is that of its process group too (sshd starts a session for it);
- keeps a watcher beside the program, which ends the whole group when the connection is gone;
- reports the program's status itself, so that a signal is 128 + N and *no* status always means
  that the session was lost.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from labkit import rules

MAX_LINE = 128 * 1024 - 1  # Linux refuses a longer argument, and the line is one of the shell's

_MARK = r"printf '{token}:%s:\n' $$; printf '{token}:\n' >&2; "
# The shell's own messages ("Killed") must not look like the program's: its stderr is kept as 4.
_SET_UP = "exec 3<&0 4>&2 2>/dev/null; "
_END_GROUP = "trap '' TERM; kill -s TERM -- -$$; sleep 1; kill -s KILL -- -$$"
_PROGRAM = "(exec {words} 2>&4{input} 3<&- 4>&-)"

# The session's input stays open for as long as the session lives, and nothing is sent on it.
_RUN = (
    "{{ read x <&3; " + _END_GROUP + "; }} >/dev/null 4>&- & "
    "{program}; x=$?; kill -s KILL $!; exit $x"
)
# One byte more than the program's input is sent. Without it the input is not whole and the
# program must not see its end; and it is read to its end even when the program does not, because
# bytes that arrive after a channel's close make sshd drop the whole connection.
_RUN_WITH_INPUT = (
    "{{ {{ head -c {size}; read x || {{ " + _END_GROUP + "; }}; exec >&-; "
    "read x; kill -s 0 $$ && {{ " + _END_GROUP + "; }}; }} <&3 4>&- & }} | "
    "{{ {program}; x=$?; cat >/dev/null; exit $x; }}; exit $?"
)
# The program reads the session's input itself, so that the watcher looks after sshd instead.
_STREAM = (
    "{{ while kill -s 0 $PPID; do sleep 1; done; " + _END_GROUP + "; }} "
    "</dev/null >/dev/null 3<&- 4>&- & "
    "{program}; x=$?; kill -s KILL $!; exit $x"
)

END_OF_INPUT = b"\n"

# Ends the process group $1, kindly first; status 0 when nothing is left of it but zombies, which
# the worker's init has yet to collect. In /proc/PID/stat, state, parent and group follow the ")".
END_GROUP = """
group=$1
lives() {
  kill -s 0 -- "-$group" 2>/dev/null || return 1
  for file in /proc/[0-9]*/stat; do
    read -r line 2>/dev/null <"$file" || continue
    set -- ${line##*) }
    [ "$3" = "$group" ] && [ "$1" != Z ] && return 0
  done
  return 1
}
kill -s TERM -- "-$group" 2>/dev/null
n=0
while lives; do
  n=$((n + 1))
  [ $n -eq 20 ] && kill -s KILL -- "-$group" 2>/dev/null
  [ $n -ge 40 ] && exit 1
  sleep 0.05
done
exit 0
"""


def quote(word: str) -> str:
    """A word that every POSIX shell reads as itself; harmless-looking ones are quoted as well."""
    return "'" + word.replace("'", r"'\''") + "'"


def run_line(argv: Sequence[str], token: str, input_size: int = 0) -> bytes:
    """The line for a command that gets `input_size` bytes and `END_OF_INPUT`, if any."""
    if input_size:
        return _line(_RUN_WITH_INPUT, argv, token, "", input_size)
    return _line(_RUN, argv, token, " </dev/null")


def stream_line(argv: Sequence[str], token: str) -> bytes:
    """The line for a program that reads the session's input until it is closed."""
    return _line(_STREAM, argv, token, " <&3")


def _line(form: str, argv: Sequence[str], token: str, source: str, size: int = 0) -> bytes:
    if argv[0].startswith("-"):  # bash would take it for an option of exec, and dash has no "--"
        rules.invalid("argv", list(argv), "a program whose name does not begin with '-'")
    program = _PROGRAM.format(words=" ".join(map(quote, argv)), input=source)
    text = _MARK.format(token=token) + _SET_UP + form.format(program=program, size=size)
    line = text.encode("utf-8", "surrogateescape")
    if len(line) > MAX_LINE:
        rules.invalid(
            "argv", list(argv), f"at most {MAX_LINE >> 10} KiB when quoted; send more by stdin"
        )
    return line


def start_marks(token: str) -> tuple[re.Pattern[bytes], re.Pattern[bytes]]:
    """What the line prints on standard output, with its process id, and on standard error."""
    name = re.escape(token.encode())
    return re.compile(name + rb":(\d+):\n"), re.compile(name + rb":\n")
