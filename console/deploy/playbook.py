"""Reads a playbook: data in a strict schema, from the program's own folder or out of a signed release.

Schema 1, every key closed: ``schema id version title summary status tested needs model runtime service answers steps``.
A playbook cannot run code: steps come from the closed vocabulary of ``console.steps``, arguments are lists.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from console import assets
from console.errors import InputError, code
from console.i18n import N_
from console.steps import kinds

MALFORMED = code("playbook.malformed", InputError, N_("The playbook {playbook} is wrong at {where}: {reason}."),
                 N_("Correct the playbook, or use one that came with the program."))
UNKNOWN = code("playbook.unknown", InputError, N_("There is no playbook {playbook}."), N_("Use one of: {known}."))
BAD_ANSWER = code("playbook.bad-answer", InputError, N_("{name} cannot be {value}: {reason}."),
                  N_("Give a value of the kind that the playbook asks for."))

MAX_BYTES, MAX_STEPS = 256 << 10, 64
STATUSES = ("run", "not run on hardware")
_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_KEY = re.compile(r"[a-z][a-z0-9_]{0,40}")
_PLAIN = re.compile(r"[A-Za-z0-9._:/@=+,\-]{0,200}")
_TOP = {"schema": int, "id": str, "version": str, "title": dict, "summary": dict, "status": str, "tested": str,
        "needs": dict,
        "model": dict, "runtime": dict, "service": dict, "answers": dict, "steps": list}
_OPTIONAL = {"tested", "answers", "needs"}
_ANSWER_KEYS = {"type", "default", "min", "max", "choices", "pattern", "title"}
_TYPES = {"integer": int, "number": (int, float), "text": str, "flag": bool}


class _Loader(yaml.SafeLoader):
    """``safe_load`` without aliases and without repeated keys: neither has an honest use here."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.composer.ComposerError(None, None, "aliases are not allowed", self.peek_event().start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if len(keys) != len(node.value) or len(set(keys)) != len(keys):
            raise yaml.constructor.ConstructorError(None, None, "a key is repeated or is no plain word",
                                                    node.start_mark)
        return super().construct_mapping(node, deep)


@dataclass(frozen=True)
class Answer:
    """One thing that the playbook asks. ``type`` is integer, number, text or flag; None stands for "not set"."""

    name: str
    type: str
    title: Mapping[str, str]
    default: Any = None
    min: float | None = None
    max: float | None = None
    choices: tuple[Any, ...] = ()
    pattern: str | None = None

    def checked(self, value: Any) -> Any:
        """``value`` (a text from a command line, or of the right type) as the type asked for.

        Raises:
            InputError: ``playbook.bad-answer``.
        """
        if value is None:
            return None
        try:
            made = self._made(value)
        except ValueError:
            raise self._bad(value, f"it must be of the kind {self.type}") from None
        if self.choices and made not in self.choices:
            raise self._bad(value, "it must be one of " + ", ".join(map(str, self.choices)))
        if self.type in ("integer", "number") and not (self._least() <= made <= self._most()):
            raise self._bad(value, f"it must be from {self._least():g} to {self._most():g}")
        if self.type == "text" and not (re.compile(self.pattern) if self.pattern else _PLAIN).fullmatch(made):
            raise self._bad(value, "it holds characters that are not allowed")
        return made

    def _made(self, value: Any) -> Any:
        if self.type == "flag":
            words = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
            if isinstance(value, bool):
                return value
            if str(value).lower() not in words:
                raise ValueError
            return words[str(value).lower()]
        if isinstance(value, bool) or (self.type == "integer" and isinstance(value, float)):
            raise ValueError
        return {"integer": int, "number": float, "text": str}[self.type](value)

    def _least(self) -> float:
        return 0 if self.min is None else self.min

    def _most(self) -> float:
        return 2**53 if self.max is None else self.max

    def _bad(self, value: Any, reason: str) -> Exception:
        return BAD_ANSWER(name=self.name, value=str(value)[:200], reason=reason)


@dataclass(frozen=True)
class Playbook:
    """A read playbook; ``digest`` is the SHA-256 of its text, ``origin`` is ``built-in`` or the release's id."""

    id: str
    version: str
    title: Mapping[str, str]
    summary: Mapping[str, str]
    status: str
    tested: str
    needs: Mapping[str, Any]
    model_formats: tuple[str, ...]
    runtime_formats: tuple[str, ...]
    service: Mapping[str, Any]
    answers: Mapping[str, Answer]
    steps: tuple[tuple[str, dict[str, Any]], ...]
    digest: str
    origin: str = "built-in"

    def answered(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Every answer, given or default.

        Raises:
            InputError: ``playbook.bad-answer``.
        """
        for name in given:
            if name not in self.answers:
                raise BAD_ANSWER(name=name, value=str(given[name])[:200], reason="this playbook does not ask for it")
        return {name: one.checked(given.get(name, one.default)) for name, one in self.answers.items()}

    def as_dict(self) -> dict[str, Any]:
        """What a list of playbooks shows."""
        return {"id": self.id, "version": self.version, "title": dict(self.title), "summary": dict(self.summary),
                "status": self.status, "tested": self.tested, "needs": dict(self.needs), "digest": self.digest,
                "origin": self.origin, "steps": [kind for kind, _ in self.steps],
                "answers": {n: {"type": a.type, "title": dict(a.title), "default": a.default, "min": a.min,
                                "max": a.max,
                                "choices": list(a.choices)} for n, a in self.answers.items()}}


def parse(raw: bytes, label: str, origin: str = "built-in") -> Playbook:
    """Read a playbook.

    Raises:
        InputError: ``playbook.malformed``, naming the place.
    """
    if len(raw) > MAX_BYTES:
        raise MALFORMED(playbook=label, where="the file", reason=f"it is larger than {MAX_BYTES} bytes")
    try:
        document = yaml.load(raw.decode("utf-8"), _Loader)  # noqa: S506  a safe loader, made stricter
    except (yaml.YAMLError, ValueError, RecursionError) as problem:
        raise MALFORMED(playbook=label, where="the YAML", reason=" ".join(str(problem).split())[:300]) from None
    return _Reading(label).playbook(document, hashlib.sha256(raw).hexdigest(), origin)


class _Reading:
    """Checks one document; every complaint names its place."""

    def __init__(self, label: str):
        self.label = label

    def need(self, good: Any, where: str, reason: str) -> None:
        if not good:
            raise MALFORMED(playbook=self.label, where=where, reason=reason)

    def mapping(self, value: Any, allowed: Mapping[str, Any] | set[str], where: str) -> dict[str, Any]:
        self.need(isinstance(value, dict), where, "it must be a mapping")
        for key in value:
            self.need(key in allowed, f"{where}.{key}", "this key is not known")
        return value

    def playbook(self, document: Any, digest: str, origin: str) -> Playbook:
        top = self.mapping(document, _TOP, "the top")
        for key, kind in _TOP.items():
            self.need(key in top or key in _OPTIONAL, key, "it is missing")
            self.need(key not in top or (isinstance(top[key], kind) and not isinstance(top[key], bool)), key,
                      f"it must be of the kind {kind.__name__}")
        self.need(top["schema"] == 1, "schema", "only schema 1 is known")
        self.need(_ID.fullmatch(top["id"]), "id", "lower-case letters, digits and dashes only")
        self.need(top["status"] in STATUSES, "status", "it must be one of: " + "; ".join(STATUSES))
        answers = {name: self.answer(name, one) for name, one in top.get("answers", {}).items()}
        return Playbook(
            top["id"], top["version"], self.words(top["title"], "title"), self.words(top["summary"], "summary"),
            top["status"],
            top.get("tested", ""), self.mapping(top.get("needs", {}), {"arch", "accelerator", "devices", "engine"},
                                                "needs"),
            self.formats(top["model"], "model"), self.formats(top["runtime"], "runtime"), self.service(top["service"]),
            answers,
            self.steps(top["steps"]), digest, origin)

    def words(self, value: Any, where: str) -> dict[str, str]:
        self.mapping(value, {"en", "zh_CN"}, where)
        self.need("en" in value and all(isinstance(text, str) for text in value.values()), where,
                  "it needs a text in en")
        return value

    def formats(self, value: Any, where: str) -> tuple[str, ...]:
        formats = self.mapping(value, {"formats"}, where).get("formats")
        self.need(isinstance(formats, list) and all(isinstance(f, str) for f in formats), f"{where}.formats",
                  "a list of words")
        return tuple(formats)

    def service(self, value: Any) -> dict[str, Any]:
        self.mapping(value, {"port", "host", "health", "health_port"}, "service")
        port = value.get("port")
        self.need(isinstance(port, int) and 1024 <= port <= 65000, "service.port", "a port from 1024 to 65000")
        self.need(value.get("host", "127.0.0.1") in ("127.0.0.1", "::1"), "service.host", "services listen on "
                                                                                          "loopback only")
        health_port = value.get("health_port")
        self.need(health_port is None or isinstance(health_port, int), "service.health_port", "a port number")
        return {"host": "127.0.0.1", "health": "/health", "health_port": None} | value

    def answer(self, name: Any, value: Any) -> Answer:
        where = f"answers.{name}"
        self.need(isinstance(name, str) and _KEY.fullmatch(name), where, "lower-case letters, digits and underscores "
                                                                         "only")
        self.mapping(value, _ANSWER_KEYS, where)
        self.need(value.get("type") in _TYPES, f"{where}.type", "it must be integer, number, text or flag")
        made = Answer(name, value["type"], self.words(value.get("title"), f"{where}.title"), value.get("default"),
                      value.get("min"), value.get("max"), tuple(value.get("choices", ())), value.get("pattern"))
        try:
            made.checked(made.default)
        except (InputError, re.error, TypeError) as problem:
            self.need(False, f"{where}.default", str(problem))
        return made

    def steps(self, value: list[Any]) -> tuple[tuple[str, dict[str, Any]], ...]:
        self.need(0 < len(value) <= MAX_STEPS, "steps", f"1 to {MAX_STEPS} steps")
        return tuple(self.step(n, one) for n, one in enumerate(value, 1))

    def step(self, number: int, value: Any) -> tuple[str, dict[str, Any]]:
        where = f"steps[{number}]"
        self.need(isinstance(value, dict) and len(value) == 1, where, "it must be one kind with its options")
        kind, options = next(iter(value.items()))
        self.need(kind in kinds(), where, f"there is no step {kind}")
        known = kinds()[kind].options
        options = self.mapping({} if options is None else options, set(known), f"{where}.{kind}")
        for name, (types, required) in known.items():
            self.need(name in options or not required, f"{where}.{kind}.{name}", "it is missing")
            self.need(name not in options or (isinstance(options[name], types)), f"{where}.{kind}.{name}",
                      "it is of the wrong kind")
        return kind, options


@cache
def built_in() -> dict[str, Playbook]:
    """The playbooks that ship with the program, by id."""
    found = {}
    for file in sorted(assets.playbooks().glob("*.yaml")):
        one = parse(file.read_bytes(), file.name)
        found[one.id] = one
    return found


def find(playbook_id: str, carried: Mapping[str, tuple[Path, str]] | None = None) -> Playbook:
    """The playbook of that id: the one that the signed release carries, else the program's own.

    Args:
        carried: file and release id of each playbook in the release, by file stem.

    Raises:
        InputError: ``playbook.unknown``, ``playbook.malformed``.
    """
    if carried and playbook_id in carried:
        file, release_id = carried[playbook_id]
        with open(file, "rb") as source:
            return parse(source.read(MAX_BYTES + 1), playbook_id, release_id)
    own = built_in()
    if playbook_id not in own:
        raise UNKNOWN(playbook=playbook_id, known=", ".join(sorted({*own, *(carried or ())})))
    return own[playbook_id]
