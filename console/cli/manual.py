"""``sealift manual`` and ``sealift errors``: what to do, and every error by its code."""

from __future__ import annotations

import argparse
from typing import Any

from console import manual
from console.errors import EXIT_DONE


def register(sub: argparse._SubParsersAction, common: list[argparse.ArgumentParser]) -> None:
    """Add ``manual`` and ``errors``."""
    parser = sub.add_parser("manual", parents=common, help="the manual, page by page")
    parser.add_argument("page", nargs="?", metavar="PAGE", help="the page to show; without, the list of pages")
    parser.set_defaults(run=_manual)
    parser = sub.add_parser("errors", parents=common, help="every error with its code and remedy")
    parser.set_defaults(run=_errors)


def _manual(args: argparse.Namespace, app: Any) -> int:
    if args.page:
        page = manual.page(args.page, app.lang)
        app.out({"page": page.id, "title": page.title, "text": page.text}, page.text)
        return EXIT_DONE
    pages = manual.pages(app.lang)
    wide = max(len(page.id) for page in pages)
    app.out({"pages": [{"page": page.id, "title": page.title} for page in pages]},
            "\n".join(f"{page.id:<{wide}}  {page.title}" for page in pages))
    return EXIT_DONE


def _errors(args: argparse.Namespace, app: Any) -> int:
    kinds = manual.every_error()
    app.out(
        {"errors": [{"code": k.code, "message": app.t(k.message), "remedy": app.t(k.remedy), "retryable": k.retryable,
                     "exit_code": k.family.exit_code} for k in kinds]},
        lambda: "\n".join(f"{k.code}  (exit {k.family.exit_code})\n    {app.t(k.message)}\n    {app.t(k.remedy)}" for k in kinds),
    )
    return EXIT_DONE
