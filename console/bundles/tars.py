"""tar archives, gone through header by header from a stream: names, links, kinds and sizes, in POSIX pax form and GNU tar's own.

A walker of our own, because the standard library's reads an extended header of any length into memory, and takes a header that
it does not understand for the archive's end, behind which others go on unpacking.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable
from typing import Any

from console.i18n import N_

BLOCK = 512
MAX_ENTRIES = 100_000
MAX_EXTENDED_BYTES = 1 << 20
MAX_PLAIN_BYTES = 8 << 30
"""A size below this fits into a header's eleven octal digits."""

MANY = N_("the archive holds more than 100,000 entries")
OUTSIDE = N_("the archive holds a name that leaves its folder")
LINK = N_("the archive holds a link that leaves its folder")
DEVICE = N_("the archive holds a device or another special file")
DISAGREE = N_("the archive says two things about its entries")


class Refused(Exception):
    """An archive that is refused, with the reason."""

    def __init__(self, reason: str):
        super().__init__(reason)
        self.reason = reason


class Resumed:
    """A stream of which the beginning was read already."""

    def __init__(self, head: bytes, stream: Any):
        self._head, self._stream = head, stream

    def read(self, count: int) -> bytes:
        """Up to ``count`` bytes."""
        if self._head:
            data, self._head = self._head[:count], self._head[count:]
            return data
        return self._stream.read(count)


class Limited:
    """So many bytes of a stream, and then its end."""

    def __init__(self, stream: Any, left: int):
        self._stream, self.left = stream, left

    def read(self, count: int) -> bytes:
        """Up to ``count`` bytes."""
        data = self._stream.read(min(count, self.left))
        self.left -= len(data)
        return data


class Span(Limited):
    """So many bytes of a file from ``start`` on, to be moved about in."""

    def __init__(self, source: Any, start: int, size: int):
        super().__init__(source, size)
        self._start, self._size = start, size

    def seek(self, at: int) -> None:
        """Move to a place within them."""
        self._stream.seek(self._start + at)
        self.left = max(0, self._size - at)


Inside = Callable[[str, Limited, int], None]
"""Looks at one file of an archive: its name, its bytes, how many they are."""


def leaves(name: str) -> bool:
    """Whether a name within an archive leads out of the folder that it is unpacked into."""
    return name.startswith(("/", "\\")) or ".." in name.replace("\\", "/").split("/") or name[1:2] == ":" or "\x00" in name


def is_tar(head: bytes) -> bool:
    """Whether a tar archive begins with these bytes, also one of the time before its format had a mark."""
    if head[257:262] == b"ustar":
        return True
    digits = head[148:156].strip(b" \x00")
    if len(head) < BLOCK or not digits.isdigit() or not head[0]:
        return False
    try:
        return _checked(head[:BLOCK])
    except ValueError:
        return False


def go_through(source: Any, *, size: int | None = None, layer: bool = False, inside: Inside | None = None) -> int:
    """Bytes that the archive unpacks to.

    Args:
        source: stands at the archive's start.
        size: of the archive where ``source`` can seek; then the contents of its files are not read.
        layer: of a container image, or the contents of a package: its links and devices are those of another root and are let pass.
        inside: is given every file.

    Raises:
        Refused: an entry that is not let pass. ValueError, EOFError: it is damaged.
    """
    return _Walk(source, size, layer, inside).run()


class _Walk:
    def __init__(self, source: Any, size: int | None, layer: bool, inside: Inside | None):
        self._source, self._size, self._layer, self._inside, self._at = source, size, layer, inside, 0
        self._links: set[str] = set()
        self._global: dict[str, str] = {}

    def run(self) -> int:
        total = count = 0
        extended: dict[str, str] = {}
        while (header := self._read(BLOCK, ends=True)) and header.strip(b"\x00"):
            size, kind = self._header(header)
            if kind in b"LKxgX":
                self._extend(kind, self._data(size), extended)
                continue
            told = self._global | extended
            extended = {}
            count += 1
            if count > MAX_ENTRIES:
                raise Refused(MANY)
            told_size = int(told.get("size", size))
            if (told_size < MAX_PLAIN_BYTES and told_size != size) or (size and kind in b"123456"):
                raise Refused(DISAGREE)  # where the next entry begins would be another place for other readers
            name, whole = self._entry(header, kind, told_size, told)
            total += whole
            if kind in b"123456":
                continue
            if self._inside is not None and kind in b"07\x00":
                self._look_inside(name, told_size)
            else:
                self._pass_over(told_size)
        while data := self._source.read(1 << 16):
            if data.strip(b"\x00"):
                raise Refused(DISAGREE)  # some unpackers go on behind the end
        return total

    def _header(self, header: bytes) -> tuple[int, bytes]:
        """(size, kind) of a header whose checksum is right."""
        if not _checked(header):
            raise ValueError("a wrong checksum")
        return _number(header[124:136]), header[156:157]

    def _entry(self, header: bytes, kind: bytes, size: int, told: dict[str, str]) -> tuple[str, int]:
        """Judge one entry; its name and the bytes that it unpacks to."""
        name = told.get("path") or _text(header[:100])
        if "path" not in told and header[257:263] == b"ustar\x00" and header[345:500].strip(b"\x00"):
            name = f"{_text(header[345:500])}/{name}"
        if leaves(name) or (self._layer and _whites_out_folders(name)):
            raise Refused(OUTSIDE)
        name = told.get("GNU.sparse.name", name)
        if leaves(name):
            raise Refused(OUTSIDE)
        if kind in b"12":
            self._link(kind, name, told.get("linkpath") or _text(header[157:257]))
        if kind in b"346M" and not (self._layer and kind in b"34"):
            raise Refused(DEVICE)
        if not self._layer and any(part in self._links for part in _parents(name)):
            raise Refused(LINK)
        whole = int(told.get("GNU.sparse.realsize", told.get("GNU.sparse.size", size)))
        if kind == b"S":  # GNU's old form of files with holes
            whole = _number(header[483:495])
            more = header[482]
            while more:
                more = self._read(BLOCK)[504]
        return name, whole if kind not in b"123456" else 0

    def _link(self, kind: bytes, name: str, target: str) -> None:
        if self._layer:
            # A symbolic link is followed within the layer's root; a hard link is made while it is unpacked.
            if kind == b"1" and leaves(target.lstrip("/")):
                raise Refused(LINK)
            return
        place = posixpath.normpath(posixpath.join(posixpath.dirname(name), target) if kind == b"2" else target)
        parts = target.split("/")
        behind = parts[next((n for n, part in enumerate(parts) if part not in ("..", ".", "")), len(parts)) :]
        # What goes back behind a name may go back from somewhere else, where that name is itself a link.
        if target.startswith("/") or "\x00" in target or place == ".." or place.startswith("../") or ".." in behind:
            raise Refused(LINK)
        if kind == b"2":
            self._links.add(posixpath.normpath(name))

    def _extend(self, kind: bytes, data: bytes, extended: dict[str, str]) -> None:
        if kind in b"LK":
            self._note("path" if kind == b"L" else "linkpath", _text(data), extended)
            return
        into = self._global if kind == b"g" else extended
        while data:
            length, _, rest = data.partition(b" ")
            if not length.isdigit() or not len(length) + 1 < int(length) <= len(data):
                raise ValueError("a malformed extended header")
            key, _, value = data[len(length) + 1 : int(length)].rstrip(b"\n").partition(b"=")
            self._note(key.decode("utf-8", "surrogateescape"), value.decode("utf-8", "surrogateescape"), into)
            data = data[int(length) :]
        for name in ("size", "GNU.sparse.realsize", "GNU.sparse.size"):
            if name in into and not into[name].isdecimal():
                raise ValueError("a malformed extended header")

    def _note(self, key: str, value: str, into: dict[str, str]) -> None:
        # Which of two names or sizes counts, and whether one for all entries does, is another answer with every reader.
        if key in ("path", "linkpath", "size") and (into is self._global or into.get(key, value) != value):
            raise Refused(DISAGREE)
        into[key] = value

    def _look_inside(self, name: str, size: int) -> None:
        end = self._at + size
        if self._size is not None and end > self._size:
            raise EOFError
        held = Limited(self._source, size) if self._size is None else Span(self._source, self._at, size)
        if self._inside is not None:
            self._inside(name, held, size)
        if self._size is not None:
            self._pass_over(size)
            return
        while held.left and held.read(1 << 16):
            pass
        if held.left:
            raise EOFError
        self._at = end
        if size % BLOCK:
            self._read(BLOCK - size % BLOCK)

    def _data(self, size: int) -> bytes:
        if size > MAX_EXTENDED_BYTES:
            raise ValueError("an extended header without measure")
        return self._read(-(-size // BLOCK) * BLOCK)[:size]

    def _read(self, count: int, *, ends: bool = False) -> bytes:
        parts, have = [], 0
        while have < count and (data := self._source.read(count - have)):
            parts.append(data)
            have += len(data)
        if have < count and (have or not ends):
            raise EOFError
        self._at += have
        return b"".join(parts)

    def _pass_over(self, size: int) -> None:
        left = -(-size // BLOCK) * BLOCK
        self._at += left
        if self._size is not None:
            if self._at > self._size:
                raise EOFError
            self._source.seek(self._at)
            return
        while left:
            data = self._source.read(min(left, 1 << 20))
            if not data:
                raise EOFError
            left -= len(data)


def _whites_out_folders(name: str) -> bool:
    """Whether an entry of a layer would take away the folder that it is in, or the one above, in place of a file: such entries
    name what they take away behind a prefix."""
    return any(part in (".wh.", ".wh..", ".wh...") for part in name.split("/"))


def _checked(header: bytes) -> bool:
    """Whether a header's checksum is right; some writers count bytes as signed."""
    told = _number(header[148:156])
    plain = sum(header) - sum(header[148:156]) + 8 * 32
    return told in (plain, plain - 256 * sum(byte > 127 for byte in header[:148] + header[156:]))


def _number(field: bytes) -> int:
    """A number in octal digits, or in base 256 where its first bit is set."""
    if field[:1] >= b"\x80":
        number = int.from_bytes(field, "big") - (0x80 << 8 * (len(field) - 1))
        if field[0] == 0xFF:
            raise ValueError("a negative number")
        return number
    digits = field.strip(b" \x00")
    return int(digits, 8) if digits else 0


def _text(field: bytes) -> str:
    return field.split(b"\x00", 1)[0].decode("utf-8", "surrogateescape")


def _parents(name: str) -> list[str]:
    parts = posixpath.normpath(name).split("/")
    return ["/".join(parts[:depth]) for depth in range(1, len(parts))]
