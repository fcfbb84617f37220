"""Error families and codes: every failure an operator can meet has a stable code and a remedy.

A kind of error is declared once, near the code that raises it, with :func:`code`; calling the kind
makes the exception::

    FULL = code("disk.full", WorldError, N_("{place} is full."), N_("Free {need} and try again."))
    raise FULL(place="/data", need="3 GiB")

Callers catch a family, never a list of codes. Log and audit keep code and parameters; front ends
render the text in the reader's language.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from console.i18n import N_, Said, into, tr

EXIT_DONE, EXIT_BAD_VERDICT, EXIT_USAGE, EXIT_FAILED, EXIT_DENIED, EXIT_CANCELLED = 0, 1, 2, 3, 4, 130
"""The exit codes of the program; `contract` of the command line."""

_CODE_FORM = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*(\.[a-z0-9]+(-[a-z0-9]+)*)+")
_KINDS: dict[str, ErrorKind] = {}


class Cancelled(BaseException):
    """The operator stopped the job. Not an error, so no broad ``except Exception`` can swallow it."""


OWN_WORDS = ("reason", "remedy")
"""Parameters that may be a marked text."""


class SealiftError(Exception):
    """Base of the families. Raise one through its :class:`ErrorKind`, never directly.

    Attributes:
        code: stable dotted word, such as ``ssh.host-key-changed``.
        params: what the message speaks of; JSON values, never a secret.
        retryable: whether the same call may succeed later without a change by the operator.
    """

    exit_code = EXIT_FAILED

    def __init__(self, kind: ErrorKind, params: Mapping[str, Any]):
        self.kind, self.params = kind, dict(params)
        self.code, self.retryable = kind.code, kind.retryable
        super().__init__(self.message())

    def message(self, lang: str = "en") -> str:
        """What happened, in the reader's language, with control characters made visible."""
        return tr(self.kind.message, lang, **self._filled(lang))

    def remedy(self, lang: str = "en") -> str:
        """What to do next."""
        return tr(self.kind.remedy, lang, **self._filled(lang))

    def _filled(self, lang: str) -> dict[str, Any]:
        """The parameters fit to show; a reason or a remedy that is itself a marked text is rendered too. Other texts are anybody's: a
        file may well be called as some word of ours."""
        ours = {name: tr(value, lang) for name in OWN_WORDS if type(value := self.params.get(name)) is str}
        return {name: shown(into(value, lang)) for name, value in (self.params | ours).items()}

    def as_dict(self, lang: str = "en") -> dict[str, Any]:
        """The ``error`` object of the JSON interface."""
        return {"code": self.code, "message": self.message(lang), "remedy": self.remedy(lang),
                "retryable": self.retryable, "details": self.params}

    def said(self) -> Said:
        """The message as a text that can stand in another one and still be rendered in any language."""
        return Said(self.kind.message, **later(self.params))

    def kept(self) -> dict[str, Any]:
        """What to store of an error that is shown again later: :meth:`as_dict`, and under ``said`` the parameters that are texts of
        ours with fields, so that :func:`words_of` gives them in the language of whoever reads then."""
        said = {name: value.kept() for name, value in self.params.items() if isinstance(value, Said)}
        return self.as_dict() | ({"said": said} if said else {})


class WorldError(SealiftError):
    """The world is in the way: network, disk, rights on a server, a missing tool."""


class InputError(SealiftError):
    """What was given is wrong: a malformed file, a bad option, a value out of range."""


class UsageError(InputError):
    """The command line itself is wrong."""

    exit_code = EXIT_USAGE


class VerdictError(SealiftError):
    """Done, and the verdict is bad: a signature refused, a log tampered with."""

    exit_code = EXIT_BAD_VERDICT


class DeniedError(SealiftError):
    """Role, approval or policy does not allow it."""

    exit_code = EXIT_DENIED


class BugError(SealiftError):
    """We have a bug: an internal promise was broken."""


@dataclass(frozen=True)
class ErrorKind:
    """One declared error. Message and remedy are templates with ``{named}`` fields."""

    code: str
    family: type[SealiftError]
    message: str
    remedy: str
    retryable: bool = False

    def __call__(self, **params: Any) -> SealiftError:
        return self.family(self, params)


def code(name: str, family: type[SealiftError], message: str, remedy: str, *, retryable: bool = False) -> ErrorKind:
    """Declare an error kind; codes are unique over the whole program.

    Raises:
        ValueError: the code is malformed or taken by another declaration.
    """
    if not _CODE_FORM.fullmatch(name):
        raise ValueError(f"malformed error code {name!r}")
    kind = ErrorKind(name, family, message, remedy, retryable)
    if _KINDS.setdefault(name, kind) != kind:
        raise ValueError(f"error code {name!r} is declared twice")
    return kind


def declared() -> dict[str, ErrorKind]:
    """All kinds declared by the modules imported so far, by code."""
    return dict(sorted(_KINDS.items()))


def words_of(kept: Mapping[str, Any], lang: str = "en") -> tuple[str, str]:
    """Message and remedy of an error that was kept as :meth:`SealiftError.kept` gave it, in the reader's language; as they
    were kept where its kind is not known any more."""
    problem = remade(kept)
    if problem is None:
        return str(shown(str(kept.get("message", "")))), str(shown(str(kept.get("remedy", ""))))
    return problem.message(lang), problem.remedy(lang)


def remade(kept: Mapping[str, Any]) -> SealiftError | None:
    """The error that was kept; None where its kind is not known any more."""
    kind = _KINDS.get(str(kept.get("code", "")))
    said = {name: text for name, told in (kept.get("said") or {}).items() if (text := Said.of(told)) is not None}
    return kind(**((kept.get("details") or {}) | said)) if kind else None


def retold(kept: Mapping[str, Any] | None, lang: str = "en") -> dict[str, Any] | None:
    """The ``error`` object of the JSON interface for an error that was kept, as :meth:`SealiftError.as_dict` gives it."""
    if not kept:
        return None
    message, remedy = words_of(kept, lang)
    return {key: value for key, value in kept.items() if key != "said"} | {"message": message, "remedy": remedy}


def why(problem: BaseException) -> str:
    """The reason that an exception carries, to be rendered in any language wherever it is one of our texts."""
    if isinstance(problem, SealiftError):
        return problem.said()
    if isinstance(problem, json.JSONDecodeError):
        return Said(N_("it is not JSON at character {at}"), at=problem.pos)
    if isinstance(problem, UnicodeError):
        return N_("it is not UTF-8")
    if isinstance(problem, RecursionError):
        return N_("it is nested too deeply")
    if isinstance(problem, OSError):
        return problem.strerror or type(problem).__name__
    return problem.args[0] if problem.args and isinstance(problem.args[0], str) else str(problem)


def later(params: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters as a text holds them that is rendered later: reasons in any language, everything else fit to show."""
    return {name: value if isinstance(value, Said) else Said(shown(value)) if name in OWN_WORDS and isinstance(value, str) else shown(value)
            for name, value in params.items()}


def shown(value: Any, limit: int = 2000) -> Any:
    """Hostile text made fit to show: control and bidi characters escaped, length limited."""
    if not isinstance(value, str):
        return value
    text = "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in value)
    return text if len(text) <= limit else text[: limit - 1] + "…"


SYSTEM = (N_("Permission denied"), N_("No such file or directory"), N_("No space left on device"), N_("Input/output error"), N_("Read-only file system"),
          N_("Is a directory"), N_("Not a directory"), N_("File exists"), N_("File name too long"), N_("Directory not empty"), N_("Device or resource busy"),
          N_("Operation not permitted"), N_("No such device"), N_("Disk quota exceeded"), N_("File too large"), N_("Invalid argument"))
"""What the operating system says when a file cannot be read or written: these stand as reasons in errors, and are rendered like them."""

INTERNAL = code("internal.bug", BugError, N_("Sealift met a condition that it should not have: {what}."),
                N_("Save a crash report from the Help menu and send it to whoever supports this installation."))
