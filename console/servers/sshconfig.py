"""Servers from an OpenSSH client configuration, read as ``ssh`` itself reads it; no command of the file is ever run."""

from __future__ import annotations

import fnmatch
import getpass
import glob
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from console.errors import InputError, SealiftError, why
from console.i18n import N_, Said
from console.servers.importing import Imported, LineProblem, port_number, read_text
from console.servers.record import NAME_FORM, ServerRecord, check

_HOST_LINE = "Host"
_OPTIONS = ("hostname", "user", "port", "identityfile", "proxyjump", "proxycommand")
_MATCHED = ("host", "originalhost", "user", "localuser")

MAX_INCLUDE_DEPTH, MAX_INCLUDED_FILES = 16, 200
"""As deep as OpenSSH goes; a configuration of more files is somebody's mistake."""

_Conditions = tuple[tuple[str, tuple[str, ...]], ...]
_ALWAYS: _Conditions = (("all", ()),)


@dataclass(frozen=True)
class _Place:
    """A line of a file; ``file`` is empty for the one that was given."""

    line: int = 0
    file: str = ""

    def problem(self, text: str) -> LineProblem:
        if not self.file:
            return LineProblem(self.line, text)
        return LineProblem(0, Said(N_("{file}, line {line}: {problem}"), file=self.file, line=self.line, problem=text))


@dataclass(frozen=True)
class _Block:
    """Options under the conditions that all have to hold: each a word of ``Match`` and its patterns, or ``Host``; ``all`` has
    none. No condition at all holds never."""

    conditions: _Conditions
    place: _Place = _Place()
    options: dict[str, list[str]] = field(default_factory=dict)

    def matches(self, facts: Mapping[str, str]) -> bool:
        return bool(self.conditions) and all(
            word == "all" or (_fits(patterns, facts[word.lstrip("!")]) != word.startswith("!")) for word, patterns in self.conditions)

    def take(self, key: str, value: str) -> None:
        """Keep the first value of an option, and of key files all."""
        # Whichever of the two ways through something else stands first is the one that counts.
        rival = {"proxyjump": "proxycommand", "proxycommand": "proxyjump"}.get(key)
        if rival not in self.options:
            self.options.setdefault(key, []).append(value)


def _fits(patterns: tuple[str, ...], text: str) -> bool:
    hits = [p for p in patterns if fnmatch.fnmatchcase(text.lower(), p.lstrip("!").lower().replace("[", "[[]"))]
    return bool(hits) and not any(p.startswith("!") for p in hits)


def parse_ssh_config(text: str, default_user: str | None = None, folder: Path | None = None) -> Imported:
    """Servers of an OpenSSH client configuration: one for each ``Host`` name without a wildcard, and one for each
    jump host that has no ``Host`` of its own. The first value of an option wins, as for ``ssh``; of several key files the
    first that is there is taken.

    ``Include`` is followed where ``folder``, that of the file, is given: names without a path are looked for there.
    ``Match`` is followed for ``all``, ``host``, ``originalhost``, ``user`` and ``localuser``; a block under another
    condition is left out, and said to be. ``ProxyCommand`` is understood where it is no more than ``ssh -W``, and a server
    behind any other is left out, and said to be.
    """
    found, user = Imported(), default_user or getpass.getuser()
    reading = _Reading(found, folder, user)
    blocks = reading.blocks(text)
    aliases: dict[str, _Place] = {}
    for block in blocks:
        for word, patterns in block.conditions:
            for pattern in patterns if word == _HOST_LINE else ():
                if not re.search(r"[*?!]", pattern):
                    aliases.setdefault(pattern, block.place)
    made = _Making(blocks, aliases, found, user)
    for alias, place in aliases.items():
        made.take(alias, alias, place)
    found.records = list(made.records.values())
    return found


def words_of(line: str) -> list[str]:
    """The words of a line: quotes hold blanks, a backslash takes their meaning from quotes, blanks and itself only, and a
    word that begins with ``#`` ends the line.

    Raises:
        ValueError: a quote is not closed.
    """
    words: list[str] = []
    at, end = 0, len(line)
    while at < end:
        if line[at] in " \t\r\f\v":
            at += 1
            continue
        if line[at] == "#":
            break
        word, quote = [], ""
        while at < end and (quote or line[at] not in " \t\r\f\v"):
            char = line[at]
            if char == "\\" and at + 1 < end and (line[at + 1] in "'\"\\" or (not quote and line[at + 1] == " ")):
                at += 1
                word.append(line[at])
            elif quote and char == quote:
                quote = ""
            elif not quote and char in "'\"":
                quote = char
            else:
                word.append(char)
            at += 1
        if quote:
            raise ValueError(Said(N_("a quotation mark is not closed")))
        words.append("".join(word))
    return words


_KEYWORD = re.compile(r'\s*"?(\w+)"?(?:\s*=\s*|\s+|$)')


@dataclass
class _Reading:
    """One configuration with the files that it includes."""

    found: Imported
    folder: Path | None
    user: str
    files: int = 0

    def blocks(self, text: str, depth: int = 0, outer: _Block | None = None, file: str = "") -> list[_Block]:
        """The blocks of a text, those of included files in their places."""
        conditions = outer.conditions if outer else _ALWAYS
        blocks = [_Block(conditions)]
        for number, line in enumerate(re.split(r"\r\n|\n|\r", text), 1):
            place, keyword = _Place(number, file), _KEYWORD.match(line)
            if keyword is None:
                if line.strip() and not line.lstrip().startswith("#"):
                    self.found.problems.append(place.problem(Said(N_("this is no option: {text}"), text=line.strip()[:80])))
                continue
            try:
                values = words_of(line[keyword.end():])
                blocks += self._line(keyword[1].lower(), values, blocks[-1], conditions, depth, place)
            except ValueError as problem:
                self.found.problems.append(place.problem(why(problem)))
        return blocks

    def _line(self, key: str, values: list[str], block: _Block, outer: _Conditions, depth: int, place: _Place) -> list[_Block]:
        """The blocks that begin with this line."""
        if not values:
            raise ValueError(Said(N_("{option} has no value"), option=key[:40]))
        more = () if outer == _ALWAYS else outer
        if key == "host":
            return [_Block((*more, (_HOST_LINE, tuple(values))), place)]
        if key == "match":
            try:
                return [_Block((*more, *_conditions(values)), place)]
            except ValueError:
                # Its options must not fall to the block before it.
                self.found.problems.append(place.problem(Said(N_("{line} is not followed"), line=f"Match {' '.join(values)[:80]}")))
                return [_Block((), place)]
        if key == "include":
            return [*self._included(values, block, depth, place), _Block(block.conditions, block.place)]
        if key in _OPTIONS:
            block.take(key, " ".join(values) if key == "proxycommand" else values[0])
        return []

    def _included(self, names: list[str], block: _Block, depth: int, place: _Place) -> list[_Block]:
        if self.folder is None:
            raise ValueError(Said(N_("Include is not followed")))
        if depth >= MAX_INCLUDE_DEPTH:
            raise ValueError(Said(N_("Include is nested too deep")))
        made: list[_Block] = []
        for name in names:
            path = Path(name).expanduser()
            for file in sorted(glob.glob(str(path if path.is_absolute() else self.folder / path))):
                self.files += 1
                if self.files > MAX_INCLUDED_FILES:
                    raise ValueError(Said(N_("more than {count} files are included"), count=MAX_INCLUDED_FILES))
                try:
                    text = read_text(file)
                except OSError as problem:
                    raise ValueError(Said(N_("{path} cannot be read: {reason}"), path=file, reason=problem.strerror or "?")) from None
                except InputError as problem:
                    raise ValueError(why(problem)) from None
                made += self.blocks(text, depth + 1, block, file)
        return made


def _conditions(words: list[str]) -> list[tuple[str, tuple[str, ...]]]:
    """The conditions of a ``Match`` line.

    Raises:
        ValueError: one of them is not followed here.
    """
    made: list[tuple[str, tuple[str, ...]]] = []
    rest = list(words)
    while rest:
        word = rest.pop(0).lower()
        if word == "all":
            made.append(("all", ()))
        elif word.lstrip("!") in _MATCHED and rest:
            made.append((word, tuple(rest.pop(0).split(","))))
        else:
            raise ValueError(word)
    return made


@dataclass(frozen=True)
class _Hop:
    """A jump host as a line names it."""

    host: str
    user: str | None = None
    port: int | None = None


@dataclass
class _Making:
    """The servers made of a configuration."""

    blocks: list[_Block]
    aliases: Mapping[str, _Place]
    found: Imported
    user: str
    records: dict[str, ServerRecord] = field(default_factory=dict)

    def take(self, alias: str, name: str, place: _Place, hop: _Hop | None = None) -> None:
        """Add the server that ``alias`` means, as ``name``, and its jump hosts."""
        if name in self.records:
            return
        try:
            record, hops = self._record(alias, name, hop or _Hop(alias))
        except (ValueError, SealiftError) as problem:
            self.found.problems.append(place.problem(Said(N_("{host}: {problem}"), host=alias[:80], problem=why(problem))))
            return
        self.records[name] = record
        for other, known_as in zip(hops, record.jump, strict=True):
            self.take(other.host, known_as, place, other)

    def _record(self, alias: str, name: str, asked: _Hop) -> tuple[ServerRecord, list[_Hop]]:
        options = self._look_up(alias, asked.user)
        number = asked.port or port_number(_first(options, "port", "22"))
        address = _expand(_first(options, "hostname", "%h"), {"h": alias, "n": alias})
        login = asked.user or _first(options, "user", self.user)
        tokens = {"h": address, "n": alias, "r": login, "p": str(number), "d": "~", "u": self.user}
        identity = _identity(options.get("identityfile", ()), tokens)
        hops = _hops_of(options)
        return check(ServerRecord(name, address, number, login, identity, "key" if identity else "agent",
                                  jump=tuple(self._name_of(hop) for hop in hops))), hops  # fmt: skip

    def _look_up(self, alias: str, login: str | None) -> dict[str, list[str]]:
        """The values of each option. What ``Match host`` and ``Match user`` see is what the lines before them made."""
        chosen = _Block(())
        for block in self.blocks:
            host = _first(chosen.options, "hostname", "%h").replace("%h", alias).replace("%n", alias)
            facts = {_HOST_LINE: alias, "originalhost": alias, "host": host, "user": login or _first(chosen.options, "user", self.user),
                     "localuser": self.user}  # fmt: skip
            if block.matches(facts):
                for key, values in block.options.items():
                    for value in values:
                        chosen.take(key, value)
        return chosen.options

    def _name_of(self, hop: _Hop) -> str:
        """What the entry of a jump host is called: its own name, with account and port behind it where the line that names
        it asks for others than its entry has."""
        plain = hop.host if NAME_FORM.fullmatch(hop.host) else "jump-" + re.sub(r"[^A-Za-z0-9._-]+", "-", hop.host).strip("-")
        login, port = self._usual(hop.host)
        wanted, before = (hop.user or login, hop.port or port), self.records.get(plain)
        usual = (login, port) if hop.host in self.aliases else (before.user, before.port) if before else wanted
        return plain if wanted == usual else f"{plain}-{re.sub(r'[^A-Za-z0-9._-]+', '-', wanted[0])}-{wanted[1]}"

    def _usual(self, host: str) -> tuple[str, int]:
        options = self._look_up(host, None)
        return _first(options, "user", self.user), port_number(_first(options, "port", "22"))


def _first(options: Mapping[str, list[str]], key: str, otherwise: str) -> str:
    return options[key][0] if key in options else otherwise


def _identity(files: list[str] | tuple[()], tokens: dict[str, str]) -> str | None:
    """The key file that would be used: the first that is there, else the first."""
    if any(file.lower() == "none" for file in files):
        return None
    named = [_expand(_from_environment(file), tokens) for file in files]
    return next((file for file in named if Path(file).expanduser().is_file()), named[0] if named else None)


def _from_environment(text: str) -> str:
    def one(match: re.Match) -> str:
        if match[1] not in os.environ:
            raise ValueError(Said(N_("the environment variable {name} is not set"), name=match[1]))
        return os.environ[match[1]]

    return re.sub(r"\$\{(\w{1,100})\}", one, text)


_JUMP_BY_COMMAND = re.compile(
    r"(?:/[\w./-]+/)?ssh((?:\s+(?:-[qaxT46]+|-p\s*\d{1,5}|-l\s*[\w.-]+|-W\s*\[?%h\]?:%p))*)\s+([^-\s'\"$`;|&<>][^\s'\"$`;|&<>]*)((?:\s+-W\s*\[?%h\]?:%p)?)\s*")
"""The form of ``ProxyCommand`` that does what ``ProxyJump`` does: ``ssh -W %h:%p [user@]host``."""


def _hops_of(options: Mapping[str, list[str]]) -> list[_Hop]:
    command = _first(options, "proxycommand", "none")
    if command.lower() == "none":
        return _hops(_first(options, "proxyjump", "none"))
    form = _JUMP_BY_COMMAND.fullmatch(command)
    if form is None or (form[1] + form[3]).count("-W") != 1:
        raise ValueError(Said(N_("it is reached by a command, and none is run here: ProxyCommand {command}. Give the jump hosts as "
                                 "ProxyJump, or enter them by hand"), command=command[:200]))  # fmt: skip
    [hop] = _hops(form[2])
    port, login = re.search(r"-p\s*(\d+)", form[1]), re.search(r"-l\s*([\w.-]+)", form[1])
    return [_Hop(hop.host, hop.user or (login[1] if login else None), int(port[1]) if port else hop.port)]


def _hops(text: str) -> list[_Hop]:
    """``user@host:port,…``, each after its scheme if it has one."""
    hops = []
    for part in text.split(",") if text.lower() != "none" else ():
        match = re.fullmatch(r"(?:ssh://)?(?:([^@]+)@)?(\[[0-9A-Fa-f:.]+\]|[^:@/\s]+)(?::([0-9]{1,5}))?/?", part.strip())
        if not match:
            raise ValueError(Said(N_("the jump host {host} cannot be read"), host=repr(part[:80])))
        hops.append(_Hop(match[2].strip("[]"), match[1], int(match[3]) if match[3] else None))
    return hops


def _expand(text: str, tokens: dict[str, str]) -> str:
    def one(match: re.Match) -> str:
        if match[1] == "%":
            return "%"
        if match[1] not in tokens:
            raise ValueError(Said(N_("the token %{token} is not supported"), token=match[1]))
        return tokens[match[1]]

    return re.sub(r"%(.)", one, text)
