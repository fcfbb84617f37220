"""Servers from files: a CSV table, an OpenSSH client configuration."""

from __future__ import annotations

import csv
import fnmatch
import getpass
import glob
import io
import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from console.errors import InputError, SealiftError, code
from console.i18n import N_
from console.servers.record import ServerRecord, check

NO_HEADER = code("server.csv-header", InputError, N_("The first line of the table must name its columns; {problem}."),
                 N_("Use the columns {columns}; name and address are needed, the others may be left out."))
NOT_TEXT = code("server.import-not-text", InputError, N_("{path} is not a text file in UTF-8."),
                N_("Save it as UTF-8 text and try again."))
TOO_LARGE = code("server.import-too-large", InputError, N_("{path} is larger than {limit_bytes} bytes."),
                 N_("Split the file."))

COLUMNS = ("name", "address", "port", "user", "auth", "identity", "sudo", "jump", "labels", "group", "store")
MAX_FILE_BYTES = 4 << 20
MAX_LINE_ERRORS = 1000


@dataclass(frozen=True)
class LineProblem:
    """What is wrong with one line of a file; ``text`` is English and names the value."""

    line: int
    text: str


@dataclass
class Imported:
    """What a file holds: servers in file order, and every line that could not be used."""

    records: list[ServerRecord] = field(default_factory=list)
    problems: list[LineProblem] = field(default_factory=list)


def read_text(path) -> str:
    """The text of a small file.

    Raises:
        InputError: too large, or not UTF-8.
    """
    with open(path, "rb") as file:
        raw = file.read(MAX_FILE_BYTES + 1)
    if len(raw) > MAX_FILE_BYTES:
        raise TOO_LARGE(path=str(path), limit_bytes=MAX_FILE_BYTES)
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise NOT_TEXT(path=str(path)) from None


def parse_csv(text: str, default_user: str | None = None) -> Imported:
    """Read a table with a header. Several jump hosts or labels in one cell are separated by spaces or semicolons.

    Raises:
        InputError: ``server.csv-header``; lines that are wrong are reported in the result.
    """
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    found, seen = Imported(), set()
    header = _header(_cells(rows, found))
    for cells in _rows(rows, found):
        try:
            record = check(_from_cells(header, cells, default_user or getpass.getuser()))
            if record.name in seen:
                raise ValueError(f"the name {record.name} is on an earlier line already")
        except (ValueError, SealiftError) as problem:
            found.problems.append(LineProblem(rows.line_num, str(problem)))
        else:
            seen.add(record.name)
            found.records.append(record)
    return found


def _cells(rows, found: Imported) -> list[str] | None:
    try:
        return next(rows, None)
    except csv.Error as problem:
        found.problems.append(LineProblem(rows.line_num, str(problem)))
        return []


def _rows(rows, found: Imported) -> Iterable[list[str]]:
    """The filled rows; a row that is no CSV is reported."""
    while len(found.problems) < MAX_LINE_ERRORS and (cells := _cells(rows, found)) is not None:
        if any(cell.strip() for cell in cells) and not cells[0].lstrip().startswith("#"):
            yield cells


def _header(cells: list[str] | None) -> list[str]:
    names = [c.strip().lower() for c in cells or ()]
    names = ["identity" if n == "identity_file" else n for n in names]
    unknown = [n for n in names if n not in COLUMNS]
    missing = [n for n in ("name", "address") if n not in names]
    problem = (f"unknown: {', '.join(unknown)[:200]}" if unknown else f"missing: {', '.join(missing)}" if missing
               else "a column is there twice" if len(set(names)) < len(names) else "")
    if problem:
        raise NO_HEADER(problem=problem, columns=", ".join(COLUMNS))
    return names


def _from_cells(header: list[str], cells: list[str], user: str) -> ServerRecord:
    if len(cells) > len(header):
        raise ValueError(f"{len(cells)} cells, but the header names {len(header)} columns")
    given = {k: v.strip() for k, v in zip(header, cells, strict=False) if v.strip()}
    port = given.get("port", "22")
    if not re.fullmatch(r"[0-9]{1,5}", port):
        raise ValueError(f"the port {port[:40]!r} is not a number")
    identity = given.get("identity")
    return ServerRecord(
        given.get("name", ""), given.get("address", ""), int(port), given.get("user", user), identity,
        given.get("auth", "key" if identity else "agent"), given.get("sudo", "none"), _split(given.get("jump", "")),
        _split(given.get("labels", "")), given.get("group", ""), given.get("store", ServerRecord.store))


def _split(cell: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part for part in re.split(r"[;\s]+", cell) if part))


_HOST_LINE = "Host"


@dataclass(frozen=True)
class _Block:
    """Options under the conditions that all have to hold: each a word of ``Match`` and its patterns, or ``Host``; ``all`` has none. No condition at all holds never."""

    conditions: tuple[tuple[str, tuple[str, ...]], ...]
    options: dict[str, list[str]] = field(default_factory=dict)

    def matches(self, facts: dict[str, str]) -> bool:
        return bool(self.conditions) and all(
            word == "all" or (_fits(patterns, facts[word.lstrip("!")]) != word.startswith("!")) for word, patterns in self.conditions)


def _fits(patterns: tuple[str, ...], text: str) -> bool:
    hits = [p for p in patterns if fnmatch.fnmatchcase(text.lower(), p.lstrip("!").lower().replace("[", "[[]"))]
    return bool(hits) and not any(p.startswith("!") for p in hits)


_OPTIONS = ("hostname", "user", "port", "identityfile", "proxyjump")


MAX_INCLUDE_DEPTH, MAX_INCLUDED_FILES = 16, 200
"""As deep as OpenSSH goes; a configuration of more files is somebody's mistake."""


def parse_ssh_config(text: str, default_user: str | None = None, folder: Path | None = None) -> Imported:
    """Servers of an OpenSSH client configuration: one for each ``Host`` name without a wildcard, and one for each
    jump host that has no ``Host`` of its own. The first value of an option wins, as for ``ssh``.

    ``Include`` is followed where ``folder``, that of the file, is given: names without a path are looked for there.
    ``Match`` is followed for ``all``, ``host``, ``originalhost``, ``user`` and ``localuser``; a block under another
    condition is left out, and said to be. No command of the file is ever run.
    """
    found, user = Imported(), default_user or getpass.getuser()
    blocks = _Reading(found, folder, user).blocks(text)
    aliases = [p for block in blocks for word, patterns in block.conditions for p in patterns
               if word == _HOST_LINE and not re.search(r"[*?!]", p)]
    made: dict[str, ServerRecord] = {}
    for alias in dict.fromkeys(aliases):
        _take(alias, alias, blocks, made, found, user)
    found.records = list(made.values())
    return found


@dataclass
class _Reading:
    """One configuration with the files that it includes."""

    found: Imported
    folder: Path | None
    user: str
    files: int = 0

    def blocks(self, text: str, depth: int = 0, outer: _Block | None = None, where: str = "") -> list[_Block]:
        """The blocks of a text, those of included files in their places."""
        conditions = outer.conditions if outer else (("all", ()),)
        blocks = [_Block(conditions)]
        for number, line in enumerate(text.splitlines(), 1):
            try:
                words = shlex.split(line.replace("=", " ", 1) if re.match(r"\s*\w+\s*=", line) else line, comments=True)
                if words:
                    blocks += self._line(words[0].lower(), words[1:], blocks[-1], conditions, depth)
            except ValueError as problem:
                self.found.problems.append(LineProblem(number, f"{where}{problem}"))
        return blocks

    def _line(self, key: str, values: list[str], block: _Block, outer: tuple, depth: int) -> list[_Block]:
        """The blocks that begin with this line."""
        if not values:
            raise ValueError(f"{key[:40]} has no value")
        more = () if outer == (("all", ()),) else outer
        if key == "host":
            return [_Block((*more, (_HOST_LINE, tuple(values))))]
        if key == "match":
            try:
                return [_Block((*more, *_conditions(values)))]
            except ValueError:
                # Its options must not fall to the block before it.
                self.found.problems.append(LineProblem(0, f"Match {' '.join(values)[:80]} is not followed"))
                return [_Block(())]
        if key == "include":
            return [*self._included(values, block, depth), _Block(block.conditions)]
        if key in _OPTIONS:
            block.options.setdefault(key, []).append(values[0])
        return []

    def _included(self, names: list[str], block: _Block, depth: int) -> list[_Block]:
        if self.folder is None:
            raise ValueError("Include is not followed")
        if depth >= MAX_INCLUDE_DEPTH:
            raise ValueError("Include is nested too deep")
        made: list[_Block] = []
        for name in names:
            path = Path(name).expanduser()
            for file in sorted(glob.glob(str(path if path.is_absolute() else self.folder / path))):
                self.files += 1
                if self.files > MAX_INCLUDED_FILES:
                    raise ValueError(f"more than {MAX_INCLUDED_FILES} files are included")
                try:
                    text = read_text(file)
                except OSError as problem:
                    raise ValueError(f"{file} cannot be read: {problem.strerror}") from None
                except InputError as problem:
                    raise ValueError(problem.message()) from None
                made += self.blocks(text, depth + 1, block, f"{file}: ")
        return made


_MATCHED = ("host", "originalhost", "user", "localuser")


def _conditions(words: list[str]) -> list[tuple[str, tuple[str, ...]]]:
    """The conditions of a ``Match`` line.

    Raises:
        ValueError: one of them is not followed here.
    """
    made: list[tuple[str, tuple[str, ...]]] = []
    rest = list(words)
    while rest:
        word = rest.pop(0).lower()
        if word in ("all", "final", "canonical"):
            if word != "all":
                raise ValueError(word)
            made.append(("all", ()))
        elif word.lstrip("!") in _MATCHED and rest:
            made.append((word, tuple(rest.pop(0).split(","))))
        else:
            raise ValueError(word)
    return made


def _look_up(alias: str, blocks: list[_Block], local_user: str, login: str | None) -> dict[str, str]:
    """The first value of each option. What ``Match host`` and ``Match user`` see is what the lines before them made."""
    options: dict[str, str] = {}
    for block in blocks:
        host = options.get("hostname", "%h").replace("%h", alias).replace("%n", alias)
        facts = {_HOST_LINE: alias, "originalhost": alias, "host": host, "user": login or options.get("user", local_user),
                 "localuser": local_user}
        if block.matches(facts):
            for key, values in block.options.items():
                options.setdefault(key, values[0])
    return options


def _take(alias: str, name: str, blocks: list[_Block], made: dict[str, ServerRecord], found: Imported,
          default_user: str, user: str | None = None, port: int | None = None) -> None:
    """Add the server that ``alias`` means, and its jump hosts before it."""
    if name in made:
        return
    options = _look_up(alias, blocks, default_user, user)
    try:
        number = port or _port(options.get("port", "22"))
        address = _expand(options.get("hostname", "%h"), {"h": alias, "n": alias})
        login = user or options.get("user", default_user)
        tokens = {"h": address, "n": alias, "r": login, "p": str(number), "d": "~", "u": default_user}
        identity = _expand(options["identityfile"], tokens) if "identityfile" in options else None
        if identity and identity.lower() == "none":
            identity = None
        hops = _hops(options.get("proxyjump", "none"))
        record = check(ServerRecord(name, address, number, login, identity, "key" if identity else "agent",
                                    jump=tuple(hop for hop, _user, _port in hops)))
    except (ValueError, SealiftError) as problem:
        found.problems.append(LineProblem(0, f"{alias[:80]}: {problem}"))
        return
    made[name] = record
    for hop, hop_user, hop_port in hops:
        _take(hop, hop, blocks, made, found, default_user, hop_user, hop_port)


def _hops(text: str) -> list[tuple[str, str | None, int | None]]:
    """``user@host:port,…`` as (host, user, port)."""
    hops = []
    for part in text.split(",") if text.lower() != "none" else ():
        match = re.fullmatch(r"(?:ssh://)?(?:([^@]+)@)?(\[[0-9A-Fa-f:.]+\]|[^:@/\s]+)(?::([0-9]{1,5}))?", part.strip())
        if not match:
            raise ValueError(f"the jump host {part[:80]!r} cannot be read")
        hops.append((match[2].strip("[]"), match[1], int(match[3]) if match[3] else None))
    return hops


def _port(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text):
        raise ValueError(f"the port {text[:40]!r} is not a number")
    return int(text)


def _expand(text: str, tokens: dict[str, str]) -> str:
    def one(match: re.Match) -> str:
        if match[1] == "%":
            return "%"
        if match[1] not in tokens:
            raise ValueError(f"the token %{match[1]} is not supported")
        return tokens[match[1]]

    return re.sub(r"%(.)", one, text)
