"""Archives that travel as files: gone through in place and never unpacked to disk. What would lead an unpacker astray is refused.

zip (APPNOTE 6.3), tar (POSIX pax and GNU tar's own forms), Debian packages, and tar or anything else below gzip, bzip2, xz or
lzma. The layers of an image that was saved as a tar are gone through too; other archives within archives are not. What is packed
with zstd is carried unread: no reader for it comes with the Python versions that are supported.
"""

from __future__ import annotations

import bz2
import lzma
import re
import stat
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO

from console.bundles import debs, pickles, tars
from console.bundles.tars import MAX_ENTRIES, Refused
from console.i18n import N_

MAX_RATIO = 20
MAX_RATIO_OF_PACKAGES = 100
"""Of 770 Debian packages, two unpack to 22 times their size; a bomb below xz to some thousand times."""
MAX_UNPACKED_BYTES = 64 << 30
MAX_LIST_BYTES = 64 << 20
SMALL_BYTES = 1 << 20
"""Below this, a high ratio is a small file with long runs, and no bomb."""
BLOCK_BYTES = 1 << 20

BOMB = N_("the archive unpacks to far more than its size")
BROKEN = N_("the archive is damaged")
PICKLE = N_("it can hold pickle code; convert the weights to safetensors")

ZIP, TAR, DEB, GZIP, BZIP2, XZ, LZMA = "zip", "tar", "deb", "gzip", "bzip2", "xz", "lzma"
_MAGIC = {b"PK\x03\x04": ZIP, b"PK\x05\x06": ZIP, debs.MAGIC: DEB, b"\x1f\x8b\x08": GZIP, b"BZh": BZIP2, b"\xfd7zXZ\x00": XZ}
_LAYER = re.compile(r"(^|/)(layer\.tar|blobs/sha256/[0-9a-f]{64})$")
_ZIP_MARK = re.compile(rb"PK(\x01\x02|\x03\x04|\x05\x06)")
_SPECIAL = (stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK)
_ZIP64, _UNICODE_NAME = 0x0001, 0x7075
_BROKEN = (zipfile.BadZipFile, ValueError, EOFError, NotImplementedError, UnicodeError, OverflowError, RuntimeError, zlib.error, lzma.LZMAError,
           OSError)


def kind_of(head: bytes) -> str | None:
    """Which archive begins with these bytes (512 of them tell), of those that can be gone through."""
    named = next((kind for magic, kind in _MAGIC.items() if head.startswith(magic)), None)
    return named or (TAR if tars.is_tar(head) else LZMA if _is_lzma(head) else None)


def _is_lzma(head: bytes) -> bool:
    """Whether it begins as the older format of xz does, which has no mark: usual settings, and a size that can be."""
    return head.startswith(b"]\x00\x00") and len(head) > 13 and (head[5:13] == b"\xff" * 8 or int.from_bytes(head[5:13], "little") < 1 << 40)


def problem(head: bytes, size: int, source: BinaryIO, *, layer: bool = False) -> str | None:
    """Why an archive is refused, or None. Everything in it is unpacked into nothing, to see that it is as large as it says.

    Args:
        layer: it is a layer of a container image, whose links and devices are those of another root.

    Raises:
        OSError: the source cannot be read.
    """
    kind = kind_of(head)
    if kind is None and is_zip(source):
        kind = ZIP  # behind something else: a program that unpacks itself, or what is to be taken for something else
    if kind is None:
        return None
    watched = _Watched(source)
    try:
        if kind == ZIP:
            _zip(size, watched, head)
        elif kind == DEB:
            for part in debs.parts(watched, size):
                _tarball(part, part.size * MAX_RATIO_OF_PACKAGES // MAX_RATIO, layer=True)
        else:
            watched.seek(0)
            _tarball(watched, size, layer=layer, seekable=True)
    except Refused as refusal:
        return refusal.reason
    except _BROKEN:
        if watched.failed is not None:
            raise watched.failed from None
        return BROKEN
    return None


def unpacked_bytes(head: bytes, size: int, source: BinaryIO) -> int | None:
    """Bytes that a zip or a plain tar says it unpacks to; None for what does not tell without being unpacked.

    Raises:
        OSError: the source cannot be read.
    """
    kind = kind_of(head)
    watched = _Watched(source)
    try:
        if kind == ZIP:
            with zipfile.ZipFile(_Capped(watched)) as archive:  # type: ignore[arg-type]
                return sum(entry.file_size for entry in archive.infolist())
        if kind == TAR:
            watched.seek(0)
            return tars.go_through(watched, size=size, layer=True)
    except (Refused, *_BROKEN):
        if watched.failed is not None:
            raise watched.failed from None
    return None


def is_zip(source: BinaryIO) -> bool:
    """Whether a zip archive hangs on the end of a file that is something else at its start."""
    watched = _Watched(source)
    try:
        watched.seek(max(0, watched.seek(0, 2) - (1 << 16) - 22))
        if b"PK\x05\x06" not in watched.read((1 << 16) + 22):
            return False  # as nearly all, and this is quicker
        with zipfile.ZipFile(_Capped(watched)) as archive:  # type: ignore[arg-type]
            return bool(archive.infolist())
    except _BROKEN:
        if watched.failed is not None:
            raise watched.failed from None
        return False


def holds_pickles(head: bytes, source: BinaryIO, *, anywhere: bool = True) -> bool:
    """Whether a zip archive is what PyTorch or NumPy write: a pickle among its files, or an array of objects.

    Args:
        anywhere: a pickle under any name; else only where PyTorch puts it.
    """
    if kind_of(head) != ZIP and not is_zip(source):
        return False
    watched = _Watched(source)
    try:
        with zipfile.ZipFile(_Capped(watched)) as archive:  # type: ignore[arg-type]
            names = archive.namelist()[:MAX_ENTRIES]
            endings = (".pkl", ".pickle") if anywhere else ("/data.pkl",)
            if any(f"/{name.lower()}".endswith(endings) for name in names):
                return True
            return any(_of_objects(archive, name) for name in names)  # NumPy goes by content and not by name
    except _BROKEN:
        if watched.failed is not None:
            raise watched.failed from None
        return False


def object_array(head: bytes) -> bool:
    """Whether it is a NumPy array of objects, which are pickled behind its header."""
    if not head.startswith(b"\x93NUMPY"):
        return False
    told = re.search(rb"'descr':\s*(.*?)'fortran_order'", head, re.DOTALL)
    return told is None or b"O" in told[1]


def _of_objects(archive: zipfile.ZipFile, name: str) -> bool:
    with archive.open(name) as held:
        return object_array(held.read(4096))


class _Watched:
    """A source that remembers its own failing, so that a drive that is gone is not taken for a damaged archive."""

    def __init__(self, source: BinaryIO):
        self._source, self.failed = source, None
        self.tell, self.seekable = source.tell, source.seekable

    def read(self, count: int = -1) -> bytes:
        try:
            return self._source.read(count)
        except Exception as trouble:
            self.failed = trouble
            raise

    def seek(self, offset: int, whence: int = 0) -> int:
        if whence == 0 and offset < 0:
            raise ValueError("a place before the file's start")
        return self._source.seek(offset, whence)


class _Capped:
    """A file that gives no more at once than an honest archive's list needs."""

    def __init__(self, source: Any):
        self._source, self.seek, self.tell, self.seekable = source, source.seek, source.tell, source.seekable

    def read(self, count: int = -1) -> bytes:
        if count > MAX_LIST_BYTES:
            raise ValueError("the list of the archive is too large")
        # zipfile reads the archive's tail to the end of the file, without a count.
        data = self._source.read(MAX_LIST_BYTES + 1 if count < 0 else count)
        if len(data) > MAX_LIST_BYTES:
            raise ValueError("the list of the archive is too large")
        return data


def _limit(size: int) -> int:
    return min(MAX_UNPACKED_BYTES, max(SMALL_BYTES, size * MAX_RATIO))


def _judge_total(total: int, size: int) -> None:
    if total > _limit(size):
        raise Refused(BOMB)


# zip -----------------------------------------------------------------------------------------------------------------


def _zip(size: int, source: Any, head: bytes) -> None:
    with zipfile.ZipFile(_Capped(source)) as archive:  # type: ignore[arg-type]
        entries, directory, comment = archive.infolist(), archive.start_dir, archive.comment
    if len(entries) > MAX_ENTRIES:
        raise Refused(tars.MANY)
    names: set[str] = set()
    for entry in entries:
        mode = entry.external_attr >> 16  # nought where no Unix wrote it
        if any(tars.leaves(name) or "\\" in name for name in (entry.orig_filename, entry.filename, *_other_names(entry.extra))):
            raise Refused(tars.OUTSIDE)
        if stat.S_ISLNK(mode):
            raise Refused(tars.LINK)
        if stat.S_IFMT(mode) in _SPECIAL:
            raise Refused(tars.DEVICE)
        if entry.filename in names:
            raise Refused(tars.DISAGREE)
        names.add(entry.filename)
    _judge_total(sum(entry.file_size for entry in entries), size)
    # Readers find the list from the file's end, or go from entry to entry from its start: both must meet the same.
    source.seek(size - 22 - len(comment))
    end = source.read(22)
    if end[:4] != b"PK\x05\x06" or int.from_bytes(end[20:22], "little") != len(comment) or _ZIP_MARK.search(comment):
        raise Refused(tars.DISAGREE)
    entries.sort(key=lambda entry: entry.header_offset)
    at = 0 if kind_of(head) == ZIP else entries[0].header_offset
    for entry in entries:
        _nothing_hidden(source, at, entry.header_offset)
        start = _data_offset(source, entry)
        _unpack(source, entry, start)
        at = start + entry.compress_size
    _nothing_hidden(source, at, directory)


def _nothing_hidden(source: Any, at: int, end: int) -> None:
    """Between what the list of a zip names, no further entry and no further list may stand, and nothing may overlap."""
    if end < at:
        raise Refused(tars.DISAGREE)
    before = b""
    while at < end:
        source.seek(at)
        data = source.read(min(BLOCK_BYTES, end - at))
        if not data:
            raise EOFError
        if _ZIP_MARK.search(before + data):
            raise Refused(tars.DISAGREE)
        before, at = data[-3:], at + len(data)


def _extra(raw: bytes) -> Iterator[tuple[int, bytes]]:
    """The extra fields of an entry: (kind, data)."""
    while len(raw) >= 4:
        kind, length = int.from_bytes(raw[:2], "little"), int.from_bytes(raw[2:4], "little")
        yield kind, raw[4 : 4 + length]
        raw = raw[4 + length :]


def _other_names(extra: bytes) -> list[str]:
    """The name that an entry has besides for readers that know of Unicode."""
    return [data[5:].decode("utf-8", "replace") for kind, data in _extra(extra) if kind == _UNICODE_NAME]


def _data_offset(source: Any, entry: zipfile.ZipInfo) -> int:
    """Where an entry's data begins; the header beside the data must tell of the same entry as the list at the end."""
    source.seek(entry.header_offset)
    raw = source.read(30)
    if len(raw) != 30 or raw[:4] != b"PK\x03\x04":
        raise Refused(tars.DISAGREE)
    flags, method, length, more = (int.from_bytes(raw[at : at + 2], "little") for at in (6, 8, 26, 28))
    name, extra = source.read(length), source.read(more)
    checksum, packed, whole = (int.from_bytes(raw[at : at + 4], "little") for at in (14, 18, 22))
    streamed = bool(flags & 0x08)
    if 0xFFFFFFFF in (packed, whole):
        wide = next((data for kind, data in _extra(extra) if kind == _ZIP64), b"")
        whole, packed = int.from_bytes(wide[:8], "little"), int.from_bytes(wide[8:16], "little")
    same = (streamed or ((packed, whole, checksum) == (entry.compress_size, entry.file_size, entry.CRC))) and method == entry.compress_type
    if not same or name.decode("utf-8" if flags & 0x800 else "cp437", "replace") != entry.orig_filename:
        raise Refused(tars.DISAGREE)
    if any(map(tars.leaves, _other_names(extra))):
        raise Refused(tars.OUTSIDE)
    return entry.header_offset + 30 + length + more


def _unpack(source: Any, entry: zipfile.ZipInfo, offset: int) -> None:
    """See that an entry is as large as it says, and what it was when it was packed."""
    if entry.flag_bits & 0x01 or entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return  # under a password, or packed in a way that no package is: its own numbers have to do
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS) if entry.compress_type == zipfile.ZIP_DEFLATED else None
    source.seek(offset)
    left, total, checksum = entry.compress_size, 0, 0
    while left:
        data = source.read(min(left, BLOCK_BYTES))
        if not data:
            raise EOFError
        left -= len(data)
        while data:
            if unpacker is None:
                plain, data = data, b""
            else:
                plain = unpacker.decompress(data, BLOCK_BYTES)
                data = unpacker.unconsumed_tail
            total += len(plain)
            checksum = zlib.crc32(plain, checksum)
            if total > entry.file_size or (unpacker is not None and unpacker.eof and (data or left or unpacker.unused_data)):
                raise Refused(tars.DISAGREE)
            if not plain:
                break
    while unpacker is not None and not unpacker.eof and (plain := unpacker.decompress(b"", BLOCK_BYTES)):
        total += len(plain)
        checksum = zlib.crc32(plain, checksum)
        if total > entry.file_size:
            raise Refused(tars.DISAGREE)
    if total != entry.file_size:
        raise Refused(tars.DISAGREE)
    if checksum != entry.CRC:
        raise Refused(BROKEN)


# What is packed as a whole -------------------------------------------------------------------------------------------


class _Unpacked:
    """What a packed file holds, as a stream that ends where it becomes a bomb."""

    def __init__(self, kind: str, size: int, source: Any):
        self._source, self._new = source, _NEW[kind]
        self._unpacker: Any = self._new()
        self._limit, self._held, self._pending, self._begun = _limit(size), bytearray(), b"", False
        self.total = 0

    def read(self, count: int) -> bytes:
        while len(self._held) < count and self._more():
            pass
        data = bytes(self._held[:count])
        del self._held[:count]
        return data

    def _more(self) -> bool:
        """Unpack the next piece; False at the end. Several members one after the other are one file."""
        if self._unpacker.eof:
            self._pending = self._unpacker.unused_data or self._pending or self._source.read(BLOCK_BYTES)
            self._pending = self._pending.lstrip(b"\x00")  # filled up to a block, as tapes have it
            if not self._pending:
                return False
            self._unpacker, self._begun = self._new(), False
        data = b""
        if getattr(self._unpacker, "needs_input", True):
            data = self._pending or self._source.read(BLOCK_BYTES)
            self._pending = b""
            if not data:
                raise EOFError
        plain = self._unpacker.decompress(data, BLOCK_BYTES)
        if isinstance(self._unpacker, _Gzip):
            self._pending = self._unpacker.tail
        self._held += plain
        self.total += len(plain)
        if self.total > self._limit:
            raise Refused(BOMB)
        return True


class _Gzip:
    """zlib's object with the manners of the other two."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(zlib.MAX_WBITS | 16)
        self.tail = b""

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, limit: int) -> bytes:
        plain = self._inner.decompress(data, limit)
        self.tail = self._inner.unconsumed_tail
        return plain


_NEW = {GZIP: _Gzip, BZIP2: bz2.BZ2Decompressor, XZ: lambda: lzma.LZMADecompressor(memlimit=512 << 20),
        LZMA: lambda: lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=512 << 20)}


def _tarball(source: Any, size: int, *, layer: bool, seekable: bool = False) -> None:
    """A tar, or what is packed as a whole and may be one, from where ``source`` stands; what is neither is let pass."""
    head = source.read(tars.BLOCK)
    kind, inside = kind_of(head), None if layer else _image_layer
    if seekable:
        source.seek(0)
    else:
        source = tars.Resumed(head, source)
    if kind == TAR:
        _judge_total(tars.go_through(source, size=size if seekable else None, layer=layer, inside=inside), size)
    elif kind in _NEW:
        stream = _Unpacked(kind, size, source)
        head = stream.read(tars.BLOCK)
        rest: Any = tars.Resumed(head, stream)
        if tars.is_tar(head):
            tars.go_through(rest, layer=layer, inside=inside)
        elif is_packed_pickle(rest):
            raise Refused(PICKLE)
        while stream.read(BLOCK_BYTES):
            pass


def _image_layer(name: str, source: tars.Limited, size: int) -> None:
    """Layers of an image that was saved as a tar; other files are not looked at."""
    if _LAYER.search(name):
        # The contents of a layer that is not packed are passed over, where the file can be moved about in.
        _tarball(source, size, layer=True, seekable=isinstance(source, tars.Span))


def is_packed_pickle(stream: Any) -> bool:
    """Whether what a packed file holds would run as a pickle."""
    forward = _Forward(stream)
    head = forward.peek(2)
    return len(head) == 2 and head[0] == 0x80 and 2 <= head[1] <= 5 or pickles.is_pickle(forward, 1 << 62, patient=False)


class _Forward:
    """A stream with lines, and a place that can be moved ahead."""

    def __init__(self, stream: Any):
        self._stream, self._held, self._at, self._before = stream, b"", 0, 0

    def peek(self, count: int) -> bytes:
        """The next bytes, which stay."""
        while len(self._held) - self._at < count and (data := self._stream.read(BLOCK_BYTES)):
            self._before += self._at
            self._held, self._at = self._held[self._at :] + data, 0
        return self._held[self._at : self._at + count]

    def read(self, count: int) -> bytes:
        data = self.peek(count)
        self._at += len(data)
        return data

    def readline(self, limit: int) -> bytes:
        self.peek(limit)
        end = self._held.find(b"\n", self._at, self._at + limit)
        return self.read(end + 1 - self._at if end >= 0 else limit)

    def tell(self) -> int:
        return self._before + self._at

    def seek(self, target: int) -> None:
        while (left := target - self.tell()) > 0 and self.read(min(left, BLOCK_BYTES)):
            pass
