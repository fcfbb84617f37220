"""Whether Qt could open a window here, asked before Qt is: it ends the whole process when it cannot, with advice of its own."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import socket
import sys
from contextlib import suppress
from pathlib import Path

from console.cli.main import NO_DISPLAY

_X_SOCKETS = "/tmp/.X11-unix/X"
_X_FIRST_PORT = 6000
_TIMEOUT_S = 3


def require_display() -> None:
    """Return when a window can be opened.

    Raises:
        WorldError: ``window.no-display``, saying what is missing.
    """
    if not sys.platform.startswith("linux") or os.environ.get("QT_QPA_PLATFORM"):
        return  # elsewhere there is always a desktop, and who names a platform means it
    wayland, display = os.environ.get("WAYLAND_DISPLAY"), os.environ.get("DISPLAY", "")
    if not wayland and not display:
        raise NO_DISPLAY(reason="neither DISPLAY nor WAYLAND_DISPLAY is set")
    if missing := _missing_library("libqxcb.so" if display else "libqwayland-generic.so"):
        raise NO_DISPLAY(reason=missing)
    if not wayland and not _answers(display):
        raise NO_DISPLAY(reason=f"nothing answers on the display {display}")


def _missing_library(plugin: str) -> str | None:
    """What the loader says about the plugin's own libraries, such as a libxcb part that the system lacks."""
    found = importlib.util.find_spec("PySide6")
    places = [Path(place) / "Qt" / "plugins" / "platforms" / plugin for place in (found.submodule_search_locations if found else ())]
    for place in places:
        if place.is_file():
            try:
                ctypes.CDLL(str(place))
            except OSError as problem:
                return str(problem)
    return None


def _answers(display: str) -> bool:
    host, _, number = display.rpartition(":")
    number = number.split(".", 1)[0]
    if not number.isdigit():
        return False
    if host in ("", "unix"):
        return any(_connects(socket.AF_UNIX, address) for address in (f"{_X_SOCKETS}{number}", f"\0{_X_SOCKETS}{number}"))
    if host.startswith("/"):
        return _connects(socket.AF_UNIX, display)
    return _connects(socket.AF_INET, (host, _X_FIRST_PORT + int(number)))


def _connects(family: socket.AddressFamily, address: object) -> bool:
    with suppress(OSError), socket.socket(family) as link:
        link.settimeout(_TIMEOUT_S)
        link.connect(address)
        return True
    return False
