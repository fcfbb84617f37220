"""The small parts every screen is laid out from. All text is shown as plain text, whatever it contains."""

from __future__ import annotations

import html
import re
from collections.abc import Callable

from PySide6.QtCore import QEvent, QRect, QRectF, QSize, Qt
from PySide6.QtGui import QGuiApplication, QIcon, QPainter, QPaintEvent, QResizeEvent
from PySide6.QtWidgets import (
    QBoxLayout,
    QFrame,
    QHBoxLayout,
    QLabel,
    QLayout,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from ui import icons, theme

PAGE_WIDTH = 1480
"""Past this width a page gets margins instead of longer lines."""

_RUN = 16
_LONG_RUN = re.compile(r"\S{20,}")

Child = QWidget | QLayout | int | None
"""What a box takes: a widget, a layout, a number (fixed space), or None (stretch)."""


def tip(text: str) -> str:
    """``text`` as a tool tip that is never read as HTML."""
    return f"<qt>{html.escape(text)}</qt>".replace("\n", "<br>") if text else ""


def box(layout: QBoxLayout, *children: Child, gap: int = theme.S, margins: tuple[int, int, int, int] = (0, 0, 0, 0)
        ) -> QBoxLayout:
    """Fill ``layout`` with ``children``."""
    layout.setSpacing(gap)
    layout.setContentsMargins(*margins)
    for child in children:
        if child is None:
            layout.addStretch(1)
        elif isinstance(child, int):
            layout.addSpacing(child)
        elif isinstance(child, QLayout):
            layout.addLayout(child)
        else:
            layout.addWidget(child)
    return layout


def row(*children: Child, gap: int = theme.S, margins: tuple[int, int, int, int] = (0, 0, 0, 0)) -> QBoxLayout:
    """Children side by side."""
    return box(QHBoxLayout(), *children, gap=gap, margins=margins)


def column(*children: Child, gap: int = theme.S, margins: tuple[int, int, int, int] = (0, 0, 0, 0)) -> QBoxLayout:
    """Children below each other."""
    return box(QVBoxLayout(), *children, gap=gap, margins=margins)


def holder(layout: QLayout, role: str | None = None) -> QWidget:
    """A widget around ``layout``."""
    made = QWidget()
    made.setLayout(layout)
    if role:
        made.setProperty("role", role)
        made.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
    return made


def label(text: str = "", role: str | None = None, *, wrap: bool = False, selectable: bool = False) -> QLabel:
    """Plain text in a role of the theme."""
    made = WrapLabel() if wrap else QLabel()
    made.setTextFormat(Qt.TextFormat.PlainText)
    made.setText(text)
    if role:
        made.setProperty("role", role)
    if selectable:
        made.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse
                                     | Qt.TextInteractionFlag.TextSelectableByKeyboard)
        made.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
    return made


class WrapLabel(QLabel):
    """Text over several lines that is as high as its lines at the width it was given.

    Nested layouts lose count of height for width, which cuts lines off or leaves gaps; so the height is set here,
    whenever width, text or font change.
    """

    def __init__(self) -> None:
        super().__init__()
        self.setWordWrap(True)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)

    def hasHeightForWidth(self) -> bool:
        """No: see the class."""
        return False

    def sizeHint(self) -> QSize:
        """As wide as one line, within reason."""
        wide = self.fontMetrics().horizontalAdvance(self.text().split("\n", 1)[0]) + 2
        return QSize(min(wide, 420), self._needed(self.width()))

    def minimumSizeHint(self) -> QSize:
        """Narrow."""
        return QSize(min(72, self.sizeHint().width()), self._needed(self.width()))

    def setText(self, text: str) -> None:
        """Show ``text``."""
        super().setText(text)
        self._fit()

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Qt's."""
        super().resizeEvent(event)
        self._fit()

    def changeEvent(self, event: QEvent) -> None:
        """Qt's."""
        super().changeEvent(event)
        if event.type() in (QEvent.Type.FontChange, QEvent.Type.StyleChange):
            self._fit()

    def _needed(self, width: int) -> int:
        # Not heightForWidth, which is never less than the height that was set last.
        flags = Qt.TextFlag.TextWordWrap | Qt.TextFlag.TextExpandTabs
        margins = self.contentsMargins()
        room = QRect(0, 0, max(width, 72) - margins.left() - margins.right(), 1 << 20)
        lines = self.fontMetrics().boundingRect(room, int(flags | self.alignment()), self.text()).height()
        return max(lines, self.fontMetrics().height()) + margins.top() + margins.bottom()

    def _fit(self) -> None:
        height = self._needed(self.width())
        if height != self.minimumHeight() or height != self.maximumHeight():
            self.setFixedHeight(height)


class ElidedLabel(QLabel):
    """One line that gives way: what does not fit ends in an ellipsis, and the tool tip has it all."""

    def __init__(self, text: str = "", role: str | None = None,
                 mode: Qt.TextElideMode = Qt.TextElideMode.ElideRight):
        super().__init__()
        self.setTextFormat(Qt.TextFormat.PlainText)
        self._mode = mode
        if role:
            self.setProperty("role", role)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setText(text)

    def setText(self, text: str) -> None:
        """Show ``text``; a line break becomes a space."""
        super().setText(" ".join(text.split("\n")))
        self._hint()

    def minimumSizeHint(self) -> QSize:
        """Narrow: the label gives way to its neighbours."""
        return QSize(min(48, super().sizeHint().width()), super().sizeHint().height())

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Qt's."""
        super().resizeEvent(event)
        self._hint()

    def elided(self) -> bool:
        """Whether some of the text is not to be seen."""
        return self.fontMetrics().horizontalAdvance(self.text()) > self.contentsRect().width()

    def _hint(self) -> None:
        self.setToolTip(tip(self.text()) if self.elided() else "")

    def paintEvent(self, _event: QPaintEvent) -> None:
        """Qt's."""
        painter = QPainter(self)
        room = self.contentsRect()
        text = self.fontMetrics().elidedText(self.text(), self._mode, room.width())
        self.style().drawItemText(painter, room, int(self.alignment() | Qt.AlignmentFlag.AlignVCenter), self.palette(),
                                  self.isEnabled(), text, self.foregroundRole())
        painter.end()


def breakable(text: str) -> str:
    """``text`` that may be broken within paths and digests; for showing only, never for copying."""
    return _LONG_RUN.sub(lambda run: "\u200b".join(_pieces(run[0])), text)


def _pieces(run: str) -> list[str]:
    parts = re.split(r"(?<=[/:=,._-])", run)
    return [part[at:at + _RUN] for part in parts for at in range(0, len(part), _RUN)]


def button(text: str, click: Callable[[], object] | None = None, *, role: str | None = None, icon: str | None = None,
           hint: str = "") -> QPushButton:
    """A push button; ``text`` may carry a mnemonic."""
    made = QPushButton(text)
    made.setCursor(Qt.CursorShape.PointingHandCursor)
    made.setAutoDefault(False)
    if role:
        made.setProperty("role", role)
    if icon:
        shades = theme.palette()
        colour = {"primary": shades.on_accent, "quiet": shades.accent, "icon": shades.muted, "danger": shades.fail}.get(role or "",
                                                                                                  shades.text)
        made.setIcon(icons.icon(icon, colour, shades.border_strong, 16))
        made.setIconSize(QSize(16, 16))
    if hint:
        made.setToolTip(tip(hint))
        made.setAccessibleDescription(hint)
    if click:
        made.clicked.connect(lambda _checked=False: click())
    made.setSizePolicy(QSizePolicy.Policy.Minimum if text else QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
    return made


ICON_BUTTON_PX = 32


def icon_button(name: str, text: str, click: Callable[[], object] | None = None) -> QPushButton:
    """A button that is only an icon; ``text`` is its tool tip and accessible name."""
    made = button("", click, role="icon", icon=name, hint=text)
    made.setAccessibleName(text)
    made.setFixedSize(ICON_BUTTON_PX, ICON_BUTTON_PX)
    return made


def picture(name: str, colour: str, size: int = 18) -> QLabel:
    """An icon on its own."""
    made = QLabel()
    made.setPixmap(icons.pixmap(name, colour, size))
    made.setFixedSize(size, size)
    return made


def line() -> QFrame:
    """A thin rule."""
    made = QFrame()
    made.setProperty("role", "line")
    made.setFixedHeight(1)
    return made


class Card(QFrame):
    """A surface with an optional heading, with room for actions to the right of it."""

    def __init__(self, heading: str = "", *children: Child, actions: tuple[QWidget, ...] = (), gap: int = theme.M,
                 role: str = "card", stretch: bool = False):
        super().__init__()
        self.setProperty("role", role)
        self.body = QVBoxLayout(self)
        edge = theme.L if role == "card" else theme.M
        box(self.body, gap=gap, margins=(edge, edge, edge, edge))
        self.heading = label(heading, "heading") if heading else None
        if heading or actions:
            top = row(*( [self.heading] if self.heading else []), None, *actions)
            self.body.addLayout(top)
        for child in children:
            self.add(child)
        self.setSizePolicy(QSizePolicy.Policy.Preferred,
                           QSizePolicy.Policy.Expanding if stretch else QSizePolicy.Policy.Maximum)

    def add(self, child: Child, stretch: int = 0) -> None:
        """Append ``child``."""
        if child is None:
            self.body.addStretch(1)
        elif isinstance(child, int):
            self.body.addSpacing(child)
        elif isinstance(child, QLayout):
            self.body.addLayout(child, stretch)
        else:
            self.body.addWidget(child, stretch)


class Badge(QWidget):
    """A status: a colour, a shape and a word, so that none has to speak alone.

    It draws itself: a style sheet of its own for each of hundreds of badges would cost the window's thread dearly.
    """

    _ICON, _EDGE, _GAP = 14, 8, 5

    def __init__(self, tone: str = "muted", word: str = ""):
        super().__init__()
        self._tone, self._icon, self._word = tone, "", ""
        self.setFont(theme.font(9, bold=True))
        self.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        self.show_status(tone, word)

    def show_status(self, tone: str, word: str, icon: str | None = None) -> None:
        """Say ``word`` in ``tone``."""
        shown = (tone, icon or icons.TONE_ICONS[tone], word)
        if shown == (self._tone, self._icon, self._word):
            return
        self._tone, self._icon, self._word = shown
        self.setAccessibleName(word)
        self.updateGeometry()
        self.update()

    def sizeHint(self) -> QSize:
        """As wide as icon and word."""
        metrics = self.fontMetrics()
        wide = 2 * self._EDGE + self._ICON + self._GAP + metrics.horizontalAdvance(self._word) + 1
        return QSize(wide, max(self._ICON, metrics.height()) + 4)

    def paintEvent(self, _event: QPaintEvent) -> None:
        """Qt's."""
        painter, shades, room = QPainter(self), theme.palette(), QRectF(self.rect())
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(shades.soft(self._tone))
        painter.drawRoundedRect(room, min(10.0, room.height() / 2), min(10.0, room.height() / 2))
        colour = shades.tone(self._tone)
        painter.drawPixmap(self._EDGE, round((room.height() - self._ICON) / 2), icons.pixmap(self._icon, colour.name(), self._ICON))
        painter.setPen(colour)
        painter.drawText(room.adjusted(self._EDGE + self._ICON + self._GAP, 0, 0, 0), Qt.AlignmentFlag.AlignVCenter, self._word)
        painter.end()


class Banner(QFrame):
    """A message across the page: what is so, and what to do about it."""

    def __init__(self, tone: str, text: str, detail: str = "", *actions: QWidget):
        super().__init__()
        self.setProperty("role", f"banner-{tone}")
        # A fingerprint that a person is to compare must not end at the edge.
        words = column(label(breakable(text), "strong", wrap=True), gap=2)
        if detail:
            words.addWidget(label(breakable(detail), wrap=True))
        mark = picture(icons.TONE_ICONS[tone], theme.palette().tone(tone).name(), 20)
        layout = row(mark, gap=theme.M, margins=(theme.M, theme.M - 2, theme.M, theme.M - 2))
        layout.setAlignment(mark, Qt.AlignmentFlag.AlignTop)
        layout.addLayout(words, 1)
        for action in actions:
            layout.addWidget(action)
        self.setLayout(layout)
        self.setAccessibleName(text)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Maximum)


class EmptyState(QWidget):
    """What an empty place says: a picture, one sentence, and the button that goes on."""

    def __init__(self, icon: str, heading: str, sentence: str, *actions: QWidget):
        super().__init__()
        mark = QLabel()
        mark.setPixmap(_disc(icon))
        mark.setFixedSize(88, 88)
        words = label(sentence, "muted", wrap=True)
        words.setAlignment(Qt.AlignmentFlag.AlignHCenter)
        words.setMinimumWidth(280)
        words.setMaximumWidth(520)
        title = label(heading, "heading")
        middle = row()
        middle.addStretch(1)
        middle.addWidget(words, 6)
        middle.addStretch(1)
        layout = column(None, row(None, mark, None), 4, row(None, title, None), middle, gap=theme.S,
                        margins=(theme.S, theme.XL, theme.S, theme.XL))
        if actions:
            layout.addSpacing(theme.S)
            layout.addLayout(row(None, *actions, None, gap=theme.M))
        layout.addStretch(2)
        self.setLayout(layout)
        self.setAccessibleName(f"{heading}. {sentence}")


def _disc(icon: str):
    from PySide6.QtGui import QColor, QPixmap

    shades = theme.palette()
    ratio = QGuiApplication.primaryScreen().devicePixelRatio()
    made = QPixmap(round(88 * ratio), round(88 * ratio))
    made.setDevicePixelRatio(ratio)
    made.fill(Qt.GlobalColor.transparent)
    painter = QPainter(made)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(QColor(shades.accent_soft))
    painter.drawEllipse(QRectF(4, 4, 80, 80))
    icons.draw(painter, icon, shades.accent, QRectF(26, 26, 36, 36))
    painter.end()
    return made


class Page(QScrollArea):
    """A page that scrolls up and down, keeps a readable width, and grows with its window."""

    def __init__(self, *children: Child, width: int = PAGE_WIDTH, gap: int = theme.L):
        super().__init__()
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        inner = QWidget()
        inner.setMaximumWidth(width)
        self.body = column(*children, gap=gap, margins=(theme.XL, 0, theme.XL, theme.XL))
        inner.setLayout(self.body)
        outer = QWidget()
        outer.setProperty("role", "page")
        frame = QHBoxLayout(outer)
        frame.setContentsMargins(0, 0, 0, 0)
        frame.addWidget(inner, 1)
        frame.addStretch(0)
        self.setWidget(outer)

    def add(self, child: Child, stretch: int = 0) -> None:
        """Append ``child``."""
        if isinstance(child, QWidget):
            self.body.addWidget(child, stretch)
        elif isinstance(child, QLayout):
            self.body.addLayout(child, stretch)
        else:
            self.body.addStretch(1)


def field(caption: str, widget: QWidget, hint: str = "", *, wrap: bool = False) -> QVBoxLayout:
    """A captioned input: the caption above, a hint below; the caption is the input's accessible name."""
    top = label(caption, "strong", wrap=wrap)
    top.setBuddy(widget)
    if "&" in caption:
        top.setTextFormat(Qt.TextFormat.AutoText)
    widget.setAccessibleName(caption.replace("&", ""))
    layout = column(top, widget, gap=theme.XS)
    if hint:
        layout.addWidget(label(hint, "small", wrap=True))
        widget.setAccessibleDescription(hint)
    layout.addStretch(1)
    return layout


def facts(pairs: list[tuple[str, str]], *, mono: tuple[str, ...] = ()) -> QWidget:
    """Captions and values in two columns; values give way and can be copied from their tool tip."""
    from PySide6.QtWidgets import QGridLayout

    made = QWidget()
    grid = QGridLayout(made)
    grid.setContentsMargins(0, 0, 0, 0)
    grid.setHorizontalSpacing(theme.L)
    grid.setVerticalSpacing(6)
    grid.setColumnStretch(1, 1)
    for place, (caption, value) in enumerate(pairs):
        grid.addWidget(label(caption, "muted"), place, 0)
        grid.addWidget(ElidedLabel(value, "mono" if caption in mono else None), place, 1)
    return made


def clear(layout: QLayout) -> None:
    """Take everything out of ``layout`` and delete it."""
    while layout.count():
        item = layout.takeAt(0)
        widget, inner = item.widget(), item.layout()
        if widget is not None:
            widget.hide()
            widget.deleteLater()
        elif inner is not None:
            clear(inner)
            inner.deleteLater()


def copy_text(text: str) -> None:
    """Put ``text`` on the clipboard."""
    QGuiApplication.clipboard().setText(text)


def window_icon() -> QIcon:
    """The program's own mark."""
    return icons.icon("mark", "#0b6b82", size=64)
