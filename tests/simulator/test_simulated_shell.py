"""The simulated shell reads a line as a POSIX shell does, and says so when it cannot."""

from __future__ import annotations

import shlex
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.executor import Result
from labkit.simulator.executor import SimulatedExecutor

HOST = "10.0.10.1"
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
SHELL_TEXT = st.text("'\"\\$ \t~*?[]{}#=!;|&<>()ab\n", max_size=20)


def sh(script: str, *arguments: str, stdin: bytes = b"") -> Result:
    return SimulatedExecutor().run(HOST, ("sh", "-c", script, *arguments), stdin=stdin)


@given(TEXT | SHELL_TEXT)
def test_fault_06_a_quoted_word_is_itself(text: str) -> None:
    assert sh(f"printf %s {shlex.quote(text)}").stdout == text.encode()


@given(st.lists(SHELL_TEXT, min_size=1, max_size=4))
def test_fault_06_quoted_words_stay_apart(words: list[str]) -> None:
    result = sh(f"printf '<%s>' {shlex.join(words)}")
    assert result.stdout == "".join(f"<{word}>" for word in words).encode()


@given(SHELL_TEXT)
def test_any_text_ends_with_a_status(text: str) -> None:
    assert 0 <= sh(text).returncode <= 255


LINES = [
    "printf a; printf b >&2; exit 3",
    "true && echo yes || echo no",
    "false && echo yes || echo no",
    "false || false || echo third",
    "! true; echo $?",
    "! false && echo negated",
    "echo a\necho b\n",
    "echo a # not this\necho b",
    "echo 'a  b'  c\\ d \"e'f\" g\\\nh",
    'x="a  b"; printf "<%s>" $x; printf "<%s>" "$x"',
    "x=1 y=2; echo $x${y}3",
    'echo "$#" "$1" ${2}; printf "<%s>" "$3"',
    "cd /tmp && pwd",
    "cd /nowhere; echo $?",
    "cd /tmp; cd /nowhere 2>/dev/null && echo wrong; pwd",
    "printf one >f; printf two >>f; cat f; rm f; test -e f; echo $?",
    "printf new >f; cat <f; cat f | wc -c; rm -f f",
    "echo both 2>&1 >/dev/null; echo $?",
    "cat /nowhere 2>&1 >/dev/null | wc -l",
    "cat nowhere 2>/dev/null; echo $?",
    "no-such-program 2>/dev/null; echo $?",
    "exit 7",
    "sh -c 'exit 7'; echo $?",
    "kill -9 $$; echo never",
    "sh -c 'kill -9 $$' 2>/dev/null; echo $?",
    "echo a | cat | cat",
    "exit 3 | true; echo $?",
    "true | exit 3; echo $?",
    "exec echo done; echo never",
    'touch b.x a.x .c.x "*.y"; echo *.x "*.x" \\*.x ?.x [ab].x *.z; rm *.x .c.x "*.y"',
    "echo ~ | wc -l",
    "echo '~' \"~\" a~",
    "x=; printf '<%s>' $x a; printf '<%s>' \"$x\"",
    "command -v sh >/dev/null && echo there; command -v no-such; echo $?",
    "[ a = a ] && [ ! a = b ] && test 2 -gt 1 && echo all",
    "test -n '' ; echo $?; [ -z '' ]; echo $?",
    "mkdir -p d/e && cd d && mkdir f && ls; cd ..; rm -r d; test -d d; echo $?",
    "mkdir d; mkdir d 2>/dev/null; echo $?; printf x >d/f; cp d/f g; mv g d/h; ls d; rm -r d",
    "printf '%s-%d%%\\n' a 1 b 2",
    "printf 'a\\tb\\101\\n'",
    "echo -n a; echo b",
    "head -c 3 /dev/zero | wc -c; printf 'a\\nb\\nc\\n' | head -n 2",
    "export A=1; A=2; sh -c 'echo $A'",
    "echo $HOME >/dev/null; HOME=/x; echo ~/y $HOME",
    "export X=1; sh -c 'echo $X'; Y=2 sh -c 'echo $Y'; echo \"<$Y>\"",
    "echo a >&2 2>/dev/null",
    'read_only=x; echo $read_only; echo "$nothing"',
    'echo "a\\$b\\\\c\\"d\\`e\\x"',
    "echo $ '$' a$",
    "wc -c",
    "cat; cat",
    "head -c 0 | wc -c; cat",
    "head -c 4; cat",
    "echo 'a\\tb\\0101c\\\\d' -n; echo -n x",
    "for x in a b 'c d'; do echo \"<$x>\"; done",
    "for x; do echo $x; done; for x in; do echo never; done; echo $?",
    "if false; then echo a; elif true; then echo b; else echo c; fi; if false; then :; fi; echo $?",
    "i=0; while [ $i -lt 3 ]; do echo $i; i=$((i+1)); done",
    "i=3; until [ $i -eq 0 ]; do i=$((i - 1)); [ $i = 1 ] && continue; echo $i; done",
    "for i in 1 2 3; do for j in a b; do [ $i$j = 2a ] && break 2; echo $i$j; done; done",
    'echo $(echo a; echo b) "$(echo a; echo b)" `echo c`',
    "echo $((1 + 2 * 3)) $(( (1+2)*3 % 4 )) $((-7/2)) $((1<2 && 3!=3)) $((0x1f)) $((2>1?5:6))",
    "x=5; echo $((x+1)) $((x=7)) $x $((x+=2))",
    '(cd /tmp; x=1; echo $x); echo "<$x>"; pwd | wc -l',
    "{ echo a; echo b; } | wc -l; { x=1; }; echo $x",
    "(exit 3); echo $?; (exit 4) || echo $?",
    "f() { echo f $1 $#; return 4; }; f a b; echo $? $1",
    'f() { x=in; }; x=out; f; echo $x; f() { local y=1; echo $y; }; f; echo "<$y>"',
    "case abc in a) echo 1;; a*) echo 2;; *) echo 3;; esac; case x in y) ;; esac; echo $?",
    "case b in a|b) echo ab;; esac; case 'a*' in 'a*') echo star;; esac",
    "cat <<END\na $((1+1)) b\nEND\necho after",
    "cat <<'END'\na $HOME\nEND",
    "cat <<-END | wc -l\n\ta\n\tb\n\tEND",
    "echo ${x:-y} ${x-z} ${1:+set} ${x:=new} $x ${#x} ${2:-q}",
    "x=a.b.c; echo ${x%.*} ${x%%.*} ${x#*.} ${x##*.}",
    "set -- p q r; echo $# $2; shift; echo $1; printf '<%s>' \"$@\"; printf '<%s>' \"$*\"",
    "set -e; false || true; if false; then :; fi; echo on; false; echo never",
    "printf 'a b c\\nd\\n' | while read x y; do echo \"$y-$x\"; done",
    "eval 'x=1; echo $x'; y='echo hi'; $y",
    'x=1; unset x; echo "<$x>"',
    "echo a; : ; if ! false; then echo b; fi >&2",
    "for i in 1 2; do echo $i; done > out; cat out; rm out",
    'while read l; do echo "[$l]"; done <<X\none\ntwo\nX',
    'echo "${x:-a b}" ${x:-a b} \'$x\' "a`echo b`c"',
    '[ -n "$(cat)" ] && echo had input',
    "x=$(false); echo $?; x=$(echo y) ; echo $x$?",
    "echo $((08)) 2>/dev/null; echo never",
]


@pytest.mark.parametrize("line", LINES)
def test_a_line_means_what_it_means_to_a_real_shell(
    line: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("real")
    arguments = ["sh", "one", "two 2", "three  3"]
    real = subprocess.run(
        ["sh", "-c", line, *arguments], cwd=folder, input=b"some input", capture_output=True
    )
    simulated = sh(line, *arguments, stdin=b"some input")
    status = real.returncode if real.returncode >= 0 else 128 - real.returncode
    assert (simulated.stdout, simulated.returncode) == (real.stdout, status)
    assert bool(simulated.stderr) == bool(real.stderr)


@pytest.mark.parametrize(
    "line",
    [
        "sleep 1 &",
        "echo a 3>f",
        "for x in a b; do echo $x",
        "if true; then echo a",
        "if; then echo; fi",
        "while true; done",
        "echo )",
        "(echo a",
        "{ echo a",
        "done",
        "case x in a",
        "echo $(echo a",
        "echo `echo a",
        "echo ${x",
        "echo ${x!y}",
        "echo 'a",
        'echo "a',
        "echo a |",
        "&& true",
        "; true",
        "true && ; true",
        "true | ! true",
        "!\n true",
        "echo >",
        "echo a >&9",
    ],
)
def test_what_is_not_simulated_is_said_and_nothing_is_done(line: str) -> None:
    executor = SimulatedExecutor()
    result = executor.run(HOST, ("sh", "-c", f"touch done\n{line}"))
    assert result.returncode == 2
    assert "Syntax error" in result.error_text
    assert not executor.worker(HOST).files.is_file("~/done")


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("no-such-program", 127),
        ("/usr/bin/no-such-program", 127),
        ("ls --color", 2),
        ("test a b c d", 2),
        ("sleep soon", 1),
        ("kill 1", 1),
        ("qemu-img convert a b", 1),
        ("python3 -c 'print(1)'", 2),
        ("rm", 1),
        ("printf", 1),
    ],
)
def test_what_a_program_cannot_do_is_loud(line: str, status: int) -> None:
    result = sh(line)
    assert result.returncode == status
    assert result.stdout == b""
    assert result.stderr != b""


def test_students_find_their_way_around() -> None:
    executor = SimulatedExecutor()
    assert executor.execute_direct(HOST, "hostname; whoami; nproc; uname -s; pwd") == (
        True,
        "worker-10-0-10-1\nubuntu\n4\nLinux\n/home/ubuntu\n",
    )
    ok, table = executor.execute_direct(HOST, "df -k ~")
    assert ok
    assert "20971520" in table
