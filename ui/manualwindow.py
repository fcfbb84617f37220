"""The manual in a window of its own, so that it can stay open beside the work."""

from __future__ import annotations

from PySide6.QtCore import Qt, QTimer
from PySide6.QtGui import (
    QColor,
    QKeySequence,
    QShortcut,
    QTextBlock,
    QTextBlockFormat,
    QTextCharFormat,
    QTextCursor,
    QTextDocument,
    QTextFormat,
    QTextLength,
    QTextTable,
)
from PySide6.QtWidgets import QHBoxLayout, QLineEdit, QListWidget, QListWidgetItem, QSplitter, QTextBrowser, QTextEdit, QWidget

from console.i18n import N_
from console.manual import Page, pages
from ui import theme
from ui.desk import Desk
from ui.widgets.basic import column, holder, label

PAGE_OF_SCREEN = {"home": "start", "setup": "site", "library": "bundles", "site": "servers", "readiness": "readiness", "deploy": "deploy",
                  "proof": "proof"}
"""What F1 opens from each screen."""

SEARCH_AFTER_MS = 150


class ManualWindow(QWidget):
    """Pages on the left, the text on the right, a search over all of them above."""

    def __init__(self, desk: Desk, page: str = "start"):
        super().__init__(None, Qt.WindowType.Window)
        self._desk, self._pages, self._wanted = desk, {}, page
        self.setWindowTitle(desk.t(N_("Sealift manual")))
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.resize(1080, 760)
        self._search = QLineEdit(placeholderText=desk.t(N_("Search in all pages")), clearButtonEnabled=True)
        self._search.setAccessibleName(desk.t(N_("Search in all pages")))
        self._found = label("", "small")
        self._list = QListWidget()
        self._list.setAccessibleName(desk.t(N_("Pages of the manual")))
        self._list.currentItemChanged.connect(self._show_current)
        self._text = QTextBrowser(openLinks=False)
        self._text.setAccessibleName(desk.t(N_("Page")))
        self._text.setFrameShape(QTextBrowser.Shape.NoFrame)
        self._text.document().setDocumentMargin(theme.XL)
        left = holder(column(self._search, self._found, self._list, gap=theme.S, margins=(theme.M, theme.M, theme.M, theme.M)), "page")
        left.setFixedWidth(290)
        parts = QSplitter()
        parts.addWidget(left)
        parts.addWidget(self._text)
        parts.setStretchFactor(1, 1)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(parts)
        self._soon = QTimer(self, interval=SEARCH_AFTER_MS, singleShot=True)
        self._soon.timeout.connect(self._filter)
        self._search.textChanged.connect(self._soon.start)
        self._search.returnPressed.connect(self._next_hit)
        QShortcut(QKeySequence.StandardKey.Find, self, self._search.setFocus)
        QShortcut(QKeySequence(Qt.Key.Key_Escape), self, self.close)
        desk.read(self, lambda: pages(desk.lang), self._fill)

    def open_page(self, page: str) -> None:
        """Show ``page``, now or when the pages have been read."""
        self._wanted = page
        for place in range(self._list.count()):
            if self._list.item(place).data(Qt.ItemDataRole.UserRole) == page:
                self._list.setCurrentRow(place)

    def _fill(self, found: tuple[Page, ...]) -> None:
        self._pages = {page.id: page for page in found}
        for page in found:
            item = QListWidgetItem(page.title)
            item.setData(Qt.ItemDataRole.UserRole, page.id)
            item.setToolTip(page.title)
            self._list.addItem(item)
        self.open_page(self._wanted)

    def _show_current(self) -> None:
        item = self._list.currentItem()
        if item is not None:
            self._text.setDocument(rendered(self._pages[item.data(Qt.ItemDataRole.UserRole)].text, self._text))
            self._mark_hits()

    def _filter(self) -> None:
        wanted = self._search.text().casefold()
        hits = {page.id: page.text.casefold().count(wanted) if wanted else 0 for page in self._pages.values()}
        shown = []
        for place in range(self._list.count()):
            item = self._list.item(place)
            item.setHidden(bool(wanted) and not hits[item.data(Qt.ItemDataRole.UserRole)])
            if not item.isHidden():
                shown.append(item)
        self._found.setText("" if not wanted else self._desk.t(N_("{hits} hits on {pages} pages"), hits=sum(hits.values()), pages=len(shown)))
        if shown and (self._list.currentItem() is None or self._list.currentItem().isHidden()):
            self._list.setCurrentItem(shown[0])
        else:
            self._mark_hits()

    def _mark_hits(self) -> None:
        marks, wanted = [], self._search.text()
        look = QTextCharFormat()
        look.setBackground(theme.palette().soft("warn"))
        cursor = QTextCursor(self._text.document())
        while wanted and not (cursor := self._text.document().find(wanted, cursor)).isNull():
            mark = QTextEdit.ExtraSelection()
            mark.cursor, mark.format = cursor, look
            marks.append(mark)
        self._text.setExtraSelections(marks)
        if marks and not self._text.textCursor().hasSelection():
            self._text.setTextCursor(marks[0].cursor)

    def _next_hit(self) -> None:
        if not self._text.find(self._search.text()):
            self._text.moveCursor(QTextCursor.MoveOperation.Start)
            self._text.find(self._search.text())


def rendered(markdown: str, owner: QWidget) -> QTextDocument:
    """A document of ``markdown`` in the theme's colours, its tables ruled and its code set apart."""
    made = QTextDocument(owner)
    made.setDocumentMargin(theme.XL)
    made.setDefaultFont(theme.font(10.5))
    made.setMarkdown(markdown, QTextDocument.MarkdownFeature.MarkdownDialectGitHub)
    # One edit, for laying out again after each change takes ten times as long.
    edit = QTextCursor(made)
    edit.beginEditBlock()
    for frame in made.rootFrame().childFrames():
        if isinstance(frame, QTextTable):
            _rule(frame)
    block = made.begin()
    while block.isValid():
        _dress(block)
        block = block.next()
    edit.endEditBlock()
    return made


def _rule(table: QTextTable) -> None:
    look = table.format()
    look.setWidth(QTextLength(QTextLength.Type.PercentageLength, 100))
    look.setBorder(1)
    look.setBorderCollapse(True)
    look.setBorderBrush(QColor(theme.palette().border_strong))
    look.setCellPadding(theme.S)
    look.setCellSpacing(0)
    look.setTopMargin(theme.S)
    look.setBottomMargin(theme.L)
    table.setFormat(look)


def _dress(block: QTextBlock) -> None:
    cursor, space, shades = QTextCursor(block), QTextBlockFormat(), theme.palette()
    code = block.blockFormat().hasProperty(QTextFormat.Property.BlockCodeLanguage)
    if heading := block.blockFormat().headingLevel():
        space.setTopMargin(theme.L if heading > 1 else 0)
        space.setBottomMargin(theme.S)
    elif code:
        follows = block.next().blockFormat().hasProperty(QTextFormat.Property.BlockCodeLanguage)
        space.setBackground(QColor(shades.sunken))
        space.setTextIndent(theme.S)
        space.setBottomMargin(0 if follows else theme.M)
    elif cursor.currentTable() is None and not block.textList():
        space.setBottomMargin(theme.M)
    cursor.mergeBlockFormat(space)
    mono = QTextCharFormat()
    mono.setFont(theme.mono(9.5), QTextCharFormat.FontPropertiesInheritanceBehavior.FontPropertiesSpecifiedOnly)
    if not code:
        mono.setBackground(QColor(shades.sunken))
    for piece in [place.fragment() for place in block]:
        if code or piece.charFormat().fontFixedPitch():
            cursor.setPosition(piece.position())
            cursor.setPosition(piece.position() + piece.length(), QTextCursor.MoveMode.KeepAnchor)
            cursor.mergeCharFormat(mono)
