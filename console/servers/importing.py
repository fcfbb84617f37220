"""Servers from files: what every kind of file has in common, and the CSV table."""

from __future__ import annotations

import csv
import getpass
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from console.errors import InputError, SealiftError, code, why
from console.i18n import N_, Said
from console.servers.record import ServerRecord, check

NO_HEADER = code("server.csv-header", InputError, N_("The first line of the table must name its columns; {problem}."),
                 N_("Use the columns {columns}; name and address are needed, the others may be left out."))
NOT_TEXT = code("server.import-not-text", InputError, N_("{path} is not a text file in UTF-8; line {line} is not."),
                N_("Save it as UTF-8 text and try again; a spreadsheet program calls that CSV UTF-8."))
TOO_LARGE = code("server.import-too-large", InputError, N_("{path} is larger than {limit_bytes} bytes."),
                 N_("Split the file."))

COLUMNS = ("name", "address", "port", "user", "auth", "identity", "sudo", "jump", "labels", "group", "store")
DELIMITERS = ",;\t"
"""What may stand between cells; spreadsheet programs write a semicolon where the comma is for decimals."""

MAX_FILE_BYTES = 4 << 20
MAX_LINE_ERRORS = 1000


@dataclass(frozen=True)
class LineProblem:
    """What is wrong with one line of a file, counted from 1; 0 where no single line is. ``text`` names the value, and can
    be rendered in the reader's language."""

    line: int
    text: str


@dataclass
class Imported:
    """What a file holds: servers in file order, every line that could not be used, and on which line of a table each server is."""

    records: list[ServerRecord] = field(default_factory=list)
    problems: list[LineProblem] = field(default_factory=list)
    lines: dict[str, int] = field(default_factory=dict)

    def not_taken(self, name: str, problem: SealiftError) -> LineProblem:
        """What to tell of a server that the file holds, and that was refused only by the book."""
        return LineProblem(self.lines.get(name, 0), Said(N_("{host}: {problem}"), host=name, problem=problem.said()))


def read_text(path) -> str:
    """The text of a small file: UTF-8, or UTF-16 that says so by its first bytes.

    Raises:
        InputError: too large, or no text.
    """
    with open(path, "rb") as file:
        raw = file.read(MAX_FILE_BYTES + 1)
    if len(raw) > MAX_FILE_BYTES:
        raise TOO_LARGE(path=str(path), limit_bytes=MAX_FILE_BYTES)
    form = "utf-16" if raw.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    try:
        return raw.decode(form)
    except UnicodeDecodeError as problem:
        raise NOT_TEXT(path=str(path), line=raw.count(b"\n", 0, problem.start) + 1) from None


def parse_csv(text: str, default_user: str | None = None) -> Imported:
    """Read a table with a header. Cells stand between commas, semicolons or tabs, whichever the header has. Several jump
    hosts or labels in one cell are separated by spaces or semicolons.

    Raises:
        InputError: ``server.csv-header``; lines that are wrong are reported in the result.
    """
    rows = _Rows(text)
    header, found = _header(rows), Imported(problems=rows.problems)
    for line, cells in rows:
        try:
            record = check(_from_cells(header, cells, default_user or getpass.getuser()))
            if record.name in found.lines:
                raise ValueError(Said(N_("the name {name} is on line {line} already"), name=record.name, line=found.lines[record.name]))
        except (ValueError, SealiftError) as problem:
            rows.note(line, why(problem))
        else:
            found.lines[record.name] = line
            found.records.append(record)
    return found


class _Rows:
    """The filled rows of a table, each with the number of its first line; a row that is no CSV becomes a problem."""

    def __init__(self, text: str):
        lines = io.StringIO(text, newline="").readlines()
        first = next((n for n, line in enumerate(lines) if line.strip() and not _is_remark(line)), 0)
        said = re.fullmatch(r'\s*"?sep=([,;\t])"?\s*', lines[first]) if lines else None
        # A line by which one spreadsheet program tells itself what separates the cells is no row.
        self._skipped = first + 1 if said else first
        self._delimiter = said[1] if said else max(DELIMITERS, key=lines[first].count) if lines else ","
        self._rest, self.problems = "".join(lines[self._skipped:]), list[LineProblem]()
        self._numbered = self._read()

    def __iter__(self) -> Iterator[tuple[int, list[str]]]:
        return self._numbered

    def _read(self) -> Iterator[tuple[int, list[str]]]:
        rows = csv.reader(io.StringIO(self._rest, newline=""), strict=True, delimiter=self._delimiter)
        while len(self.problems) < MAX_LINE_ERRORS:
            line = self._skipped + rows.line_num + 1
            try:
                cells = next(rows, None)
            except csv.Error as problem:
                self.note(line, Said(N_("this is not CSV: {problem}"), problem=str(problem)))
                continue
            if cells is None:
                return
            if any(cell.strip() for cell in cells) and not _is_remark(cells[0]):
                yield line, cells

    def note(self, line: int, text: str) -> None:
        """Keep a problem."""
        self.problems.append(LineProblem(line, text))


def _is_remark(text: str) -> bool:
    return text.lstrip().startswith("#")


def _header(rows: _Rows) -> list[str]:
    _line, cells = next(iter(rows), (0, []))
    names = [c.strip().lower() for c in cells]
    while names and not names[-1]:
        names.pop()  # spreadsheets leave empty columns at the end
    names = ["identity" if n == "identity_file" else n for n in names]
    unknown = [n for n in names if n not in COLUMNS]
    missing = [n for n in ("name", "address") if n not in names]
    problem = (Said(N_("unknown: {names}"), names=", ".join(unknown)[:200]) if unknown
               else Said(N_("missing: {names}"), names=", ".join(missing)) if missing
               else Said(N_("a column is there twice")) if len(set(names)) < len(names) else "")
    if problem:
        raise NO_HEADER(problem=problem, columns=", ".join(COLUMNS))
    return names


def _from_cells(header: list[str], cells: list[str], user: str) -> ServerRecord:
    if any(cell.strip() for cell in cells[len(header):]):
        raise ValueError(Said(N_("{count} cells, but the header names {columns} columns"), count=len(cells), columns=len(header)))
    given = {k: v.strip() for k, v in zip(header, cells, strict=False) if v.strip()}
    identity = given.get("identity")
    return ServerRecord(
        given.get("name", ""), given.get("address", ""), port_number(given.get("port", "22")), given.get("user", user), identity,
        given.get("auth", "key" if identity else "agent"), given.get("sudo", "none"), _split(given.get("jump", "")),
        _split(given.get("labels", "")), given.get("group", ""), given.get("store", ServerRecord.store))


def port_number(text: str) -> int:
    """A port as a number; whether there is such a port is judged with the rest of the record.

    Raises:
        ValueError: it is no number.
    """
    if not re.fullmatch(r"[0-9]{1,5}", text):
        raise ValueError(Said(N_("the port {port} is not a number"), port=repr(text[:40])))
    return int(text)


def _split(cell: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part for part in re.split(r"[;\s]+", cell) if part))
