"""Reading a script of shell: the part of POSIX that labkit and students use, and no guessing."""

from __future__ import annotations

import re

from labkit.simulator.shell_syntax import (
    Case,
    Chain,
    Command,
    For,
    Function,
    Group,
    If,
    Kind,
    Loop,
    Part,
    Pipeline,
    Redirection,
    Script,
    ShellSyntaxError,
    Simple,
    Word,
)
from labkit.simulator.shell_words import NAME, Words

REDIRECTION = re.compile(r"(\d*)(<<-|<<|<&|<>|<|>>|>&|>\||>)")
ASSIGNMENT = re.compile(r"([a-zA-Z_][a-zA-Z0-9_]*)=")
FUNCTION = re.compile(r"([a-zA-Z_][a-zA-Z0-9_]*)[ \t]*\([ \t]*\)")
CLOSING = ("then", "elif", "else", "fi", "do", "done", "esac", "}")
OPENING = ("if", "while", "until", "for", "case", "{")
STANDARD = {"<": 0, "<<": 0, "<<-": 0, "<&": 0, "<>": 0}


def parse(script: str, *, background: bool = False) -> Script:
    """Read a script; raises `ShellSyntaxError`. `background`: whether ``&`` is understood."""
    parser = _Parser(script, 0, background=background)
    found = parser.script(())
    if parser.words.place < len(script):
        raise parser.unexpected()
    parser.finish()
    return found


class _Parser:
    def __init__(self, script: str, place: int, *, background: bool) -> None:
        self.words = Words(script, self._inner)
        self.words.place = place
        self._background = background
        self._heredocs: list[tuple[list[Redirection], int, str, bool, bool]] = []

    # ---- scripts

    def _inner(self, script: str, place: int) -> tuple[Script, int]:
        """A script in ``$( )``; where it goes on behind it."""
        parser = _Parser(script, place, background=self._background)
        found = parser.script(())
        if not parser.words.at(")"):
            raise parser.unexpected()
        parser.finish()
        return found, parser.words.place + 1

    def script(self, ends: tuple[str, ...]) -> Script:
        """Up to one of the reserved words, a closing parenthesis or the end."""
        found = Script()
        while True:
            self._skip_lines()
            if self._is_over(ends):
                return found
            chain = self._chain()
            found.chains.append(chain)
            if self.words.at(";;"):
                return found
            if self.words.at("&"):
                if not self._background:
                    raise ShellSyntaxError('the simulated shell does not know "&" here')
                self.words.place += 1
                chain.in_background = True
            elif self.words.at(";"):
                self.words.place += 1
                self._skip_blanks()
                if self.words.at(";"):
                    raise self.unexpected()
            elif not self.words.at("\n"):
                self._skip_blanks()
                if not self._is_over(ends) and not self.words.at("\n"):
                    raise self.unexpected()

    def _is_over(self, ends: tuple[str, ...]) -> bool:
        words = self.words
        if words.place >= len(words.script) or words.at(")") or words.at(";;"):
            return True
        reserved = self._peek()
        if reserved in ends:
            return True
        if reserved in CLOSING:
            raise ShellSyntaxError(f'"{reserved}" unexpected')
        return False

    def unexpected(self) -> ShellSyntaxError:
        rest = self.words.script[self.words.place :]
        if not rest:
            return ShellSyntaxError("end of file unexpected")
        what = next((op for op in ("&&", "||", ";;") if rest.startswith(op)), rest[0])
        return ShellSyntaxError(f'"{what}" unexpected' if what != "\n" else "newline unexpected")

    def finish(self) -> None:
        """Here-documents whose text has not come are over with the script."""
        if self._heredocs:
            self._read_heredocs()

    # ---- blanks

    def _skip_blanks(self) -> None:
        words = self.words
        while words.place < len(words.script):
            if words.script[words.place] in " \t":
                words.place += 1
            elif words.at("\\\n"):
                words.place += 2
            elif words.at("#"):
                end = words.script.find("\n", words.place)
                words.place = len(words.script) if end < 0 else end
            else:
                return

    def _skip_lines(self) -> None:
        self._skip_blanks()
        while self.words.at("\n"):
            self._newline()
            self._skip_blanks()

    def _newline(self) -> None:
        self.words.place += 1
        if self._heredocs:
            self._read_heredocs()

    def _peek(self) -> str:
        """The reserved word here, if there is one."""
        words = self.words
        found = re.compile(r"[a-z]+|[{}!]").match(words.script, words.place)
        if found is None:
            return ""
        following = words.script[found.end() : found.end() + 1]
        known = (*CLOSING, *OPENING, "!", "in")
        is_word = not following or following in " \t\n;|&<>()"
        return found[0] if is_word and found[0] in known else ""

    def _expect(self, reserved: str) -> None:
        self._skip_lines()
        if self._peek() != reserved:
            error = self.unexpected()
            raise ShellSyntaxError(f'{error} (expecting "{reserved}")')
        self.words.place += len(reserved)

    # ---- chains and pipelines

    def _chain(self) -> Chain:
        pipelines = [self._pipeline(";")]
        while True:
            self._skip_blanks()
            joined = next((op for op in ("&&", "||") if self.words.at(op)), "")
            if not joined:
                return Chain(pipelines)
            self.words.place += 2
            self._skip_lines()
            pipelines.append(self._pipeline(joined))

    def _pipeline(self, joined: str) -> Pipeline:
        pipeline = Pipeline(joined)
        self._skip_blanks()
        if self._peek() == "!":
            self.words.place += 1
            pipeline.negated = True
            self._skip_blanks()
        pipeline.commands.append(self._command())
        self._skip_blanks()
        while self.words.at("|") and not self.words.at("||"):
            self.words.place += 1
            self._skip_lines()
            pipeline.commands.append(self._command())
            self._skip_blanks()
        return pipeline

    def _command(self) -> Command:
        self._skip_blanks()
        reserved = self._peek()
        function = FUNCTION.match(self.words.script, self.words.place)
        command: Command
        if reserved in CLOSING or reserved == "!":
            raise ShellSyntaxError(f'"{reserved}" unexpected')
        if reserved == "if":
            command = self._if()
        elif reserved in ("while", "until"):
            command = self._loop(reserved)
        elif reserved == "for":
            command = self._for()
        elif reserved == "case":
            command = self._case()
        elif reserved == "{" or self.words.at("("):
            command = self._group()
        elif function is not None:
            self.words.place = function.end()
            self._skip_lines()
            return Function(function[1], self._command())
        else:
            return self._simple()
        while self._redirection(command.redirections):
            pass
        return command

    def _simple(self) -> Simple:
        command = Simple()
        while True:
            self._skip_blanks()
            if self._redirection(command.redirections):
                continue
            words = self.words
            if words.place >= len(words.script) or words.script[words.place] in "\n;|&)":
                break
            if words.at("("):
                raise self.unexpected()
            self._add(command, words.word())
        if not (command.words or command.assignments or command.redirections):
            raise self.unexpected()
        return command

    @staticmethod
    def _add(command: Simple, word: Word) -> None:
        first = word[0] if word else Part(Kind.PLAIN, "")
        if not command.words and first.kind is Kind.PLAIN:
            name = ASSIGNMENT.match(first.text)
            if name is not None:
                rest = Part(Kind.PLAIN, first.text[name.end() :])
                command.assignments.append((name[1], (rest, *word[1:])))
                return
        command.words.append(word)

    # ---- redirections

    def _redirection(self, found: list[Redirection]) -> bool:
        self._skip_blanks()
        match = REDIRECTION.match(self.words.script, self.words.place)
        if match is None:
            return False
        operator = ">" if match[2] in (">|",) else match[2]
        descriptor = int(match[1]) if match[1] else STANDARD.get(operator, 1)
        self.words.place = match.end()
        self._skip_blanks()
        place = self.words.place
        if place >= len(self.words.script) or self.words.script[place] in "\n;|&<>()":
            raise ShellSyntaxError(f'"{operator}" needs a file')
        if descriptor > 2 or operator == "<>":
            raise ShellSyntaxError(f"the simulated shell has no file descriptor {descriptor}")
        raw = self.words.script[place:]
        target = self.words.word()
        if operator in ("<<", "<<-"):
            quoted = any(part.kind is Kind.QUOTED for part in target)
            end = "".join(part.text for part in target)
            del raw
            self._heredocs.append((found, len(found), end, quoted, operator == "<<-"))
            found.append(Redirection(0, "<<", ()))
            return True
        if operator in (">&", "<&"):
            digit = target[0].text if len(target) == 1 else ""
            if digit not in ("0", "1", "2", "-"):
                raise ShellSyntaxError('">&" is simulated for the descriptors 1 and 2')
        found.append(Redirection(descriptor, operator, target))
        return True

    def _read_heredocs(self) -> None:
        """The texts begin on the line after; the place is at its start."""
        waiting, self._heredocs = self._heredocs, []
        words = self.words
        for found, index, end, quoted, strip in waiting:
            lines = []
            while True:
                if words.place >= len(words.script):
                    break
                stop = words.script.find("\n", words.place)
                stop = len(words.script) if stop < 0 else stop
                line = words.script[words.place : stop]
                words.place = min(stop + 1, len(words.script))
                line = line.lstrip("\t") if strip else line
                if line == end:
                    break
                lines.append(f"{line}\n")
            text = "".join(lines)
            target = (Part(Kind.QUOTED, text),) if quoted else words.heredoc(text)
            found[index] = Redirection(0, "<<", target)

    # ---- compound commands

    def _group(self) -> Group:
        is_apart = self.words.at("(")
        self.words.place += 1
        body = self.script(() if is_apart else ("}",))
        self._skip_lines()
        closing = ")" if is_apart else "}"
        if not self.words.at(closing) or not body.chains:
            raise self.unexpected()
        self.words.place += 1
        return Group(body, is_apart)

    def _body(self, *ends: str) -> Script:
        body = self.script(ends)
        if not body.chains:
            raise self.unexpected()
        return body

    def _if(self) -> If:
        branches = []
        self.words.place += 2
        while True:
            condition = self._body("then")
            self._expect("then")
            branches.append((condition, self._body("elif", "else", "fi")))
            self._skip_lines()
            if self._peek() != "elif":
                break
            self.words.place += 4
        otherwise = None
        if self._peek() == "else":
            self.words.place += 4
            otherwise = self._body("fi")
        self._expect("fi")
        return If(branches, otherwise)

    def _loop(self, reserved: str) -> Loop:
        self.words.place += len(reserved)
        condition = self._body("do")
        body = self._do()
        return Loop(condition, body, until=reserved == "until")

    def _do(self) -> Script:
        self._expect("do")
        body = self._body("done")
        self._expect("done")
        return body

    def _for(self) -> For:
        self.words.place += 3
        self._skip_blanks()
        name = NAME.match(self.words.script, self.words.place)
        if name is None:
            raise ShellSyntaxError("Bad for loop variable")
        self.words.place = name.end()
        self._skip_lines()
        chosen: list[Word] | None = None
        if self._peek() == "in":
            self.words.place += 2
            chosen = []
            self._skip_blanks()
            while self.words.script[self.words.place :][:1] not in ("", ";", "\n", "&", "|", ")"):
                chosen.append(self.words.word())
                self._skip_blanks()
        if self.words.at(";"):
            self.words.place += 1
        return For(name[0], chosen, self._do())

    def _case(self) -> Case:
        self.words.place += 4
        self._skip_blanks()
        word = self.words.word()
        self._skip_lines()
        if self._peek() != "in":
            raise self.unexpected()
        self.words.place += 2
        branches: list[tuple[list[Word], Script]] = []
        while True:
            self._skip_lines()
            if self._peek() == "esac":
                self.words.place += 4
                return Case(word, branches)
            branches.append(self._branch())

    def _branch(self) -> tuple[list[Word], Script]:
        if self.words.at("("):
            self.words.place += 1
        patterns = []
        while True:
            self._skip_blanks()
            pattern = self.words.word()
            if not pattern:
                raise self.unexpected()
            patterns.append(pattern)
            self._skip_blanks()
            if not self.words.at("|"):
                break
            self.words.place += 1
        if not self.words.at(")"):
            raise self.unexpected()
        self.words.place += 1
        body = self.script(("esac",))
        self._skip_lines()
        if self.words.at(";;"):
            self.words.place += 2
        return patterns, body
