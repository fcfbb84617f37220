"""Errors that were kept and are shown again later, to readers of another language."""

from __future__ import annotations

import json

import pytest

from console.errors import SealiftError, remade, retold, words_of
from console.i18n import N_, Said
from console.servers.gather import NO_SHELL
from console.servers.record import SUDOS, ServerRecord, check

ONE_OF, ENDED, TIMED = N_("one of {choices}"), N_("it ended without output"), N_("it did not begin within {timeout_s} s")


def stored(problem: SealiftError) -> dict:
    """The error as a store gives it back."""
    return json.loads(json.dumps(problem.kept(), ensure_ascii=False))


@pytest.mark.parametrize("reason", [ENDED, Said(ENDED), Said(TIMED, timeout_s="30"), "Anything {else}", Said("{a}: {b}", a="x", b=Said(ONE_OF, choices="1, 2"))])
@pytest.mark.parametrize("lang", ["en", "zh_CN"])
def test_a_kept_error_reads_as_the_error_itself_in_any_language(reason, lang) -> None:
    problem = NO_SHELL(server="gpu-\x1b[31m1", reason=reason, bytes=7)
    assert words_of(stored(problem), lang) == (problem.message(lang), problem.remedy(lang))
    assert problem.said().into(lang) == problem.message(lang)
    again = remade(stored(problem))
    assert (again.code, again.params, again.retryable) == (problem.code, problem.params, problem.retryable)


def test_a_reason_with_fields_is_not_frozen_in_english() -> None:
    with pytest.raises(SealiftError) as caught:
        check(ServerRecord("a", "b", sudo="maybe"))
    message, _remedy = words_of(stored(caught.value), "zh_CN")
    assert Said(ONE_OF, choices=", ".join(SUDOS)).into("zh_CN") in message and "one of" not in message


def test_what_is_told_of_a_kept_error_is_the_object_of_the_interface() -> None:
    problem = NO_SHELL(server="gpu-1", reason=Said(TIMED, timeout_s="30"))
    assert retold(stored(problem), "zh_CN") == json.loads(json.dumps(problem.as_dict("zh_CN")))
    assert retold(None) is None and retold({}) is None


def test_an_error_of_another_version_is_told_as_it_was_kept() -> None:
    kept = {"code": "gone.long-ago", "message": "It was so.\x1b[0m", "remedy": "Do.", "retryable": False, "details": {}}
    assert words_of(kept, "zh_CN") == ("It was so.\\x1b[0m", "Do.")
    assert remade(kept) is None
