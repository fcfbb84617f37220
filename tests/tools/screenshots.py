"""Pictures of every screen, in both themes, both languages and two sizes, for looking at with one's own eyes.

    python tests/tools/screenshots.py OUT [--empty] [--screens home,site] [--only light-en-1024]

Works on a workspace of its own with the practice site in it, so what the pictures show is what the engine gave.
Text that is cut off is printed, and makes the exit code 1.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

SIZES = ((1024, 700), (1680, 1050))


def main() -> int:
    """Grab the pictures.

    Returns:
        1 when text is cut off somewhere.
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--empty", action="store_true", help="an empty workspace instead of the practice site")
    parser.add_argument("--screens", default="", help="only these, separated by commas")
    parser.add_argument("--only", default="", help="only one variant, such as dark-zh_CN-1024")
    parser.add_argument("--workspace", type=Path, help="use (and keep) this workspace")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="sealift-pictures-", ignore_cleanup_errors=True) as scratch:
        return grab(args, args.workspace or Path(scratch) / "workspace", Path(scratch))


def grab(args: argparse.Namespace, workspace: Path, scratch: Path) -> int:
    """Open the window over ``workspace`` and take the pictures."""
    from console.engine import Engine
    from tests.ui import scenes
    from tests.ui.fit import cut_off
    from ui.app import Application, make_qt
    from ui.preferences import Preferences
    from ui.window import SCREENS

    qt, faults = make_qt(), []
    wanted = args.screens.split(",") if args.screens else [entry[0] for entry in SCREENS]
    with Engine.open(workspace) as engine:
        if not args.empty:
            scenes.full_site(engine, scratch)
        application = Application(qt, engine, Preferences(engine.settings), "en")
        window = application.window
        if not args.empty:
            scenes.drives_at(application, scratch)
        window.show()
        for theme_name in ("light", "dark"):
            for lang in ("en", "zh_CN"):
                window.restyle(theme_name, lang)
                for width, height in SIZES:
                    variant = f"{theme_name}-{lang}-{width}"
                    if args.only and args.only != variant:
                        continue
                    window.resize(width, height)
                    for screen in wanted:
                        window.show_screen(screen)
                        settle(qt, window)
                        for name, step in scenes.views(window, screen):
                            step()
                            settle(qt, window)
                            window.grab().save(str(args.out / f"{screen}{name}-{variant}.png"))
                            faults += [f"{screen}{name} {variant}: {fault}" for fault in cut_off(window)]
                        for name, dialog in scenes.dialogs(window, screen, scratch):
                            settle(qt, window, rest_s=0.6)
                            dialog.grab().save(str(args.out / f"{screen}-{name}-{variant}.png"))
                            faults += [f"{screen}-{name} {variant}: {fault}" for fault in cut_off(dialog)]
                            dialog.reject()
        application.close()
    print("\n".join(faults) or "nothing is cut off")
    return 1 if faults else 0


def settle(qt, window, timeout_s: float = 20.0, rest_s: float = 0.0) -> None:
    """Let the window come to rest: the screen has its data and the queue is empty; at least ``rest_s`` for a dialog."""
    end, quiet = time.monotonic() + timeout_s, -round(rest_s / 0.03)
    while time.monotonic() < end and quiet < 3:
        qt.processEvents()
        quiet = quiet + 1 if window.current().ready and not window.current().busy() else 0
        time.sleep(0.03)


if __name__ == "__main__":
    sys.exit(main())
