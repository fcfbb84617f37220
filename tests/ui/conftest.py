"""Offscreen Qt, and the promise that a test leaves no thread of ours behind."""

from __future__ import annotations

import os
import threading

import pytest

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")


@pytest.fixture(scope="session")
def qapp_cls():
    from PySide6.QtWidgets import QApplication

    return QApplication


@pytest.fixture(autouse=True)
def no_threads_left():
    """Every thread named sealift-… that a test started has ended when it ends."""
    yield
    for thread in threading.enumerate():
        if thread.name.startswith("sealift-"):
            thread.join(10)
            assert not thread.is_alive(), f"left behind: {thread.name}"
