"""What a step kind is: facts in, changes out, and how they are made, checked and taken back on one server.

``inspect`` reads and changes nothing; ``plan`` is pure; no changes means that it is already so. ``apply`` makes just
the planned changes and is safe to run twice; ``verify`` looks again; ``undo`` restores what ``inspect`` had found
before. The facts are kept with the plan and journaled before ``apply``, so a later run of the console can undo.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from console.errors import InputError, code
from console.i18n import N_, tr
from console.steps.host import Host

BAD_TEMPLATE = code("playbook.unknown-value", InputError, N_("The playbook uses the value {name}, which is not known "
                                                             "here."),
                    N_("Use only the values that the manual lists, or correct the playbook."))
_SLOT = re.compile(r"\{([a-z][a-z0-9_]*(?:\.[a-z][a-z0-9_]*)?)\}")


@dataclass(frozen=True)
class Change:
    """One thing that will be different on a server.

    Attributes:
        step, action, target: stable words and the path, unit or container concerned.
        text, params: the marked sentence for the approver.
        digest: of what will stand there, so that two changes with equal words and different content differ.
        undoable: False when a rollback leaves it.
        caution: a marked sentence that the approver should weigh, or "".
    """

    step: str
    action: str
    target: str
    text: str
    params: dict[str, Any] = field(default_factory=dict)
    digest: str = ""
    undoable: bool = True
    caution: str = ""

    def summary(self, lang: str = "en") -> str:
        """The sentence, with what cannot be undone and what to weigh."""
        parts = [tr(self.text, lang, **self.params)]
        if not self.undoable:
            parts.append(tr(STAYS, lang))
        if self.caution:
            parts.append(tr(self.caution, lang, **self.params))
        return " ".join(parts)

    def key(self) -> tuple[str, str, str, str]:
        """What the approval is about; two changes with one key are the same change."""
        return self.step, self.action, self.target, self.digest

    def as_dict(self) -> dict[str, Any]:
        """For the stored plan."""
        return asdict(self)


STAYS = N_("(A rollback leaves this in place.)")


@dataclass(frozen=True)
class Task:
    """One step of one plan on one server, in JSON values.

    Attributes:
        name: of the deployment on the server.
        options: the step's own part of the playbook.
        values: what ``{slots}`` in options stand for; None and False are "not set".
        runtime_files: (path below the runtime component, sha256).
    """

    kind: str
    name: str
    release_id: str
    options: dict[str, Any]
    values: dict[str, Any]
    runtime_files: tuple[tuple[str, str], ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """For the stored plan and the journal."""
        return asdict(self) | {"runtime_files": [list(one) for one in self.runtime_files]}

    @staticmethod
    def from_dict(plain: Mapping[str, Any]) -> Task:
        """The inverse of :meth:`as_dict`."""
        return Task(**{**plain, "runtime_files": tuple(tuple(one) for one in plain["runtime_files"])})

    def text(self, template: Any) -> str:
        """``template`` with its slots filled.

        Raises:
            InputError: ``playbook.unknown-value``.
        """
        return _SLOT.sub(lambda match: str(self._value(match[1])), str(template))

    def words(self, templates: list[Any]) -> list[str]:
        """Arguments; a group (a list in the list) is dropped whole when one of its slots is not set."""
        made: list[str] = []
        for item in templates:
            if not isinstance(item, list):
                made.append(self.text(item))
            elif all(self._is_set(slot) for part in item for slot in _SLOT.findall(str(part))):
                made.extend(self.text(part) for part in item if not _is_switch(part))
        return made

    def _is_set(self, slot: str) -> bool:
        return self._value(slot) not in (None, False, "")

    def _value(self, slot: str) -> Any:
        if slot not in self.values:
            raise BAD_TEMPLATE(name=slot)
        return self.values[slot]


def _is_switch(part: Any) -> bool:
    """``"?{answer.eager}"`` in a group makes it depend on that answer without being printed."""
    return str(part).startswith("?{")


@dataclass(frozen=True)
class StepKind:
    """A kind of step; each module in this package holds one as ``STEP``.

    ``options`` maps each option that a playbook may give to its type and whether it must be there.
    """

    kind: str
    title: str
    options: Mapping[str, tuple[type | tuple[type, ...], bool]]
    inspect: Callable[[Host, Task], dict[str, Any]]
    plan: Callable[[Mapping[str, Any], Task], tuple[Change, ...]]
    apply: Callable[[Any, Host, Task, Mapping[str, Any]], None]
    verify: Callable[[Any, Host, Task], None]
    undo: Callable[[Any, Host, Task, Mapping[str, Any]], None]


def nothing(*_: Any) -> None:
    """For kinds that have nothing to do in a part."""
