"""What all screens share: a heading with actions, reading off the GUI thread, and re-reading only what changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from PySide6.QtCore import Qt
from PySide6.QtGui import QShowEvent
from PySide6.QtWidgets import QHBoxLayout, QVBoxLayout, QWidget

from ui import theme
from ui.desk import Desk
from ui.widgets.basic import clear, column, label


class Screen(QWidget):
    """One journey. Subclasses give ``build`` (widgets), ``load`` (engine reads) and ``show_data`` (both meet).

    Attributes:
        id: the screen's name in the rail, in memory and in ``Desk.go``.
        kinds: the kinds of thing it shows; news of others does not make it read again.
    """

    id: ClassVar[str] = ""
    icon: ClassVar[str] = ""
    title: ClassVar[str] = ""
    lead: ClassVar[str] = ""
    kinds: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, desk: Desk):
        super().__init__()
        self.desk, self.engine, self.t = desk, desk.engine, desk.t
        self.memory = desk.remember(self.id)
        self._stale, self._asked, self._again, self._waiting = True, False, False, 0
        self.ready = False
        self.setProperty("role", "page")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.setAccessibleName(self.t(self.title))
        self._layout = QVBoxLayout(self)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self._layout.setSpacing(0)
        self.actions = QHBoxLayout()
        self.actions.setSpacing(theme.S)
        head = QHBoxLayout()
        head.setSpacing(theme.L)
        head.setContentsMargins(theme.XL, theme.L, theme.XL, theme.L)
        head.addLayout(column(label(self.t(self.title), "title"), label(self.t(self.lead), "muted", wrap=True), None, gap=2),
                       1)
        head.addLayout(self.actions)
        self._layout.addLayout(head)
        self.build()

    # -- for subclasses -------------------------------------------------------------------------------------------

    def build(self) -> None:
        """Make the widgets."""
        raise NotImplementedError

    def load(self) -> Any:
        """Read from the engine; runs in a reader thread."""
        raise NotImplementedError

    def show_data(self, data: Any) -> None:
        """Show what ``load`` read."""
        raise NotImplementedError

    def put(self, widget: QWidget) -> None:
        """Lay ``widget`` out below the heading."""
        self._layout.addWidget(widget, 1)

    def act(self, work: Callable[[], Any], done: Callable[[Any], None] | None = None,
            failed: Callable[[Exception], None] | None = None) -> None:
        """Do something short in the engine, off the GUI thread; errors go to ``failed`` or are shown."""
        self._waiting += 1

        def over(then: Callable[[Any], None] | None, value: Any) -> None:
            self._waiting -= 1
            if then is not None:
                then(value)

        self.desk.read(self, work, lambda value: over(done, value),
                       lambda error: over(failed or self.desk.problem.emit, error))

    def busy(self) -> bool:
        """Whether an answer from the engine is still on its way."""
        return self._waiting > 0 or self._again

    # -- reading --------------------------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Read again; while an answer is on its way, once more after it, however often it is asked for."""
        self._stale = False
        if self._asked:
            self._again = True
            return
        self._asked = True
        self.act(self.load, self._loaded, self._not_loaded)

    def _loaded(self, data: Any) -> None:
        self._asked = False
        self.show_data(data)
        self.ready = True
        self._once_more()

    def _not_loaded(self, problem: Exception) -> None:
        self._asked = False
        self.ready = True
        self.desk.problem.emit(problem)
        self._once_more()

    def _once_more(self) -> None:
        if self._again:
            self._again = False
            self.refresh()

    def news(self, changed: frozenset[str]) -> None:
        """Kinds of thing changed: read again if they concern us and we are in sight, else remember to."""
        if not changed & self.kinds:
            return
        self._stale = True
        if self.isVisible():
            self.refresh()

    def showEvent(self, event: QShowEvent) -> None:
        """Qt's."""
        super().showEvent(event)
        if self._stale:
            self.refresh()

    @staticmethod
    def empty(layout: Any) -> None:
        """Take everything out of ``layout``."""
        clear(layout)
