"""Our own line icons, drawn from the files under ``assets/icons`` in whatever colour the theme asks for."""

from __future__ import annotations

from functools import cache, lru_cache

from PySide6.QtCore import QByteArray, QRectF, Qt
from PySide6.QtGui import QColor, QGuiApplication, QIcon, QPainter, QPixmap
from PySide6.QtSvg import QSvgRenderer

from console.assets import asset

TONE_ICONS = {"ok": "check", "info": "info", "warn": "alert", "fail": "cross", "unknown": "question", "muted": "dot",
              "accent": "dot"}
"""The shape that goes with each tone, so that colour never speaks alone."""


@cache
def _source(name: str) -> str:
    return (asset("icons") / f"{name}.svg").read_text(encoding="utf-8")


@lru_cache(maxsize=512)
def pixmap(name: str, colour: str, size: int = 18, ratio: float | None = None) -> QPixmap:
    """Icon ``name`` in ``colour`` (``#rrggbb``), ``size`` logical pixels wide and high."""
    if ratio is None:
        screen = QGuiApplication.primaryScreen()
        ratio = screen.devicePixelRatio() if screen else 1.0
    made = QPixmap(round(size * ratio), round(size * ratio))
    made.setDevicePixelRatio(ratio)
    made.fill(Qt.GlobalColor.transparent)
    painter = QPainter(made)
    draw(painter, name, colour, QRectF(0, 0, size, size))
    painter.end()
    return made


@lru_cache(maxsize=512)
def _renderer(name: str, colour: str) -> QSvgRenderer:
    return QSvgRenderer(QByteArray(_source(name).replace("currentColor", colour).encode()))


def draw(painter: QPainter, name: str, colour: str | QColor, where: QRectF) -> None:
    """Draw icon ``name`` into ``where``."""
    shade = colour.name() if isinstance(colour, QColor) else colour
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    _renderer(name, shade).render(painter, where)


def icon(name: str, colour: str, disabled: str | None = None, size: int = 18) -> QIcon:
    """A QIcon of ``name``."""
    made = QIcon(pixmap(name, colour, size))
    if disabled:
        made.addPixmap(pixmap(name, disabled, size), QIcon.Mode.Disabled)
    return made


def forget() -> None:
    """Drop what was rendered; called when the application goes down, while Qt still stands."""
    pixmap.cache_clear()
    _renderer.cache_clear()
