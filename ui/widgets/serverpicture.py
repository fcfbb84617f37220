"""The site as a picture: every server a card, every device a tile coloured by health and filled like a gauge."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from PySide6.QtCore import QEvent, QPoint, QRect, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QColor, QHelpEvent, QKeyEvent, QMouseEvent, QPainter, QPaintEvent, QPen, QResizeEvent
from PySide6.QtWidgets import QAbstractScrollArea, QToolTip

from console.i18n import N_
from ui import icons, theme
from ui.widgets.basic import tip

TILE_W, TILE_H, GAP, PAD, HEAD, ACROSS = 34, 46, 6, 14, 56, 8
CARD_W = 2 * PAD + ACROSS * TILE_W + (ACROSS - 1) * GAP


@dataclass(frozen=True)
class Tile:
    """One device: its index, tone, how full its memory is (0 to 1, None when not told), and its tool tip."""

    index: int
    tone: str
    filled: float | None
    hint: str


@dataclass(frozen=True)
class ServerCard:
    """One server: name, a line below it, tone and word of its state, and its devices."""

    name: str
    line: str
    tone: str
    word: str
    tiles: tuple[Tile, ...]

    def height(self) -> int:
        """Pixels that its card takes."""
        rows = max(1, -(-len(self.tiles) // ACROSS))
        return HEAD + rows * (TILE_H + GAP) - GAP + 2 * PAD


class ServerPicture(QAbstractScrollArea):
    """Cards in rows; only what is in sight is drawn. Arrow keys walk servers and devices.

    Signals:
        picked: the server's name and the device's index, or None for the server itself.
    """

    picked = Signal(str, object)

    def __init__(self, say: Callable[..., str]):
        super().__init__()
        self._say = say
        self._cards: list[ServerCard] = []
        self._places: list[QRect] = []
        self._chosen: tuple[int, int | None] | None = None
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setAccessibleName(say(N_("Picture of the site")))
        self.setFrameShape(QAbstractScrollArea.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.viewport().setAutoFillBackground(False)

    def show_cards(self, cards: list[ServerCard]) -> None:
        """Draw ``cards``."""
        name = self.chosen_name()
        self._cards = cards
        self._chosen = next(((place, None) for place, card in enumerate(cards) if card.name == name), None)
        self._arrange()

    def chosen_name(self) -> str | None:
        """The server picked, or None."""
        return self._cards[self._chosen[0]].name if self._chosen and self._chosen[0] < len(self._cards) else None

    def choose(self, name: str, device: int | None = None) -> None:
        """Mark a server without announcing it."""
        place = next((place for place, card in enumerate(self._cards) if card.name == name), None)
        self._chosen = None if place is None else (place, device)
        self.viewport().update()

    def _arrange(self) -> None:
        across = max(1, (self.viewport().width() + theme.M) // (CARD_W + theme.M))
        self._places, top = [], 2
        for start in range(0, len(self._cards), across):
            line = self._cards[start:start + across]
            height = max(card.height() for card in line)
            for place, card in enumerate(line):
                self._places.append(QRect(2 + place * (CARD_W + theme.M), top, CARD_W, card.height()))
            top += height + theme.M
        bar = self.verticalScrollBar()
        bar.setRange(0, max(0, top - self.viewport().height()))
        bar.setPageStep(self.viewport().height())
        bar.setSingleStep(40)
        self.viewport().update()

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Qt's."""
        super().resizeEvent(event)
        self._arrange()

    def sizeHint(self) -> QSize:
        """Qt's."""
        return QSize(CARD_W + 20, 320)

    def paintEvent(self, _event: QPaintEvent) -> None:
        """Qt's."""
        painter = QPainter(self.viewport())
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        offset = self.verticalScrollBar().value()
        sight = QRect(0, offset, self.viewport().width(), self.viewport().height())
        painter.translate(0, -offset)
        for place, (card, where) in enumerate(zip(self._cards, self._places, strict=True)):
            if where.intersects(sight):
                chosen = self._chosen if self._chosen and self._chosen[0] == place else None
                self._draw_card(painter, card, where, chosen)
        painter.end()

    def _draw_card(self, painter: QPainter, card: ServerCard, where: QRect,
                   chosen: tuple[int, int | None] | None) -> None:
        shades = theme.palette()
        edge = QPen(QColor(shades.accent if chosen else shades.border), 2 if chosen else 1)
        painter.setPen(edge)
        painter.setBrush(QColor(shades.surface))
        painter.drawRoundedRect(QRectF(where).adjusted(0.5, 0.5, -0.5, -0.5), 8, 8)
        area = where.adjusted(PAD, PAD - 2, -PAD, -PAD)
        word_width = self._draw_state(painter, card, area)
        painter.setPen(QColor(shades.text))
        painter.setFont(theme.font(10, bold=True))
        room = area.width() - word_width - theme.S
        painter.drawText(QRect(area.left(), area.top(), room, 20), int(Qt.AlignmentFlag.AlignVCenter),
                         painter.fontMetrics().elidedText(card.name, Qt.TextElideMode.ElideRight, room))
        painter.setFont(theme.font(9))
        painter.setPen(QColor(shades.muted))
        painter.drawText(QRect(area.left(), area.top() + 21, area.width(), 18), int(Qt.AlignmentFlag.AlignVCenter),
                         painter.fontMetrics().elidedText(card.line, Qt.TextElideMode.ElideRight, area.width()))
        if not card.tiles:
            painter.drawText(QRect(area.left(), where.top() + HEAD + PAD, area.width(), TILE_H),
                             int(Qt.AlignmentFlag.AlignVCenter), self._say(N_("No devices known")))
        for tile, place in zip(card.tiles, self._tile_places(card, where), strict=True):
            self._draw_tile(painter, tile, place, bool(chosen) and chosen[1] == tile.index)

    def _draw_state(self, painter: QPainter, card: ServerCard, area: QRect) -> int:
        colour = theme.palette().tone(card.tone)
        painter.setFont(theme.font(9, bold=True))
        width = painter.fontMetrics().horizontalAdvance(card.word)
        painter.setPen(colour)
        painter.drawText(QRect(area.right() - width, area.top(), width + 1, 20), int(Qt.AlignmentFlag.AlignVCenter),
                         card.word)
        icons.draw(painter, icons.TONE_ICONS[card.tone], colour,
                   QRectF(area.right() - width - 19, area.top() + 3, 14, 14))
        return width + 20

    def _draw_tile(self, painter: QPainter, tile: Tile, where: QRect, chosen: bool) -> None:
        shades = theme.palette()
        colour = shades.tone(tile.tone)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(shades.soft(tile.tone))
        painter.drawRoundedRect(QRectF(where), 5, 5)
        if tile.filled:
            painter.save()
            painter.setClipRect(QRectF(where.left(), where.bottom() + 1 - where.height() * tile.filled, where.width(),
                                       where.height() * tile.filled + 1))
            fill = QColor(colour)
            fill.setAlphaF(0.38)
            painter.setBrush(fill)
            painter.drawRoundedRect(QRectF(where), 5, 5)
            painter.restore()
        painter.setPen(QPen(QColor(shades.text) if chosen else colour, 2 if chosen else 1))
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.drawRoundedRect(QRectF(where).adjusted(0.5, 0.5, -0.5, -0.5), 5, 5)
        painter.setPen(QColor(shades.text))
        painter.setFont(theme.font(9, bold=True))
        painter.drawText(where.adjusted(0, 2, 0, -22), int(Qt.AlignmentFlag.AlignCenter), str(tile.index))
        icons.draw(painter, icons.TONE_ICONS[tile.tone], colour,
                   QRectF(where.center().x() - 6.5, where.bottom() - 19, 14, 14))

    @staticmethod
    def _tile_places(card: ServerCard, where: QRect) -> list[QRect]:
        return [QRect(where.left() + PAD + (place % ACROSS) * (TILE_W + GAP),
                      where.top() + HEAD + PAD + (place // ACROSS) * (TILE_H + GAP), TILE_W, TILE_H)
                for place in range(len(card.tiles))]

    def _at(self, point: QPoint) -> tuple[int, Tile | None] | None:
        point = point + QPoint(0, self.verticalScrollBar().value())
        for place, where in enumerate(self._places):
            if where.contains(point):
                card = self._cards[place]
                tile = next((t for t, at in zip(card.tiles, self._tile_places(card, where), strict=True)
                             if at.contains(point)), None)
                return place, tile
        return None

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """Qt's."""
        hit = self._at(event.position().toPoint())
        if hit:
            self._pick(hit[0], hit[1].index if hit[1] else None)

    def viewportEvent(self, event: QEvent) -> bool:
        """Qt's; tool tips of tiles."""
        if isinstance(event, QHelpEvent) and event.type() == QEvent.Type.ToolTip:
            hit = self._at(event.pos())
            QToolTip.showText(event.globalPos(), tip(hit[1].hint) if hit and hit[1] else "", self)
            return True
        return super().viewportEvent(event)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Qt's: up and down walk the servers, left and right the devices of one."""
        steps = {Qt.Key.Key_Down: (1, 0), Qt.Key.Key_Up: (-1, 0), Qt.Key.Key_Right: (0, 1), Qt.Key.Key_Left: (0, -1)}
        if event.key() not in steps or not self._cards:
            super().keyPressEvent(event)
            return
        server, device = steps[event.key()]
        place, tile = self._chosen or (-1 if server > 0 else 0, None)
        if server or self._chosen is None:
            self._pick(min(max(0, place + server), len(self._cards) - 1), None)
        else:
            self._step_device(place, tile, device)

    def _step_device(self, place: int, tile: int | None, step: int) -> None:
        known = [t.index for t in self._cards[place].tiles]
        if not known:
            return
        at = known.index(tile) + step if tile in known else (0 if step > 0 else -1)
        self._pick(place, known[at] if 0 <= at < len(known) else None)

    def _pick(self, place: int, device: int | None) -> None:
        self._chosen = (place, device)
        where = self._places[place]
        bar = self.verticalScrollBar()
        if where.top() < bar.value():
            bar.setValue(where.top() - theme.S)
        elif where.bottom() > bar.value() + self.viewport().height():
            bar.setValue(where.bottom() - self.viewport().height() + theme.S)
        self.viewport().update()
        self.picked.emit(self._cards[place].name, device)
