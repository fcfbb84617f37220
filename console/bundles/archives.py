"""Archives that travel as files: listed in place and never unpacked. What an unpacker could be led astray by is refused."""

from __future__ import annotations

import posixpath
import stat
import tarfile
import zipfile
from typing import BinaryIO

from console.i18n import N_

MAX_ENTRIES = 100_000
MAX_RATIO = 20
MAX_UNPACKED_BYTES = 64 << 30
MAX_LIST_BYTES = 64 << 20
SMALL_BYTES = 1 << 20
"""Below this, a high ratio is a small file with long runs, and no bomb."""

MANY = N_("the archive holds more than 100,000 entries")
BOMB = N_("the archive unpacks to far more than its size")
OUTSIDE = N_("the archive holds a name that leaves its folder")
LINK = N_("the archive holds a link that leaves its folder")
DEVICE = N_("the archive holds a device or another special file")
DISAGREE = N_("the archive says two things about its entries")
BROKEN = N_("the archive is damaged")


class _Capped:
    """A file that gives no more at once than an honest archive's list needs."""

    def __init__(self, source: BinaryIO):
        self._source, self.seek, self.tell, self.seekable = source, source.seek, source.tell, source.seekable

    def read(self, count: int = -1) -> bytes:
        if count > MAX_LIST_BYTES:
            raise ValueError("the list of the archive is too large")
        # zipfile reads the archive's tail to the end of the file, without a count.
        data = self._source.read(MAX_LIST_BYTES + 1 if count < 0 else count)
        if len(data) > MAX_LIST_BYTES:
            raise ValueError("the list of the archive is too large")
        return data


def problem(head: bytes, size: int, source: BinaryIO) -> tuple[str | None, int | None]:
    """(why an archive is refused or None, bytes that it unpacks to or None when that is not told).

    Only zip and plain tar are listed; what is compressed as a whole has no list to read without unpacking.
    """
    try:
        if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
            return _zip(size, source)
        if head[257:262] == b"ustar":
            return _tar(size, source)
    except (zipfile.BadZipFile, tarfile.TarError, ValueError, EOFError, NotImplementedError, UnicodeError, OverflowError,
            RuntimeError):
        return BROKEN, None
    return None, None


def is_zip(source: BinaryIO) -> bool:
    """Whether a zip archive hangs on the end of a file that is something else at its start."""
    try:
        with zipfile.ZipFile(_Capped(source)) as archive:  # type: ignore[arg-type]
            return bool(archive.infolist())
    except (zipfile.BadZipFile, ValueError, EOFError, NotImplementedError, UnicodeError, OverflowError, RuntimeError):
        return False


def _zip(size: int, source: BinaryIO) -> tuple[str | None, int | None]:
    with zipfile.ZipFile(_Capped(source)) as archive:  # type: ignore[arg-type]
        total = 0
        entries = archive.infolist()
        if len(entries) > MAX_ENTRIES:
            return MANY, None
        names: set[str] = set()
        for entry in entries:
            total += entry.file_size
            mode = entry.external_attr >> 16 if entry.create_system == 3 else 0
            if _leaves(entry.orig_filename) or "\\" in entry.orig_filename:
                return OUTSIDE, None
            if stat.S_ISLNK(mode):
                return LINK, None
            if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
                return DEVICE, None
            if entry.filename in names:
                return DISAGREE, None
            names.add(entry.filename)
            if not _local_agrees(source, entry):
                return DISAGREE, None
        return _too_much(total, size), total


def _local_agrees(source: BinaryIO, entry: zipfile.ZipInfo) -> bool:
    """Whether the header beside the data tells of the same entry as the list at the end."""
    source.seek(entry.header_offset)
    raw = source.read(30)
    if len(raw) != 30 or raw[:4] != b"PK\x03\x04":
        return False
    length = int.from_bytes(raw[26:28], "little")
    name = source.read(length)
    encoding = "utf-8" if int.from_bytes(raw[6:8], "little") & 0x800 else "cp437"
    packed, whole = int.from_bytes(raw[18:22], "little"), int.from_bytes(raw[22:26], "little")
    streamed = bool(int.from_bytes(raw[6:8], "little") & 0x08)
    sizes = streamed or 0xFFFFFFFF in (packed, whole) or (packed, whole) == (entry.compress_size, entry.file_size)
    return sizes and name.decode(encoding, "replace") == entry.orig_filename


def _tar(size: int, source: BinaryIO) -> tuple[str | None, int | None]:
    total = count = 0
    with tarfile.open(fileobj=source, mode="r:") as archive:
        for member in archive:
            count += 1
            if count > MAX_ENTRIES:
                return MANY, None
            archive.members = []  # the list that tarfile keeps would grow with the archive
            total += member.size
            if _leaves(member.name):
                return OUTSIDE, None
            if (member.issym() or member.islnk()) and _link_leaves(member):
                return LINK, None
            if not (member.isfile() or member.isdir() or member.issym() or member.islnk()):
                return DEVICE, None
    return _too_much(total, size), total


def _leaves(name: str) -> bool:
    return name.startswith(("/", "\\")) or ".." in name.replace("\\", "/").split("/") or name[1:2] == ":" or "\x00" in name


def _link_leaves(member: tarfile.TarInfo) -> bool:
    target = member.linkname
    if member.issym():
        target = posixpath.join(posixpath.dirname(member.name), target)
    whole = posixpath.normpath(target)
    return member.linkname.startswith("/") or whole == ".." or whole.startswith(("../", "/"))


def _too_much(total: int, size: int) -> str | None:
    return BOMB if total > MAX_UNPACKED_BYTES or (total > SMALL_BYTES and total > size * MAX_RATIO) else None
