"""The site as a picture: servers in sections, as large as fits, drawn only where in sight and only when they changed."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable, Iterable

from PySide6.QtCore import QEvent, QPoint, QRect, QRectF, QSize, Qt, QTimer, Signal
from PySide6.QtGui import (
    QAccessible,
    QAccessibleEvent,
    QColor,
    QContextMenuEvent,
    QFocusEvent,
    QHelpEvent,
    QKeyEvent,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QPen,
    QPixmap,
    QResizeEvent,
)
from PySide6.QtWidgets import QAbstractScrollArea, QToolTip

from console.errors import shown
from console.i18n import N_
from ui import theme
from ui.models.servers import NEEDS_A_PERSON, DeviceKey, Section, ServerView, device_lines
from ui.widgets import topology
from ui.widgets.basic import tip
from ui.widgets.topology import EXPECTED, LEVELS, OVERVIEW, SMALL, CardPlan, Level

HEADING = 30
EDGE = 3
GAPS = {"large": theme.M, "medium": theme.M, "small": theme.M, "compact": theme.S, "overview": 4}
SPREAD = 10
"""How much wider than planned the gaps between servers may be, so that the rows fill the width."""
DRAW_BUDGET_S = 0.010
"""How long one repaint may draw servers anew; what is left over comes with the next turn of the loop."""
KEPT_PIXELS = 24_000_000
"""Drawn servers are kept up to as many pixels (four bytes each)."""
FITTING = {"large": 1.0, "medium": 1.0, "small": 1.6, "compact": 3.0}
"""A level is chosen by itself when the picture is at most so many windows high."""


class ServerPicture(QAbstractScrollArea):
    """Servers in rows. The arrow keys walk servers and devices, plus and minus change the level of detail.

    Signals:
        picked: the server's name and a device's key, or None for the server itself.
        opened: the same, when it is to be looked at closely.
        levelled: the level of detail now shown.
        asked_menu: a server's name and where on the screen its menu should open.
    """

    picked = Signal(str, object)
    opened = Signal(str, object)
    levelled = Signal(str)
    asked_menu = Signal(str, QPoint)

    def __init__(self, say: Callable[..., str]):
        super().__init__()
        self._say = say
        self._sections: list[Section] = []
        self._views: list[ServerView] = []
        self._place_of: dict[str, int] = {}
        self._plans: dict[str, tuple[ServerView, Level, CardPlan]] = {}
        self._places: list[QRect] = []
        self._placed: list[str] = []
        self._tops: list[tuple[int, int]] = []
        self._headings: list[tuple[QRect, Section]] = []
        self._drawn: OrderedDict[str, tuple[tuple, QPixmap]] = OrderedDict()
        self._kept_pixels = 0
        self._tiles: topology.Tiles = {}
        self._asking: frozenset[str] = frozenset()
        self._chosen: tuple[str, DeviceKey | None] | None = None
        self._hover: tuple[str, DeviceKey | None] | None = None
        self._wanted, self.level = "", SMALL
        self.repainted_cards = 0
        self._later = QTimer(self, singleShot=True, interval=0)
        self._later.timeout.connect(self.viewport().update)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setAccessibleName(say(N_("Picture of the site")))
        self.setFrameShape(QAbstractScrollArea.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.viewport().setAutoFillBackground(False)
        self.viewport().setMouseTracking(True)

    # -- what is shown --------------------------------------------------------------------------------------------

    def show_sections(self, sections: list[Section]) -> None:
        """Show these servers; what was chosen stays chosen while it is there."""
        self._sections = sections
        self._views = [view for section in sections for view in section.views]
        self._place_of = {view.name: place for place, view in enumerate(self._views)}
        for name in self._plans.keys() - self._place_of.keys():
            del self._plans[name]
        if self._chosen is not None and self._chosen[0] not in self._place_of:
            self._chosen = None
        self._choose_level()
        self._arrange()

    def update_views(self, views: Iterable[ServerView]) -> None:
        """Take newer states of servers that are shown; nothing else is drawn anew, and nothing moves unless it must."""
        moved, changed = False, []
        for view in views:
            place = self._place_of.get(view.name)
            if place is None or self._views[place] is view:
                continue
            before = self._plan(self._views[place]).height
            self._views[place] = view
            moved |= self._plan(view).height != before
            changed.append(place)
        if moved:
            self._arrange()
        else:
            self._redraw(changed)

    def show_asking(self, names: frozenset[str]) -> None:
        """Mark the servers that are being asked now."""
        changed = self._asking ^ names
        self._asking = names
        self._redraw(self._place_of[name] for name in changed if name in self._place_of)

    def show_level(self, wanted: str) -> None:
        """Show a level of detail by its id; empty: the largest that fits."""
        self._wanted = wanted
        self._choose_level()
        self._arrange()

    def wanted_level(self) -> str:
        """The level that was asked for; empty: whichever fits."""
        return self._wanted

    def views(self) -> list[ServerView]:
        """The servers shown, in their order."""
        return list(self._views)

    def chosen_name(self) -> str | None:
        """The server picked, or None."""
        return self._chosen[0] if self._chosen else None

    def choose(self, name: str, device: DeviceKey | None = None) -> None:
        """Mark a server or device without announcing it."""
        if name in self._place_of and self._chosen != (name, device):
            self._mark((name, device))

    def place_of(self, name: str, device: DeviceKey | None = None) -> QRect | None:
        """Where a server or a device is, in the viewport."""
        place = self._place_of.get(name)
        if place is None:
            return None
        card, within = self._places[place], self._plan(self._views[place]).where(device) if device else None
        found = within.translated(card.topLeft()) if within is not None else card
        return found.translated(0, -self.verticalScrollBar().value())

    # -- places ---------------------------------------------------------------------------------------------------

    def _plan(self, view: ServerView) -> CardPlan:
        known = self._plans.get(view.name)
        if known is None or known[0] is not view or known[1] is not self.level:
            known = self._plans[view.name] = view, self.level, topology.lay_out(view, self.level)
        return known[2]

    def _choose_level(self) -> None:
        chosen = next((level for level in LEVELS if level.id == self._wanted), None) or self._fitting()
        if chosen is not self.level:
            self.level = chosen
            self._plans.clear()
        self.levelled.emit(self.level.id)

    def _fitting(self) -> Level:
        """The largest level at which the picture is not too high. Servers not asked yet count with the devices they are
        expected to have, so that the level does not change as the answers come in."""
        room = self.viewport().size()
        for level in LEVELS[:-1]:
            across = max(1, (room.width() - 2 * EDGE + GAPS[level.id]) // (level.card + GAPS[level.id]))
            if level is not SMALL and room.width() < level.card + 2 * EDGE:
                continue
            rows = max(1, -(-max((len(v.devices) for v in self._views), default=EXPECTED) // 8))
            one = level.head + rows * (level.tile[1] + level.gap) + level.pad + (50 if level.joined else 0) + GAPS[level.id]
            lines = sum(-(-len(section.views) // across) for section in self._sections)
            if lines * one + HEADING * len(self._sections) <= room.height() * FITTING[level.id]:
                return level
        return OVERVIEW

    def _arrange(self) -> None:
        """Place everything anew; the server at the upper edge stays where it is."""
        anchor = self._anchor()
        width, gap = self.viewport().width(), GAPS[self.level.id]
        across = max(1, (width - 2 * EDGE + gap) // (self.level.card + gap))
        spare = width - 2 * EDGE - across * self.level.card
        beside = min(gap + SPREAD, spare // (across - 1)) if across > 1 else gap
        places: list[QRect] = []
        self._headings, self._tops, top = [], [], EDGE
        for section in self._sections:
            if section.title:
                self._headings.append((QRect(EDGE, top, width - 2 * EDGE, HEADING), section))
                top += HEADING
            names = section.views
            for start in range(0, len(names), across):
                first = len(places)
                plans = [self._plan(self._views[first + number]) for number in range(len(names[start:start + across]))]
                height = max(plan.height for plan in plans)
                self._tops.append((top, first))
                places += [QRect(EDGE + number * (self.level.card + beside), top, plan.width, plan.height)
                           for number, plan in enumerate(plans)]
                top += height + gap
        self._places, self._placed = places, [view.name for view in self._views]
        bar = self.verticalScrollBar()
        bar.setRange(0, max(0, top - gap + EDGE - self.viewport().height()))
        bar.setPageStep(max(1, self.viewport().height()))
        bar.setSingleStep(40)
        if anchor is not None:
            bar.setValue(self._places[self._place_of[anchor[0]]].top() - anchor[1])
        self.viewport().update()

    def _anchor(self) -> tuple[str, int] | None:
        """The first server in sight, and how far below the upper edge it begins; None while nothing is scrolled."""
        offset = self.verticalScrollBar().value()
        if not offset:
            return None
        return next(((name, where.top() - offset) for name, where in zip(self._placed, self._places, strict=True)
                     if where.bottom() >= offset and name in self._place_of), None)

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Qt's."""
        super().resizeEvent(event)
        if not self._wanted:
            self._choose_level()
        self._arrange()

    def sizeHint(self) -> QSize:
        """Qt's."""
        return QSize(SMALL.card + 2 * EDGE + 16, 320)

    def minimumSizeHint(self) -> QSize:
        """Qt's."""
        return QSize(SMALL.card + 2 * EDGE + 12, 160)

    # -- drawing --------------------------------------------------------------------------------------------------

    def _redraw(self, places: Iterable[int]) -> None:
        offset = self.verticalScrollBar().value()
        for place in places:
            self.viewport().update(self._places[place].translated(0, -offset).adjusted(-3, -3, 3, 3))

    def _in_sight(self, area: QRect) -> range:
        """The places of servers that may touch ``area``, which is in the coordinates of the whole picture."""
        if not self._tops:
            return range(0)
        first = max(0, bisect_left(self._tops, (area.top(), 0)) - 1)
        last = bisect_left(self._tops, (area.bottom() + 1, 0))
        end = self._tops[last][1] if last < len(self._tops) else len(self._places)
        return range(self._tops[first][1], end)

    def paintEvent(self, event: QPaintEvent) -> None:
        """Qt's."""
        painter = QPainter(self.viewport())
        offset, started, late = self.verticalScrollBar().value(), time.perf_counter(), False
        painter.translate(0, -offset)
        area = event.rect().translated(0, offset)
        for where, section in self._headings:
            if where.intersects(area):
                self._draw_heading(painter, where, section)
        for place in self._in_sight(area):
            where = self._places[place]
            if where.intersects(area.adjusted(-3, -3, 3, 3)):
                fresh = time.perf_counter() - started < DRAW_BUDGET_S
                late |= not self._draw_card(painter, self._views[place], where, fresh)
        self._draw_marks(painter)
        painter.end()
        if late:
            self._later.start()

    def _draw_card(self, painter: QPainter, view: ServerView, where: QRect, fresh: bool) -> bool:
        """Draw a server from what is kept of it; whether it is up to date."""
        ratio, name = self.devicePixelRatioF(), theme.palette().name
        key = (view, self.level.id, name, ratio, view.name in self._asking)
        kept = self._drawn.get(view.name)
        if kept is not None and kept[0] == key:
            self._drawn.move_to_end(view.name)
        elif fresh:
            kept = self._keep(view, where, key, ratio)
        elif kept is None or kept[0][1:4] != key[1:4]:
            painter.fillRect(where, QColor(theme.palette().surface))
            return False
        painter.drawPixmap(where.topLeft(), kept[1])
        return kept[0] == key

    def _keep(self, view: ServerView, where: QRect, key: tuple, ratio: float) -> tuple[tuple, QPixmap]:
        made = QPixmap(round(where.width() * ratio), round(where.height() * ratio))
        made.setDevicePixelRatio(ratio)
        made.fill(Qt.GlobalColor.transparent)
        inner = QPainter(made)
        topology.draw(inner, view, self._plan(view), self.level, self._say, self._tiles, view.name in self._asking)
        inner.end()
        self.repainted_cards += 1
        before = self._drawn.pop(view.name, None)
        self._kept_pixels += made.width() * made.height() - (before[1].width() * before[1].height() if before else 0)
        self._drawn[view.name] = key, made
        while self._kept_pixels > KEPT_PIXELS and len(self._drawn) > 1:
            _name, (_key, old) = self._drawn.popitem(last=False)
            self._kept_pixels -= old.width() * old.height()
        return key, made

    def _draw_heading(self, painter: QPainter, where: QRect, section: Section) -> None:
        shades = theme.palette()
        painter.setFont(theme.font(10, bold=True))
        painter.setPen(QColor(shades.text))
        room = where.adjusted(2, 6, 0, 0)
        title = painter.fontMetrics().elidedText(str(shown(section.title)), Qt.TextElideMode.ElideRight, room.width() // 2)
        painter.drawText(room, int(Qt.AlignmentFlag.AlignVCenter), title)
        left = room.left() + painter.fontMetrics().horizontalAdvance(title) + theme.S
        painter.setFont(theme.font(9))
        painter.setPen(QColor(shades.muted))
        count = self._say(N_("Servers: {count}"), count=len(section.views))
        bad = sum(view.state in NEEDS_A_PERSON for view in section.views)
        if bad:
            count += " · " + self._say(N_("need attention: {count}"), count=bad)
        painter.drawText(room.adjusted(left - room.left(), 0, 0, 0), int(Qt.AlignmentFlag.AlignVCenter), count)
        left += painter.fontMetrics().horizontalAdvance(count) + theme.M
        painter.setPen(QColor(shades.border))
        painter.drawLine(left, room.center().y() + 1, where.right(), room.center().y() + 1)

    def _draw_marks(self, painter: QPainter) -> None:
        """What the pointer is over and what is chosen; the ring is stronger while the keyboard is here."""
        shades = theme.palette()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setBrush(Qt.BrushStyle.NoBrush)
        offset = self.verticalScrollBar().value()
        if self._hover is not None and self._hover != self._chosen:
            where = self.place_of(*self._hover)
            if where is not None:
                painter.setPen(QPen(QColor(shades.border_strong), 1.5))
                painter.drawRoundedRect(QRectF(where.translated(0, offset)).adjusted(-0.5, -0.5, 0.5, 0.5), 6, 6)
        if self._chosen is None:
            return
        name, device = self._chosen
        card = self.place_of(name)
        if card is None:
            return
        width = 2.5 if self.hasFocus() else 1.5
        painter.setPen(QPen(QColor(shades.accent), width))
        grow = 0.5 if self.level is not OVERVIEW else 1.5
        painter.drawRoundedRect(QRectF(card.translated(0, offset)).adjusted(-grow, -grow, grow, grow), 8 if self.level.joined else 4,
                                8 if self.level.joined else 4)
        where = self.place_of(name, device) if device else None
        if where is not None and where != card:
            painter.setPen(QPen(QColor(shades.text), 2))
            curve = 1 if self.level is OVERVIEW else 5  # the tile of an overview is too small for a curve
            painter.drawRoundedRect(QRectF(where.translated(0, offset)).adjusted(-1, -1, 1, 1), curve, curve)

    # -- pointer --------------------------------------------------------------------------------------------------

    def at(self, point: QPoint) -> tuple[str, DeviceKey | None] | None:
        """The server and device at a point of the viewport."""
        point = point + QPoint(0, self.verticalScrollBar().value())
        for place in self._in_sight(QRect(point, point)):
            where = self._places[place]
            if where.contains(point):
                return self._views[place].name, self._plan(self._views[place]).at(point - where.topLeft())
        return None

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """Qt's."""
        hit = self.at(event.position().toPoint())
        if hit:
            self._pick(*hit)

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:
        """Qt's."""
        hit = self.at(event.position().toPoint())
        if hit:
            self.opened.emit(*hit)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        """Qt's."""
        self._hover_at(self.at(event.position().toPoint()))

    def leaveEvent(self, event: QEvent) -> None:
        """Qt's."""
        super().leaveEvent(event)
        self._hover_at(None)

    def _hover_at(self, hit: tuple[str, DeviceKey | None] | None) -> None:
        if hit == self._hover:
            return
        before, self._hover = self._hover, hit
        self.viewport().setCursor(Qt.CursorShape.PointingHandCursor if hit else Qt.CursorShape.ArrowCursor)
        self._redraw(self._place_of[one[0]] for one in (before, hit) if one is not None and one[0] in self._place_of)

    def viewportEvent(self, event: QEvent) -> bool:
        """Qt's; tool tips are made when they are asked for."""
        if isinstance(event, QHelpEvent) and event.type() == QEvent.Type.ToolTip:
            hit = self.at(event.pos())
            QToolTip.showText(event.globalPos(), tip(self.describe(*hit)) if hit else "", self)
            return True
        return super().viewportEvent(event)

    def contextMenuEvent(self, event: QContextMenuEvent) -> None:
        """Qt's; also from the keyboard's menu key, for what is chosen there."""
        if event.reason() == QContextMenuEvent.Reason.Keyboard:
            where = self.place_of(self._chosen[0]) if self._chosen else None
            if where is not None:
                self.asked_menu.emit(self._chosen[0], self.viewport().mapToGlobal(where.center()))
            return
        hit = self.at(self.viewport().mapFromGlobal(event.globalPos()))
        if hit:
            self._pick(*hit)
            self.asked_menu.emit(hit[0], event.globalPos())

    def describe(self, name: str, device: DeviceKey | None) -> str:
        """A server, or one of its devices, in a few lines."""
        view = self._views[self._place_of[name]]
        found = view.device(device)
        _tone, _icon, word = topology.state_of(view, self._say, name in self._asking)
        if found is not None:
            lines = [f"{view.name} · {found.index}: {found.name}", *device_lines(found, self._say)]
        else:
            lines = [f"{view.name}: {word}", view.summary or f"{view.record.address}:{view.record.port}",
                     topology.topology_words(view.topology, self._say) if view.devices else "",
                     self._say(N_("Changes since the inventory before: {count}"), count=len(view.changes)) if view.changes else ""]
        if view.outdated:
            lines.append(self._say(N_("As of an earlier inventory: the last one did not reach it.")))
        return str(shown("\n".join(line for line in lines if line)))

    # -- keyboard -------------------------------------------------------------------------------------------------

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Qt's: left and right walk devices and on to the next server, with Ctrl servers; up and down the rows."""
        key = event.key()
        if not self._views or event.modifiers() & Qt.KeyboardModifier.AltModifier:
            super().keyPressEvent(event)
        elif key in (Qt.Key.Key_Return, Qt.Key.Key_Enter, Qt.Key.Key_Space) and self._chosen:
            self.opened.emit(*self._chosen)
        elif key in (Qt.Key.Key_Plus, Qt.Key.Key_Equal, Qt.Key.Key_Minus):
            self._zoom(-1 if key != Qt.Key.Key_Minus else 1)
        elif (step := self._step(event)) is not None:
            self._pick(*step)
        else:
            super().keyPressEvent(event)

    def _zoom(self, step: int) -> None:
        place = LEVELS.index(self.level) + step
        if 0 <= place < len(LEVELS):
            self.show_level(LEVELS[place].id)
            self._reveal()

    def _step(self, event: QKeyEvent) -> tuple[str, DeviceKey | None] | None:
        key, whole = event.key(), bool(event.modifiers() & Qt.KeyboardModifier.ControlModifier)
        place = self._place_of.get(self._chosen[0], 0) if self._chosen else None
        last = len(self._views) - 1
        known = (Qt.Key.Key_Left, Qt.Key.Key_Right, Qt.Key.Key_Up, Qt.Key.Key_Down, Qt.Key.Key_Home, Qt.Key.Key_End,
                 Qt.Key.Key_PageUp, Qt.Key.Key_PageDown)
        if key not in known:
            return None
        if place is None or key == Qt.Key.Key_Home:
            return self._views[0].name, None
        if key == Qt.Key.Key_End:
            return self._views[last].name, None
        if key in (Qt.Key.Key_Left, Qt.Key.Key_Right):
            step = 1 if key == Qt.Key.Key_Right else -1
            return (self._views[min(max(0, place + step), last)].name, None) if whole else self._step_device(place, step)
        page = self.viewport().height() if key in (Qt.Key.Key_PageUp, Qt.Key.Key_PageDown) else 0
        return self._views[self._row_step(place, 1 if key in (Qt.Key.Key_Down, Qt.Key.Key_PageDown) else -1, page)].name, None

    def _step_device(self, place: int, step: int) -> tuple[str, DeviceKey | None]:
        """The device beside the chosen one, in the order in which they are drawn; beyond the last the next server."""
        view, device = self._views[place], self._chosen[1]
        order: list[DeviceKey | None] = [None, *(key for key, _where in self._plan(view).tiles)]
        spot = (order.index(device) if device in order else 0) + step
        if 0 <= spot < len(order):
            return view.name, order[spot]
        other = place + step
        if not 0 <= other < len(self._views):
            return view.name, device
        tiles = self._plan(self._views[other]).tiles
        return self._views[other].name, tiles[-1][0] if step < 0 and tiles else None

    def _row_step(self, place: int, step: int, page: int) -> int:
        """The server above or below, the nearest to the middle of this one; ``page`` pixels further for a page."""
        here = self._places[place]
        rows = [first for _top, first in self._tops]
        row = bisect_left(rows, place + 1) - 1 + step
        while page and 0 <= row + step < len(rows) and abs(self._tops[row][0] - here.top()) < page - here.height():
            row += step
        if not 0 <= row < len(rows):
            return place if not page else (len(self._views) - 1 if step > 0 else 0)
        end = rows[row + 1] if row + 1 < len(rows) else len(self._places)
        return min(range(rows[row], end), key=lambda other: abs(self._places[other].center().x() - here.center().x()))

    def _pick(self, name: str, device: DeviceKey | None) -> None:
        self._mark((name, device))
        self._reveal()
        self.picked.emit(name, device)

    def _mark(self, chosen: tuple[str, DeviceKey | None]) -> None:
        before, self._chosen = self._chosen, chosen
        self._redraw(self._place_of[one[0]] for one in (before, chosen) if one is not None and one[0] in self._place_of)
        self.setAccessibleDescription(self.describe(*chosen).replace("\n", "; "))
        if QAccessible.isActive():
            QAccessible.updateAccessibility(QAccessibleEvent(self, QAccessible.Event.DescriptionChanged))

    def _reveal(self) -> None:
        """Scroll so far that the chosen server is in sight."""
        if self._chosen is None or self._chosen[0] not in self._place_of:
            return
        where, bar = self._places[self._place_of[self._chosen[0]]], self.verticalScrollBar()
        if where.top() < bar.value():
            bar.setValue(where.top() - theme.S)
        elif where.bottom() > bar.value() + self.viewport().height():
            bar.setValue(min(where.top() - theme.S, where.bottom() - self.viewport().height() + theme.S))

    def focusInEvent(self, event: QFocusEvent) -> None:
        """Qt's; with nothing chosen yet, the ring shows on the first server."""
        super().focusInEvent(event)
        if self._chosen is None and self._views and event.reason() != Qt.FocusReason.MouseFocusReason:
            self._pick(self._views[0].name, None)
        self.viewport().update()

    def focusOutEvent(self, event: QFocusEvent) -> None:
        """Qt's."""
        super().focusOutEvent(event)
        self.viewport().update()
