"""The command line: one parser, one place where errors become text and exit codes.

Each module of :mod:`console.cli` that has a ``register(sub, common)`` adds its commands; a command's ``run(args, app)``
returns the exit code.
"""

from __future__ import annotations

import argparse
import atexit
import contextlib
import gc
import getpass
import importlib
import io
import json
import os
import re
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import console
from console import registry
from console.cli.output import Encoded, ProgressPrinter, errors_told
from console.errors import (
    EXIT_CANCELLED,
    EXIT_DONE,
    EXIT_USAGE,
    INTERNAL,
    Cancelled,
    InputError,
    SealiftError,
    UsageError,
    WorldError,
    code,
    shown,
)
from console.i18n import LANGUAGES, N_, tr
from console.processes import LITTER, WORKERS
from console.secrets import Secret
from console.servers.plain import plain

USAGE = code("command.usage", UsageError, N_("{problem}"), N_("`sealift {command}--help` shows how the command is used."))
NO_SECRET = code(
    "command.no-secret",
    InputError,
    N_("A password is needed, and there is nobody to ask."),
    N_("Run it on a terminal, or give a file with the option that ends in -file."),
)
SECRET_FILE = code(
    "command.secret-file", InputError, N_("The file {path} cannot be read: {reason}."), N_("Check the path and the rights of the file.")
)
CANCELLED = code(
    "command.cancelled", WorldError, N_("Cancelled; what was under way was brought to a safe stop."), N_("Start it again when you want it."),
    retryable=True,
)
NO_WINDOW = code(
    "command.no-window", UsageError, N_("This installation has no window; name a command."), N_("`sealift --help` lists the commands.")
)
NO_DISPLAY = code(
    "window.no-display", WorldError, N_("The window cannot open here: {reason}."),
    N_("Start Sealift on a desktop, or name a command: everything works without the window too; `sealift --help` lists the commands."),
)


GROUPS = (
    (N_("Set up the site"), ("site", "account", "approval", "trust", "key", "settings", "practice")),
    (N_("Bundles and models"), ("bundle", "model", "catalog", "fit")),
    (N_("Servers"), ("server", "inventory", "ready")),
    (N_("Into service"), ("push", "deploy", "smoke")),
    (N_("Proof"), ("audit", "jobs")),
    (N_("This program"), ("manual", "errors", "demo", "self-test")),
)
"""The commands in the order of the work, as ``sealift --help`` shows them."""

ALONE = ("server", "inventory", "ready")
"""Commands, each of the module of its name, that load no other's: to load all takes longer than they do. Errors that were kept are told
in words by whoever has loaded their kind; these show none but of what they load themselves."""


PROBLEMS = (
    (r"the following arguments are required: (?P<names>.+)", N_("This is missing: {names}")),
    (r"unrecognized arguments: (?P<names>.+)", N_("This is not known here: {names}")),
    (r"argument (?P<name>.+?): invalid choice: (?P<value>.+) \(choose from (?P<names>.+)\)", N_("{name} cannot be {value}; choose from {names}")),
    (r"argument (?P<name>.+?): expected one argument", N_("{name} needs a value")),
    (r"argument (?P<name>.+?): expected at least one argument", N_("{name} needs at least one value")),
    (r"argument (?P<name>.+?): not allowed with argument (?P<other>.+)", N_("{name} and {other} do not go together")),
    (r"argument (?P<name>.+?): invalid (?P<kind>\w+) value: (?P<value>.+)", N_("{name} cannot be {value}")),
    (r"ambiguous option: (?P<value>.+) could match (?P<names>.+)", N_("{value} may mean one of {names}")),
)
"""What the parser complains of in its own words, and ours."""


MAX_LISTED = 50
"""Findings of one refusal that are printed."""


class _Parser(argparse.ArgumentParser):
    lang = "en"

    def error(self, message: str) -> NoReturn:
        for form, text in PROBLEMS:
            if match := re.fullmatch(form, message, re.DOTALL):
                found = match.groupdict()
                if "names" in found:  # what starts with an underscore is started by the program itself
                    found["names"] = ", ".join(n for n in found["names"].split(", ") if not n.startswith("'_"))
                message = tr(text, self.lang, **found)
                break
        raise USAGE(problem=message, command="".join(f"{word} " for word in self.prog.split()[1:]))


class App:
    """What a command is handed."""

    def __init__(self, args: argparse.Namespace, window_check: Callable[[], str] | None = None):
        self._args, self._engine = args, None
        self.window_check = window_check
        self.lang: str = args.lang
        self.json: bool = args.json

    @property
    def workspace(self) -> Path:
        """The folder of the workspace in force."""
        from console.settings import data_folder

        given = self._args.workspace or os.environ.get("SEALIFT_WORKSPACE")
        return Path(given).expanduser().absolute() if given else data_folder()

    def engine(self) -> Any:
        """The workspace's engine, opened when first asked for, logged in when --user is given."""
        if self._engine is None:
            from console.engine import Engine

            self._engine = Engine.open(self.workspace)
            self._tell_what_was_cut_off()
            user = self._args.user or os.environ.get("SEALIFT_USER")
            if user:
                self._engine.login(user, self.ask_secret(self.t(N_("Password of {name}: "), name=user), self._args.password_file))
        return self._engine

    def _tell_what_was_cut_off(self) -> None:
        if self._args.command != "jobs" and (cut := self._engine.jobs.interrupted()):
            self.say(N_("Cut off earlier: {title}. `sealift jobs list --interrupted` says how to go on."), title=shown(cut[0]["title"]))

    def out(self, data: dict[str, Any], text: str | Callable[[], str]) -> None:
        """Print the result: one JSON document with --json, else the text."""
        if self.json:
            print(self.encoded(data), flush=True)
        else:
            shown = text() if callable(text) else text
            if shown:
                print(shown, flush=True)

    def encoded(self, data: dict[str, Any]) -> str:
        """A result as JSON, its errors in the reader's language. Where no person looks on it may hold rows that are encoded already,
        as :class:`Encoded`."""
        rows = {name: value for name, value in data.items() if isinstance(value, list) and value and isinstance(value[0], Encoded)}
        rest = errors_told({name: value for name, value in data.items() if name not in rows}, self.lang)
        # Indented for people only: indenting takes the slow encoder, seconds for a large fleet.
        text = json.dumps(rest, ensure_ascii=False, indent=None if rows or not self.looked_on else 2, default=plain)
        lists = ", ".join(f"{json.dumps(name)}: [{', '.join(value)}]" for name, value in rows.items())
        return text if not rows else text[:-1] + (", " if rest else "") + lists + "}"

    @property
    def looked_on(self) -> bool:
        """Whether a person reads the output as it comes."""
        return sys.stdout.isatty()

    def t(self, text: str, /, **params: Any) -> str:
        """Marked text in the reader's language."""
        return tr(text, self.lang, **params)

    def say(self, text: str, /, **params: Any) -> None:
        """A line on standard error, besides the result; an object where progress goes out as JSON."""
        line = self.t(text, **params)
        if self._args.progress == "json":
            line = json.dumps({"event": "Note", "text": line}, ensure_ascii=False)
        print(line, file=sys.stderr, flush=True)

    def ctx_job(self, spec: Any) -> Any:
        """Run a job, showing what it tells on standard error; its result or its error."""
        engine = self.engine()
        printer = self.progress_printer()
        stop = engine.events.subscribe(printer)
        try:
            return engine.jobs.run(spec)
        finally:
            stop()
            printer.finish()

    def progress_printer(self) -> ProgressPrinter:
        """A listener that shows what a job tells on standard error, in the form asked for."""
        return ProgressPrinter(self._args.progress, self.lang)

    def ask_secret(self, prompt: str, file: Path | str | None) -> Secret:
        """A secret from ``file`` (its first line), else asked for on the terminal.

        Raises:
            InputError: ``command.no-secret``, ``command.secret-file``.
        """
        if file is not None:
            try:
                return Secret(Path(file).read_text(encoding="utf-8").split("\n", 1)[0].rstrip("\r"))
            except (OSError, UnicodeDecodeError) as problem:
                raise SECRET_FILE(path=str(file), reason=getattr(problem, "strerror", None) or "not text") from None
        if sys.stdin is None or not sys.stdin.isatty():
            raise NO_SECRET()
        return Secret(getpass.getpass(prompt))

    def report_crash(self, problem: BaseException) -> Path:
        """Write the report of an unexpected error where it can be found."""
        return self._engine.report_crash(problem) if self._engine is not None else _report_apart(problem)

    def close(self) -> None:
        """Close the engine, if one was opened."""
        if self._engine is not None:
            self._tell_of_room()
            self._engine.close()
            self._engine = None

    def _tell_of_room(self) -> None:
        """Say in good time that the audit log fills up, where it was used at all."""
        if "audit" in self._engine.__dict__ and (percent := self._engine.audit.percent_used()) >= 75:
            self.say(N_("The audit log fills {percent} % of its quota. `sealift audit status` says more."), percent=percent)


def _report_apart(problem: BaseException) -> Path:
    """Write a crash report where there is no workspace to hold it."""
    handle, name = tempfile.mkstemp(prefix="sealift-crash-", suffix=".txt", text=True)
    with os.fdopen(handle, "w", encoding="utf-8") as out:
        out.write("".join(traceback.format_exception(problem)))
    return Path(name)


def _common(defaults: bool) -> argparse.ArgumentParser:
    """The options that may stand before and after the command. Behind it they have no default, lest it undo what
    stood before, and are not listed again in each command's help."""
    parser = _Parser(add_help=False, argument_default=None if defaults else argparse.SUPPRESS)

    def add(name: str, default: Any, text: str, **more: Any) -> None:
        parser.add_argument(name, default=default if defaults else argparse.SUPPRESS, help=text if defaults else argparse.SUPPRESS, **more)

    add("--workspace", None, N_("folder of the site's workspace (SEALIFT_WORKSPACE)"), metavar="DIR")
    add("--json", False, N_("one JSON document on stdout"), action="store_true")
    add("--lang", "en", N_("language of the texts"), choices=sorted(LANGUAGES))
    add("--progress", "bar", N_("how progress is shown on stderr"), choices=("bar", "json", "none"))
    add("--user", None, N_("act as this account (SEALIFT_USER)"), metavar="NAME")
    add("--password-file", None, N_("the account's password"), metavar="FILE")
    return parser


def build_parser(lang: str = "en", only: str | None = None) -> argparse.ArgumentParser:
    """The whole command line, its helps in ``lang``; or of it the command ``only``."""
    parser = _Parser(
        prog="sealift", parents=[_common(True)], usage="sealift [OPTION ...] COMMAND ...",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=N_("From a drive into service, and proof of it. Without a command, the window opens."))
    parser.add_argument("--version", action="version", version=f"sealift {console.__version__}",
                        help=N_("show program's version number and exit"))
    sub = parser.add_subparsers(dest="command", metavar="COMMAND", prog="sealift", parser_class=_Parser, help=argparse.SUPPRESS)
    common = [_common(False)]
    for module in registry.modules("console.cli") if only is None else [importlib.import_module(f"console.cli.{only}")]:
        register = getattr(module, "register", None)
        if register is not None:
            register(sub, common)
    if only is not None:
        _translate(parser, lang)
        return parser
    helps = {action.dest: action.help or "" for action in sub._choices_actions}
    parser.epilog = tr(N_("commands:"), lang) + "\n" + "\n".join(
        f"  {tr(title, lang)}\n" + "".join(f"    {name:<11} {tr(helps[name], lang)}\n" for name in names) for title, names in GROUPS)
    _translate(parser, lang)
    return parser


def every_parser(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """``parser`` and all parsers behind it; what has a ``branch`` hands some command lines to that one."""
    yield parser
    behind = [one for action in parser._actions if isinstance(action, argparse._SubParsersAction) for one in action.choices.values()]
    for one in (*behind, *filter(None, [getattr(parser, "branch", None)])):
        yield from every_parser(one)


def _translate(top: argparse.ArgumentParser, lang: str) -> None:
    """Render what the parsers say about themselves; argparse's own words as well."""
    for parser in every_parser(top):
        parser.lang = lang
        parser._positionals.title, parser._optionals.title = N_("arguments"), N_("options")
        for group in parser._action_groups:
            group.title = group.title and tr(group.title, lang)
        for action in parser._actions:
            if isinstance(action, argparse._HelpAction):
                action.help = N_("show this help message and exit")
            for one in (action, *getattr(action, "_choices_actions", ())):
                if one.help and one.help is not argparse.SUPPRESS:
                    one.help = tr(one.help, lang)
        parser.description = parser.description and tr(parser.description, lang)
        if parser is not top:
            general = tr(N_("The general options that `sealift --help` lists may stand here too."), lang)
            parser.epilog = f"{tr(parser.epilog, lang)} {general}" if parser.epilog else general


def main(
    argv: list[str] | None = None,
    open_window: Callable[..., int] | None = None,
    window_check: Callable[[], str] | None = None,
) -> int:
    """Run one command.

    Args:
        argv: the words after the program's name; of this process when None.
        open_window: opens the window; called when no command is named.
        window_check: shows a window and says what it saw; part of ``self-test`` where there is a window.

    Returns:
        The exit code.
    """
    words = sys.argv[1:] if argv is None else list(argv)
    _utf8()
    gc.set_threshold(*LITTER)
    # What a large fleet left is given back as a whole when the process ends, not looked through once more.
    atexit.unregister(gc.freeze)
    atexit.register(gc.freeze)
    app: App | None = None
    try:
        args = _parsed(words)
        if args is None:
            return EXIT_DONE
        app = App(args, window_check)
        if getattr(args, "run", None) is None:
            if open_window is None:
                raise NO_WINDOW()
            return open_window(workspace=app.workspace, lang=args.lang)
        if not args.command.startswith("_"):
            _end_on_sigterm()
        return args.run(args, app)
    except (Cancelled, KeyboardInterrupt):
        if _wants_json(words):
            _failed(CANCELLED(), words)
        return EXIT_CANCELLED
    except SealiftError as problem:
        return _failed(problem, words)
    except BrokenPipeError:
        # The reader of our output went away; there is nobody to tell.
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - replaces the broken stream until the process ends
        return EXIT_CANCELLED
    except Exception as problem:  # the very top: what nobody expected becomes a report, not a traceback
        report = app.report_crash(problem) if app else _report_apart(problem)
        return _failed(INTERNAL(what=f"{type(problem).__name__}; report: {report}"), words)
    finally:
        if app is not None:
            with contextlib.suppress(SealiftError):
                app.close()


def _utf8() -> None:
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")


def _parsed(words: list[str]) -> argparse.Namespace | None:
    """The command line as read; None after --help and --version, which are printed, as JSON where that was asked for."""
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            if (only := _only(words)) is not None:
                # Where this fails the whole command line is asked, for its words, and since the word may have been an option's value.
                with contextlib.suppress(UsageError):
                    return build_parser(_lang_of(words), only).parse_args(words)
            return build_parser(_lang_of(words)).parse_args(words)
    except SystemExit:
        text = printed.getvalue()
    if _wants_json(words):
        name, _, version = text.strip().partition(" ")
        known = {"program": name, "version": version} if text == f"sealift {console.__version__}\n" else {"help": text}
        text = json.dumps(known, ensure_ascii=False, indent=2) + "\n"
    print(text, end="", flush=True)
    return None


def _only(words: list[str]) -> str | None:
    """The module of the first word that may be a command, if it is an ``ALONE`` one; none where help or the version is asked for before
    it. That of workers, which this program starts itself."""
    if words and words[0] in WORKERS:
        return "workers"
    for word in words:
        if word.startswith(("-h", "--h", "--v")):
            return None
        if any(word in names for _title, names in GROUPS):
            return word if word in ALONE else None
    return None


def _end_on_sigterm() -> None:
    """Take the end that a service manager or a shutdown asks for as a cancel, so that jobs come to a safe stop."""
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, signal.default_int_handler)


def _wants_json(words: list[str]) -> bool:
    """Whether one JSON document is wanted on stdout; also when the command line is wrong. Options may be shortened."""
    return any(word in ("--json", "--jso", "--js") for word in words)


def _failed(problem: SealiftError, words: list[str]) -> int:
    lang = _lang_of(words)
    if _wants_json(words):
        print(json.dumps({"error": problem.as_dict(lang)}, ensure_ascii=False, indent=2, default=str), flush=True)
    else:
        lines = [f"sealift: {problem.message(lang)}", *_listed(problem, lang), f"{problem.remedy(lang)} [{problem.code}]"]
        print("\n".join(lines), file=sys.stderr, flush=True)
    return problem.exit_code if not isinstance(problem, UsageError) else EXIT_USAGE


def _listed(problem: SealiftError, lang: str) -> list[str]:
    """All findings behind a refusal, where there is more than the one that it names."""
    found = problem.params.get("findings") or []
    if len(found) < 2:
        return []
    lines = [f"  {f['code']}  {shown(f['path'])}  {shown(tr(f['message'], lang))}" for f in found[:MAX_LISTED]]
    more = len(found) - MAX_LISTED
    return [*lines, "  " + tr(N_("… and {more} more; --json lists all."), lang, more=more)] if more > 0 else lines


def _lang_of(words: list[str]) -> str:
    for before, word in zip(["", *words], words, strict=False):
        lang = word.removeprefix("--lang=") if word.startswith("--lang=") else word if before == "--lang" else None
        if lang in LANGUAGES:
            return lang
    return "en"
