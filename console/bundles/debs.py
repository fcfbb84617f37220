"""ar archives, of which Debian packages are made: gone through member by member, and read in place.

Layout: deb(5) of dpkg 1.22; ar(5) with the long names of GNU (a table of them) and of BSD (in front of the data).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from console.bundles.tars import MANY, MAX_ENTRIES, OUTSIDE, Limited, Refused, leaves

MAGIC = b"!<arch>\n"
MARK = "debian-binary"
MAX_NAMES_BYTES = 16 << 20
HEADER_BYTES = 60


class Part(Limited):
    """The bytes of one member, of which there are ``size``."""

    def __init__(self, source: Any, name: str, size: int):
        super().__init__(source, size)
        self.name, self.size = name, size


def members(source: Any, size: int) -> Iterator[Part]:
    """Every member of an archive of ``size`` bytes in order; each can be read until the next is asked for.

    Raises:
        Refused: a name that leaves its folder. ValueError, EOFError: it is damaged, or no such archive.
    """
    source.seek(0)
    if source.read(len(MAGIC)) != MAGIC:
        raise ValueError("no ar archive")
    at, count = len(MAGIC), 0
    while at < size:
        source.seek(at)
        header = source.read(HEADER_BYTES)
        digits = header[48:58].rstrip(b" ")
        if len(header) != HEADER_BYTES or header[58:] != b"`\n" or not digits.isdigit():
            raise ValueError("a malformed header")
        length, count = int(digits), count + 1
        if at + HEADER_BYTES + length > size:
            raise EOFError
        if count > MAX_ENTRIES:
            raise Refused(MANY)
        name = header[:16].rstrip(b" ").decode("utf-8", "replace")
        for one in _names(source, name, length):
            if leaves(one):
                raise Refused(OUTSIDE)
        source.seek(at + HEADER_BYTES)
        yield Part(source, name.rstrip("/"), length)
        at += HEADER_BYTES + length + length % 2


def _names(source: Any, name: str, length: int) -> list[str]:
    """The names that a member stands for; one that begins with a slash is the archive's own, or says where in its table a name is."""
    if name.startswith("//") or name.startswith("#1/"):
        wanted = length if name.startswith("//") else min(length, int(name[3:]) if name[3:].isdigit() else 0)
        if wanted > MAX_NAMES_BYTES:
            raise ValueError("names without measure")
        return [one.rstrip("/\x00") for one in source.read(wanted).decode("utf-8", "replace").split("\n")]
    return [] if name[:1] == "/" and (name[1:].isdigit() or name in ("/", "/SYM64/")) else [name]


def parts(source: Any, size: int) -> Iterator[Part]:
    """The members of a Debian package that are tar archives, packed or not; of another ar archive none.

    Raises:
        As :func:`members`.
    """
    package = False
    for number, member in enumerate(members(source, size)):
        package = package or (number == 0 and member.name == MARK)
        if package and member.name.startswith(("control.tar", "data.tar")):
            yield member
