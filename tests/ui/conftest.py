"""Offscreen Qt, and the promise that a test leaves no thread of ours behind."""

from __future__ import annotations

import gc
import os
import threading

import pytest

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")


@pytest.fixture(scope="session")
def qapp_cls():
    from PySide6.QtWidgets import QApplication

    return QApplication


FULL_EVERY = 25
"""Tests between two full collections."""


@pytest.fixture(scope="session", autouse=True)
def rubbish_in_the_window_thread():
    """As in the program (ui/rubbish.py): a collection in a worker's thread would destroy Qt objects there."""
    gc.disable()
    yield iter(range(1, 1_000_000))
    gc.enable()


@pytest.fixture(autouse=True)
def rubbish_between_tests(rubbish_in_the_window_thread):
    """What a test left behind is gone before the next one."""
    yield
    gc.collect(1 if next(rubbish_in_the_window_thread) % FULL_EVERY else 2)


@pytest.fixture
def window(qtbot, qapp, tmp_path):
    """The window over a new workspace, in English."""
    from console.engine import Engine
    from tests.ui.test_screens import opened, settled

    with Engine.open(tmp_path / "workspace") as engine:
        application = opened(qapp, engine)
        try:
            settled(qtbot, application.window)
            yield application.window
        finally:
            application.close()


@pytest.fixture(autouse=True)
def no_threads_left():
    """Every thread named sealift-… that a test started has ended when it ends."""
    yield
    for thread in threading.enumerate():
        if thread.name.startswith("sealift-"):
            thread.join(10)
            assert not thread.is_alive(), f"left behind: {thread.name}"
