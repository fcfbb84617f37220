"""The window's part of the self-test: the real window on a workspace of its own, drawn once."""

from __future__ import annotations

import tempfile
from pathlib import Path

from PySide6.QtCore import qVersion
from PySide6.QtWidgets import QApplication

from console.engine import Engine
from ui.app import Application
from ui.preferences import Preferences


def check() -> str:
    """Draw the main window and look whether it drew anything.

    Returns:
        Qt's version, platform, and the number of colours drawn.

    Raises:
        RuntimeError: the picture is of one colour.
    """
    qt = QApplication.instance() or QApplication(["sealift"])
    with tempfile.TemporaryDirectory(prefix="sealift-window-",
                                     ignore_cleanup_errors=True) as scratch, Engine.open(Path(scratch)) as engine:
        application = Application(qt, engine, Preferences(engine.settings), "en")
        try:
            application.window.show()
            qt.processEvents()
            image = application.window.grab().toImage()
        finally:
            application.close()
            qt.processEvents()
    colours = {image.pixel(x, y) for x in range(0, image.width(), 7) for y in range(0, image.height(), 7)}
    if len(colours) < 5:
        raise RuntimeError("the window stayed empty")
    return f"Qt {qVersion()} on {qt.platformName()}, {image.width()} x {image.height()}, {len(colours)} colours"
