"""A plain PDF of lines of text, for the printed report. Written here because nothing else in the console makes PDF.

Latin text is set in Courier, other text in the Chinese font that PDF readers bring along (Adobe-GB1, STSong-Light), so
that no font has to travel. Form: ISO 32000-1.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator

WIDTH, HEIGHT, MARGIN = 842, 595, 36
SIZE, LEADING = 7, 9.5
ADVANCE = 0.6 * SIZE
"""Courier's characters are 0.6 of the font's size wide."""
CHARACTERS = int((WIDTH - 2 * MARGIN) / ADVANCE)
LINES = int((HEIGHT - 2 * MARGIN) / LEADING)


def document(title: str, lines: Iterable[str]) -> bytes:
    """The PDF of ``lines``, wrapped and broken into pages; ``title`` stands above each page."""
    pages = list(_pages([part for line in lines for part in _wrapped(line)] or [""]))
    objects: list[bytes] = [b"<</Type/Catalog/Pages 2 0 R>>", b"", b"<</Type/Font/Subtype/Type1/BaseFont/Courier/Encoding/WinAnsiEncoding>>",
                            b"<</Type/Font/Subtype/Type0/BaseFont/STSong-Light/Encoding/UniGB-UCS2-H/DescendantFonts[5 0 R]>>",
                            b"<</Type/Font/Subtype/CIDFontType0/BaseFont/STSong-Light/CIDSystemInfo<</Registry(Adobe)/Ordering(GB1)"
                            b"/Supplement 2>>/DW 1000/FontDescriptor 6 0 R>>",
                            b"<</Type/FontDescriptor/FontName/STSong-Light/Flags 6/FontBBox[-25 -254 1000 880]/ItalicAngle 0/Ascent 880"
                            b"/Descent -120/CapHeight 880/StemV 93>>"]
    kids = []
    for number, page in enumerate(pages, 1):
        stream = zlib.compress(_content([f"{title}  -  {number}/{len(pages)}", "", *page]))
        objects.append(b"<</Length %d/Filter/FlateDecode>>\nstream\n%s\nendstream" % (len(stream), stream))
        objects.append(b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 %d %d]/Resources<</Font<</F1 3 0 R/F2 4 0 R>>>>/Contents %d 0 R>>"
                       % (WIDTH, HEIGHT, len(objects)))
        kids.append(b"%d 0 R" % len(objects))
    objects[1] = b"<</Type/Pages/Count %d/Kids[%s]>>" % (len(kids), b" ".join(kids))
    return _file(objects)


def _pages(lines: list[str]) -> Iterator[list[str]]:
    room = LINES - 2
    for start in range(0, len(lines), room):
        yield lines[start : start + room]


def _wrapped(line: str) -> Iterator[str]:
    text, width = "", 0
    for character in line if line.isprintable() else "".join(c if c.isprintable() else " " for c in line):
        step = 1 if _latin(character) else 2
        if width + step > CHARACTERS:
            yield text
            text, width = "    ", 4
        text, width = text + character, width + step
    yield text


def _latin(character: str) -> bool:
    return character.isascii() or (0xA0 <= ord(character) <= 0xFF)


def _content(lines: list[str]) -> bytes:
    out = [b"BT %g TL %d %d Td" % (LEADING, MARGIN, HEIGHT - MARGIN - SIZE)]
    for line in lines:
        at = 0
        while at < len(line):
            latin, end = _latin(line[at]), at
            while end < len(line) and _latin(line[end]) == latin:
                end += 1
            run, at = line[at:end], end
            if latin:
                text = b"".join(b"\\" + bytes([c]) if c in b"()\\" else bytes([c]) for c in run.encode("latin-1"))
                out.append(b"/F1 %d Tf 0 Tc (%s) Tj" % (SIZE, text))
            else:
                # Two Courier cells wide each; what lies outside the basic plane has no place in this encoding.
                plain = "".join(c if ord(c) < 0x10000 else "\ufffd" for c in run)
                out.append(b"/F2 %d Tf %g Tc <%s> Tj" % (SIZE, 2 * ADVANCE - SIZE, plain.encode("utf-16-be").hex().encode()))
        out.append(b"T*")
    return b"\n".join([*out, b"ET"])


def _file(objects: list[bytes]) -> bytes:
    out, places = bytearray(b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n"), []
    for number, body in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % place for place in places)
    out += b"trailer\n<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, table)
    return bytes(out)
