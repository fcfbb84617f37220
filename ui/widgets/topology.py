"""One server drawn: its devices as tiles in the order of their topology, and what joins them.

``lay_out`` says where everything goes, at one of four levels of detail; ``draw`` draws it. Neither knows of the others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from PySide6.QtCore import QLineF, QPoint, QPointF, QRect, QRectF, Qt
from PySide6.QtGui import QColor, QFont, QFontMetrics, QPainter, QPainterPath, QPen, QPixmap

from console import units
from console.errors import shown
from console.i18n import N_
from ui import icons, theme
from ui.models.servers import HEALTH, SERVER_STATES, DeviceKey, ServerView, filled, key_of
from ui.models.topology import Fabric, Node, Topology

Say = Callable[..., str]
_VCENTRE = int(Qt.AlignmentFlag.AlignVCenter)
_CENTRE = int(Qt.AlignmentFlag.AlignCenter)
_RIGHT = int(Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignRight)


@dataclass(frozen=True)
class Level:
    """A level of detail, in pixels.

    Attributes:
        id: its name in the window's memory.
        word: its name for people.
        tile: width and height of a device.
        gap: between devices.
        card: width of a server.
        pad: from a server's edge to what is in it.
        head: height of what stands above the devices.
        joined: whether nodes and fabrics are drawn.
    """

    id: str
    word: str
    tile: tuple[int, int]
    gap: int
    card: int
    pad: int
    head: int
    joined: bool


LARGE = Level("large", N_("Large"), (70, 92), 7, 668, 16, 54, True)
MEDIUM = Level("medium", N_("Medium"), (46, 62), 6, 472, 15, 52, True)
SMALL = Level("small", N_("Small"), (31, 44), 5, 346, 14, 50, True)
COMPACT = Level("compact", N_("Compact"), (15, 20), 3, 164, 8, 22, False)
OVERVIEW = Level("overview", N_("Overview"), (7, 11), 1, 76, 5, 15, False)
LEVELS = (LARGE, MEDIUM, SMALL, COMPACT, OVERVIEW)

BOX_EDGE, BOX_LABEL, BOX_GAP, BUS = 4, 16, 5, 9
ROW = 8
"""Devices in a row of tiles."""
CAPTION = 20
"""Height of the line that names the fabric."""
ARCS = 26
"""Height of the room for links that join only some devices."""
EXPECTED = 8
"""Tiles for which a server keeps room before it was asked: most servers of this kind carry as many."""

FABRICS = {"nvlink": "NVLink", "hccs": "HCCS", "xgmi": "XGMI"}


@dataclass(frozen=True)
class CardPlan:
    """Where everything of a server goes, from its own corner: devices by key, boxes of nodes, outlines of switches."""

    width: int
    height: int
    tiles: tuple[tuple[DeviceKey, QRect], ...]
    boxes: tuple[tuple[Node, QRect], ...] = ()
    switches: tuple[QRect, ...] = ()
    rows: tuple[int, ...] = ()
    caption: QRect | None = None

    def at(self, point: QPoint) -> DeviceKey | None:
        """The device at a point of the server."""
        return next((key for key, where in self.tiles if where.contains(point)), None)

    def where(self, key: DeviceKey | None) -> QRect | None:
        """The place of a device."""
        return next((where for known, where in self.tiles if known == key), None)


def lay_out(view: ServerView, level: Level) -> CardPlan:
    """Where the parts of a server go."""
    return _joined(view, level) if level.joined and view.devices else _plain(view, level)


def _plain(view: ServerView, level: Level) -> CardPlan:
    """Tiles in rows, a wider gap in the middle of a row of eight; by number, since nothing says here to which node they belong."""
    (wide, high), tiles = level.tile, []
    order = sorted((place for node in view.topology.nodes for place in node.places),
                   key=lambda place: (view.devices[place].vendor, view.devices[place].index))
    for number, place in enumerate(order):
        line, spot = divmod(number, ROW)
        left = level.pad + spot * (wide + level.gap) + (spot * 2 >= ROW) * 2 * level.gap
        tiles.append((key_of(view.devices[place]), QRect(left, level.head + line * (high + level.gap), wide, high)))
    rows = max(1, -(-len(order) // ROW))
    height = level.head + rows * (high + level.gap) - level.gap + level.pad
    if level.joined:  # as high as the same server once its devices are known, so that the others keep their places
        height = level.head + BOX_LABEL + high + BOX_EDGE + BUS + CAPTION + level.pad
    return CardPlan(level.card, height, tuple(tiles))


def _joined(view: ServerView, level: Level) -> CardPlan:
    """Boxes of nodes beside and below each other, their tiles in rows of at most eight, and the fabric's line."""
    topology, boxes, tiles, switches, rows = view.topology, [], [], [], []
    left, top, lowest = level.pad, level.head, level.head
    begins = _line_begins([_box_size(node, level)[0] for node in topology.nodes], level.card - 2 * level.pad)
    for number, node in enumerate(topology.nodes):
        width, height = _box_size(node, level)
        if number in begins:
            left, top = level.pad, lowest + BUS + BOX_GAP
        box = QRect(left, top, width, height)
        boxes.append((node, box))
        placed = _fill(view, node, box, level)
        tiles += placed.items()
        rows += [where.bottom() for where in placed.values()]
        switches += _outlines(view, node, placed)
        left, lowest = left + width + BOX_GAP, max(lowest, top + height)
    arcs = ARCS if any(not fabric.whole for fabric in topology.fabrics) else 0
    caption = QRect(level.pad, lowest + BUS + arcs, level.card - 2 * level.pad, CAPTION)
    return CardPlan(level.card, caption.bottom() + level.pad - 2, tuple(tiles), tuple(boxes), tuple(switches),
                    tuple(sorted(set(rows))), caption)


def _line_begins(widths: list[int], room: int) -> set[int]:
    """Which boxes begin a line of their own: as few lines as there can be, as equally filled as there can be."""
    def broken(limit: int) -> list[int]:
        begins, used = [], 0
        for number, width in enumerate(widths):
            if used and used + BOX_GAP + width > limit:
                begins.append(number)
                used = 0
            used += width + (BOX_GAP if used else 0)
        return begins

    fewest = len(broken(room))
    narrowest = next((limit for limit in range(max(widths, default=0), room, 8) if len(broken(limit)) == fewest), room) if fewest else room
    return set(broken(narrowest))


def _box_size(node: Node, level: Level) -> tuple[int, int]:
    (wide, high), count = level.tile, len(node.places)
    across, down = min(count, ROW), -(-count // ROW)
    ports = PORTS if any(part.ports for part in node.parts) else 0
    return (max(across * (wide + level.gap) - level.gap + 2 * BOX_EDGE, 58),
            BOX_LABEL + down * (high + BUS + ports) - BUS + BOX_EDGE)


PORTS = 12
"""Height of the line that names the network ports behind a switch."""


def _fill(view: ServerView, node: Node, box: QRect, level: Level) -> dict[DeviceKey, QRect]:
    (wide, high), found = level.tile, {}
    ports = PORTS if any(part.ports for part in node.parts) else 0
    for number, place in enumerate(node.places):
        line, spot = divmod(number, ROW)
        found[key_of(view.devices[place])] = QRect(box.left() + BOX_EDGE + spot * (wide + level.gap),
                                                   box.top() + BOX_LABEL + line * (high + BUS + ports), wide, high)
    return found


def _outlines(view: ServerView, node: Node, placed: dict[DeviceKey, QRect]) -> list[QRect]:
    found = []
    for part in node.parts:
        if part.switch:
            lines: dict[int, QRect] = {}
            for place in part.places:
                where = placed[key_of(view.devices[place])]
                lines[where.top()] = lines.get(where.top(), where).united(where)
            found += [where.adjusted(-2, -2, 2, PORTS + 1 if part.ports else 2) for where in lines.values()]
    return found


# -- words --------------------------------------------------------------------------------------------------------


def topology_words(topology: Topology, say: Say) -> str:
    """What joins the devices, in one line."""
    if not topology.told:
        return say(N_("The links were not told"))
    if not topology.fabrics:
        return "PCIe"
    kinds = {(f.kind, f.links, f.whole, f.switched) for f in topology.fabrics}
    kind, links, whole, switched = next(iter(kinds))
    name = " · ".join(sorted({FABRICS[f.kind] for f in topology.fabrics})) if len(kinds) > 1 else FABRICS[kind]
    if len(kinds) == 1 and links:
        name += f" ×{links}"
    if len(topology.fabrics) > 1:
        return say(N_("{fabric}, {count} groups"), fabric=name, count=len(topology.fabrics))
    if switched:
        return say(N_("{fabric} through NVSwitch"), fabric=name) if kind == "nvlink" else \
            say(N_("{fabric} through switches"), fabric=name)
    return say(N_("{fabric}, each to each"), fabric=name) if whole else name


def node_words(node: Node, say: Say) -> str:
    """The heading of a node."""
    if not node.label:
        return ""
    return say(N_("CPUs {numbers}"), numbers=node.label) if node.by_cpus else f"NUMA {node.label}"


def state_of(view: ServerView, say: Say, asking: bool = False) -> tuple[str, str, str]:
    """Tone, icon and word of a server's state."""
    if asking:
        return "info", "clock", say(N_("Being asked…"))
    tone, word = SERVER_STATES[view.state]
    return tone, icons.TONE_ICONS[tone], say(word)


# -- drawing ------------------------------------------------------------------------------------------------------


Tiles = dict[tuple, QPixmap]
"""Small tiles that were painted before, by what they show; whoever draws keeps them while there is a screen."""


def draw(painter: QPainter, view: ServerView, plan: CardPlan, level: Level, say: Say, tiles: Tiles, asking: bool = False) -> None:
    """Draw a server at the origin, without what depends on the pointer and the keyboard."""
    shades = theme.palette()
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    tone, _icon, _word = state_of(view, say, asking)
    needs_a_person = tone in ("fail", "warn")
    painter.setPen(QPen(shades.tone(tone) if needs_a_person else QColor(shades.border), 1))
    painter.setBrush(QColor(shades.surface))
    radius = 8 if level.joined else 5 if level is COMPACT else 3
    painter.drawRoundedRect(QRectF(0.5, 0.5, plan.width - 1, plan.height - 1), radius, radius)
    (_head_full if level.joined else _head_small)(painter, view, plan, level, say, asking)
    for node, box in plan.boxes:
        _draw_box(painter, node, box, say)
    for outline in plan.switches:
        painter.setPen(QPen(QColor(shades.muted), 1, Qt.PenStyle.DotLine))
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.drawRoundedRect(QRectF(outline).adjusted(0.5, 0.5, -0.5, -0.5), 6, 6)
    _draw_ports(painter, view, plan)
    if plan.caption is not None:
        _draw_fabrics(painter, view, plan, say)
    by_key = {key_of(device): device for device in view.devices}
    for key, where in plan.tiles:
        _draw_tile(painter, by_key[key], where, level, view.outdated, tiles)
    if not plan.tiles:
        _draw_nothing(painter, view, plan, level, say)


def _head_full(painter: QPainter, view: ServerView, plan: CardPlan, level: Level, say: Say, asking: bool) -> None:
    shades, width = theme.palette(), plan.width - 2 * level.pad
    tone, icon, word = state_of(view, say, asking)
    colour = shades.tone(tone)
    painter.setFont(_font(9, True))
    taken = painter.fontMetrics().horizontalAdvance(word)
    right = level.pad + width
    painter.setPen(colour)
    painter.drawText(QRect(right - taken, 10, taken + 1, 20), _VCENTRE, word)
    painter.drawPixmap(right - taken - 19, 13, icons.pixmap(icon, colour.name(), 14))
    taken += 20
    if view.changes:
        taken += _draw_changes(painter, right - taken - theme.S, 11, len(view.changes)) + theme.S
    painter.setPen(QColor(shades.text))
    painter.setFont(_font(11 if level is LARGE else 10, True))
    _text(painter, QRect(level.pad, 10, width - taken - theme.S, 20), view.name)
    painter.setFont(_font(9))
    painter.setPen(QColor(shades.muted))
    line = view.summary or f"{view.record.address}:{view.record.port}"
    if view.memory_bytes:
        line += f" · {units.size(view.memory_bytes)}"
    _text(painter, QRect(level.pad, 29, width, 18), str(shown(line)))


def _head_small(painter: QPainter, view: ServerView, plan: CardPlan, level: Level, say: Say, asking: bool) -> None:
    shades, size = theme.palette(), 12 if level is COMPACT else 9
    tone, icon, _word = state_of(view, say, asking)
    top = round((level.head - size) / 2)
    painter.drawPixmap(level.pad - 1, top, icons.pixmap(icon, shades.tone(tone).name(), size))
    left, right = level.pad + size + 2, plan.width - level.pad
    if view.changes and level is OVERVIEW:
        _draw_corner(painter, plan.width)
    elif view.changes:
        _draw_triangle(painter, QRectF(right - 11, top + 1, 10, 10))
        right -= 14
    painter.setPen(QColor(shades.text))
    painter.setFont(_font(9, True) if level is COMPACT else _font(7.5))
    _text(painter, QRect(left, 0, right - left, level.head), view.name, Qt.TextElideMode.ElideMiddle)


def _draw_changes(painter: QPainter, right: int, top: int, count: int) -> int:
    """A triangle, as mathematicians write a difference, and how many there are; gives the width taken."""
    text = str(count)
    wide = painter.fontMetrics().horizontalAdvance(text) + 28
    shades = theme.palette()
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(shades.soft("info"))
    painter.drawRoundedRect(QRectF(right - wide, top, wide, 18), 9, 9)
    _draw_triangle(painter, QRectF(right - wide + 7, top + 4.5, 10, 9))
    painter.setPen(shades.tone("info"))
    painter.drawText(QRect(right - wide + 21, top, wide - 22, 18), _VCENTRE, text)
    return wide


def _draw_triangle(painter: QPainter, where: QRectF) -> None:
    path = QPainterPath(QPointF(where.center().x(), where.top()))
    path.lineTo(where.bottomRight())
    path.lineTo(where.bottomLeft())
    path.closeSubpath()
    painter.setPen(QPen(theme.palette().tone("info"), 1.4))
    painter.setBrush(Qt.BrushStyle.NoBrush)
    painter.drawPath(path)


def _draw_corner(painter: QPainter, width: int) -> None:
    """The same in a corner, where there is no room beside the name."""
    path = QPainterPath(QPointF(width - 9, 1))
    path.lineTo(width - 1, 1)
    path.lineTo(width - 1, 9)
    path.closeSubpath()
    painter.fillPath(path, theme.palette().tone("info"))


def _draw_box(painter: QPainter, node: Node, box: QRect, say: Say) -> None:
    shades, words = theme.palette(), node_words(node, say)
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(QColor(shades.sunken))
    painter.drawRoundedRect(QRectF(box), 6, 6)
    painter.setPen(QColor(shades.muted))
    painter.setFont(_font(7.5))
    _text(painter, QRect(box.left() + BOX_EDGE + 1, box.top(), box.width() - 2 * BOX_EDGE, BOX_LABEL), words)


def _draw_ports(painter: QPainter, view: ServerView, plan: CardPlan) -> None:
    """The network ports behind a switch, under its devices."""
    named = [part for node in view.topology.nodes for part in node.parts if part.switch]
    painter.setFont(_font(6.5))
    painter.setPen(QColor(theme.palette().muted))
    for part, outline in zip(named, plan.switches, strict=False):
        if part.ports:
            _text(painter, QRect(outline.left() + 2, outline.bottom() - PORTS, outline.width() - 4, PORTS), " ".join(part.ports),
                  align=_CENTRE)


def _draw_fabrics(painter: QPainter, view: ServerView, plan: CardPlan, say: Say) -> None:
    shades, tiles = theme.palette(), dict(plan.tiles)
    places = [tiles[key_of(device)] for device in view.devices]
    words, colour = topology_words(view.topology, say), QColor(shades.accent if not view.outdated else shades.border_strong)
    for fabric in view.topology.fabrics:
        (_draw_bus if fabric.whole else _draw_arcs)(painter, fabric, places, plan, colour)
    painter.setFont(_font(8.5))
    painter.setPen(QColor(shades.muted))
    where, taken = plan.caption.adjusted(0, 2, 0, 0), 0
    if plan.switches:
        taken = _draw_legend(painter, where, say(N_("one PCIe switch")))
    _text(painter, where.adjusted(0, 0, -taken, 0), words)


def _draw_legend(painter: QPainter, where: QRect, words: str) -> int:
    """What a dotted outline means, at the right end; gives the width taken."""
    taken = painter.fontMetrics().horizontalAdvance(words) + 1
    painter.drawText(QRect(where.right() - taken, where.top(), taken + 1, where.height()), _VCENTRE, words)
    sample = QRectF(where.right() - taken - 24, where.center().y() - 5, 18, 10)
    painter.setBrush(Qt.BrushStyle.NoBrush)
    pen = painter.pen()
    painter.setPen(QPen(QColor(theme.palette().muted), 1, Qt.PenStyle.DotLine))
    painter.drawRoundedRect(sample.adjusted(0.5, 0.5, -0.5, -0.5), 4, 4)
    painter.setPen(pen)
    return taken + 24 + theme.S


def _draw_bus(painter: QPainter, fabric: Fabric, places: list[QRect], plan: CardPlan, colour: QColor) -> None:
    """A line under each row of devices, with a drop from each; lines of the same fabric meet at the left."""
    lines: dict[int, list[int]] = {}
    for place in fabric.places:
        lines.setdefault(places[place].bottom(), []).append(places[place].center().x())
    painter.setPen(QPen(colour, 2, Qt.PenStyle.SolidLine, Qt.PenCapStyle.RoundCap))
    spine = min(min(xs) for xs in lines.values()) - places[0].width() / 2 - 9 if len(lines) > 1 else None
    levels = []
    for bottom, xs in sorted(lines.items()):
        y = _bus_height(plan, bottom)
        levels.append(y)
        painter.drawLine(QLineF(spine if spine is not None else min(xs), y, max(xs), y))
        for x in xs:
            painter.drawLine(QLineF(x + 0.5, bottom + 2, x + 0.5, y))
    if spine is not None:
        painter.drawLine(QLineF(spine, levels[0], spine, levels[-1]))


def _bus_height(plan: CardPlan, bottom: int) -> float:
    """Where the line under a row runs: below its box, or between two rows of one box."""
    for _node, box in plan.boxes:
        if box.left() <= box.right() and box.top() <= bottom <= box.bottom():
            lower = [row for row in plan.rows if bottom < row <= box.bottom()]
            return bottom + BUS / 2 + 1.5 if lower else box.bottom() + BUS / 2 + 1
    return bottom + BUS / 2


def _draw_arcs(painter: QPainter, fabric: Fabric, places: list[QRect], plan: CardPlan, colour: QColor) -> None:
    """An arc for each pair that is joined, the wider the more links it has."""
    painter.setBrush(Qt.BrushStyle.NoBrush)
    for one, other, count in fabric.pairs:
        a, b = sorted((places[one], places[other]), key=lambda where: (where.top(), where.left()))
        painter.setPen(QPen(colour, min(3.2, 1.2 + count / 4)))
        depth = min(ARCS + 4, 9 + abs(a.center().x() - b.center().x()) * 0.12)
        start, end = QPointF(a.center().x() + 0.5, a.bottom() + 1), QPointF(b.center().x() + 0.5, b.bottom() + 1)
        path = QPainterPath(start)
        path.cubicTo(QPointF(start.x(), start.y() + depth * 1.3), QPointF(end.x(), end.y() + depth * 1.3), end)
        painter.drawPath(path)


def _draw_tile(painter: QPainter, device: Any, where: QRect, level: Level, outdated: bool, tiles: Tiles) -> None:
    if level.joined:
        _paint_tile(painter, device, where, level, outdated)
        return
    # The small ones are alike by the dozen: each kind is painted once. Every call into Qt is a turn in which another thread
    # may take the interpreter, so a server of eight devices must not cost hundreds of them.
    ratio, part = painter.device().devicePixelRatioF(), filled(device)
    number = device.index if level is COMPACT and device.health == "ok" else None
    key = (level.id, device.health, None if part is None else round(part * where.height()), outdated, number, ratio,
           theme.palette().name)
    made = tiles.get(key)
    if made is None:
        if len(tiles) > MOST_TILES:
            tiles.clear()
        made = tiles[key] = QPixmap(round(where.width() * ratio), round(where.height() * ratio))
        made.setDevicePixelRatio(ratio)
        made.fill(Qt.GlobalColor.transparent)
        inner = QPainter(made)
        inner.setRenderHint(QPainter.RenderHint.Antialiasing)
        _paint_tile(inner, device, QRect(0, 0, where.width(), where.height()), level, outdated)
        inner.end()
    painter.drawPixmap(where.topLeft(), made)


MOST_TILES = 2000


def _paint_tile(painter: QPainter, device: Any, where: QRect, level: Level, outdated: bool) -> None:
    if level is OVERVIEW:
        _draw_dot(painter, device, where, outdated)
        return
    shades, tone = theme.palette(), HEALTH[device.health][0]
    colour, area, radius = shades.tone(tone), QRectF(where), 5 if level.joined else 3
    part = filled(device)
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(shades.soft(tone) if not outdated else QColor(shades.surface))
    painter.drawRoundedRect(area, radius, radius)
    if part:
        height = area.height() * part
        fill = QColor(colour)
        fill.setAlphaF(0.34 if not outdated else 0.15)
        clip = QPainterPath()
        clip.addRoundedRect(area, radius, radius)
        painter.save()
        painter.setClipPath(clip)
        painter.fillRect(QRectF(area.left(), area.bottom() - height, area.width(), height), fill)
        painter.fillRect(QRectF(area.left(), area.bottom() - height, area.width(), 1), colour)
        painter.restore()
    painter.setPen(QPen(colour, 1, Qt.PenStyle.DashLine if outdated else Qt.PenStyle.SolidLine))
    painter.setBrush(Qt.BrushStyle.NoBrush)
    painter.drawRoundedRect(area.adjusted(0.5, 0.5, -0.5, -0.5), radius, radius)
    {LARGE.id: _words_large, MEDIUM.id: _words_medium, SMALL.id: _words_small, COMPACT.id: _words_compact}[level.id](
        painter, device, where, tone)


def _words_small(painter: QPainter, device: Any, where: QRect, tone: str) -> None:
    painter.setPen(QColor(theme.palette().text))
    painter.setFont(_font(9, True))
    painter.drawText(where.adjusted(0, 3, 0, -21), _CENTRE, str(device.index))
    mark = icons.pixmap(icons.TONE_ICONS[tone], theme.palette().tone(tone).name(), 14)
    painter.drawPixmap(where.left() + (where.width() - 14) // 2, where.bottom() - 18, mark)


def _words_compact(painter: QPainter, device: Any, where: QRect, tone: str) -> None:
    if tone == "ok":
        painter.setPen(QColor(theme.palette().text))
        painter.setFont(_font(7))
        painter.drawText(where, _CENTRE, str(device.index))
    else:
        mark = icons.pixmap(icons.TONE_ICONS[tone], theme.palette().tone(tone).name(), 11)
        painter.drawPixmap(where.left() + (where.width() - 11) // 2, where.top() + (where.height() - 11) // 2, mark)


def _words_medium(painter: QPainter, device: Any, where: QRect, tone: str) -> None:
    shades, area = theme.palette(), where.adjusted(5, 4, -4, -3)
    painter.setPen(QColor(shades.text))
    painter.setFont(_font(10, True))
    painter.drawText(QRect(area.left(), area.top(), area.width(), 18), _VCENTRE, str(device.index))
    painter.drawPixmap(area.right() - 13, area.top() + 2, icons.pixmap(icons.TONE_ICONS[tone], shades.tone(tone).name(), 14))
    part = filled(device)
    painter.setFont(_font(8))
    _text(painter, QRect(area.left(), area.bottom() - 15, area.width(), 16), f"{part * 100:.0f} %" if part is not None else "–")


def _words_large(painter: QPainter, device: Any, where: QRect, tone: str) -> None:
    shades, area = theme.palette(), where.adjusted(6, 4, -5, -4)
    painter.setPen(QColor(shades.text))
    painter.setFont(_font(12, True))
    painter.drawText(QRect(area.left(), area.top(), area.width(), 20), _VCENTRE, str(device.index))
    painter.drawPixmap(area.right() - 15, area.top() + 2, icons.pixmap(icons.TONE_ICONS[tone], shades.tone(tone).name(), 16))
    part = filled(device)
    lines = [f"{part * 100:.0f} %" if part is not None else "–", units.size(device.memory_total_bytes) if
             device.memory_total_bytes else "", f"{device.temperature_c:g} °C" if device.temperature_c is not None else ""]
    painter.setFont(_font(8.5))
    for number, text in enumerate(reversed([line for line in lines if line])):
        spot = QRect(area.left(), area.bottom() - 15 - number * 16, area.width(), 16)
        _text(painter, spot, text)


def _draw_dot(painter: QPainter, device: Any, where: QRect, outdated: bool) -> None:
    """A device of a few pixels: a gauge when healthy, a cross, a bar or a ring when not."""
    shades, tone = theme.palette(), HEALTH[device.health][0]
    colour, part = shades.tone(tone), filled(device) or 0.0
    painter.save()
    painter.setRenderHint(QPainter.RenderHint.Antialiasing, False)
    if outdated:
        painter.fillRect(where, QColor(shades.sunken))
        painter.setPen(QColor(shades.border_strong))
        painter.drawRect(where.adjusted(0, 0, -1, -1))
    elif tone == "ok":
        soft = QColor(colour)
        soft.setAlphaF(0.42)
        painter.fillRect(where, soft)
        height = round(where.height() * part)
        painter.fillRect(QRect(where.left(), where.bottom() - height + 1, where.width(), height), colour)
    elif tone == "unknown":
        painter.setPen(colour)
        painter.drawRect(where.adjusted(0, 0, -1, -1))
        painter.drawPoint(where.center())
    else:
        painter.fillRect(where, colour)
        painter.setPen(QPen(QColor(shades.surface), 1))
        inner = where.adjusted(1, 3, -1, -3)
        if tone == "fail":
            painter.drawLine(inner.topLeft(), inner.bottomRight())
            painter.drawLine(inner.bottomLeft(), inner.topRight())
        else:
            x = where.center().x()
            painter.drawLine(x, where.top() + 2, x, where.bottom() - 4)
            painter.drawPoint(x, where.bottom() - 2)
    painter.restore()


def _draw_nothing(painter: QPainter, view: ServerView, plan: CardPlan, level: Level, say: Say) -> None:
    """A server whose devices are not known: room for them, and why they are missing."""
    shades = theme.palette()
    area = QRect(level.pad, level.head, plan.width - 2 * level.pad, plan.height - level.head - level.pad)
    if level is OVERVIEW:
        painter.fillRect(area.adjusted(0, area.height() // 2, 0, -area.height() // 2 + 1), QColor(shades.border))
        return
    painter.setPen(QPen(QColor(shades.border_strong), 1, Qt.PenStyle.DashLine))
    painter.setBrush(Qt.BrushStyle.NoBrush)
    painter.drawRoundedRect(QRectF(area).adjusted(0.5, 0.5, -0.5, -0.5), 4, 4)
    painter.setPen(QColor(shades.muted))
    painter.setFont(_font(9 if level.joined else 8))
    words = N_("No devices found") if view.state == "bare" else N_("Devices not known yet")
    _text(painter, area, say(words), align=_CENTRE)


def _text(painter: QPainter, where: QRect, text: str, mode: Qt.TextElideMode = Qt.TextElideMode.ElideRight,
          align: int = _VCENTRE) -> None:
    if where.width() > 0 and text:
        painter.drawText(where, align, painter.fontMetrics().elidedText(text, mode, where.width()))


_FONTS: dict[tuple[float, bool], QFont] = {}


def _font(points: float, bold: bool = False) -> QFont:
    """Fonts are asked for thousands of times; making one costs more than drawing with it."""
    if (points, bold) not in _FONTS:
        _FONTS[points, bold] = theme.font(points, bold=bold)
    return _FONTS[points, bold]


def text_width(text: str, points: float, bold: bool = False) -> int:
    """How wide ``text`` is drawn."""
    return QFontMetrics(_font(points, bold)).horizontalAdvance(text)
