"""The program ``sealift``: the command line, and without a command the window. Imports no Qt by itself."""

from __future__ import annotations

import sys
from typing import Any


def open_window(*args: Any, **options: Any) -> int:
    """Open the window; Qt is loaded only now, so that the command line runs where there is none."""
    from ui.display import require_display

    require_display()
    from ui.app import run

    return run(*args, **options)


def check_window() -> str:
    """Show a first window and close it again, for the self-test.

    Returns:
        What was seen, in words.
    """
    from ui.selfcheck import check

    return check()


def main(argv: list[str] | None = None) -> int:
    """Entry point of the program.

    Returns:
        The exit code.
    """
    from console.cli.main import main as command_line

    return command_line(argv, open_window=open_window, window_check=check_window)


if __name__ == "__main__":
    sys.exit(main())
