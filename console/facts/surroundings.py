"""What a terminal's recording holds around the output itself: greetings, sudo's words, the shell's warnings and prompt.

Only lines that are known for what they are go away, and only before and behind the output. Anything else stays, and is
an error of the reader if it is none of the tool's.
"""

from __future__ import annotations

import re

_AHEAD = tuple(re.compile(pattern) for pattern in (
    r"\[sudo\] .{0,200}[:：]\s*",
    r"sudo: (?:unable to resolve host|setrlimit|a password is required|unable to stat).{0,300}",
    r"We trust you have received the usual lecture.{0,200}|Administrator\. It usually boils down to these three things:",
    r"\s*#[123]\) (?:Respect the privacy|Think before you type|With great power).{0,100}",
    r"For security reasons, the password you type will not be visible\.",
    r"-?(?:/\S+/)?(?:ba|da|z|k)?sh: (?:line \d+: )?(?:warning: )?(?:setlocale: |cannot set terminal process group|no job control).{0,300}",
    r"perl: warning: .{0,300}",
    r"(?:Last login|Last failed login): .{0,200}|There (?:was|were) \d+ failed login attempts?.{0,200}",
    r"Welcome to .{0,200}| \* (?:Documentation|Management|Support):\s.{0,200}",
    r"Authorized (?:users|uses) only\. All activit(?:y|ies) may be monitored and reported\.?",
    r"Activate the web console with: .{0,100}|You have (?:new |no )?mail.{0,100}|System restart required.{0,100}",
    r"Warning: Permanently added .{0,300}|Pseudo-terminal will not be allocated.{0,200}",
    r"\*{3} System restart required \*{3}",
    r"Every \d+(?:\.\d+)?s: .{0,300}",
))
_BEHIND = re.compile(r"(?:Shared c|C)onnection to \S{1,200} closed\.|logout|exit")
_PROMPT = (r"(?:\([\w.-]{1,60}\) )?(?:\[[^\s@\]]{1,60}@[^\]]{1,200}\]|[\w.-]{1,60}@[\w.-]{1,120}:[^#$%>\n]{0,200}|(?:PS )?[A-Z]:\\[^>\n]{0,200}(?=>))"
           r"[#$%>]")
_IDLE = re.compile(_PROMPT + r"\s*")


def without(text: str, program: str) -> str:
    """``text`` without what is around the output of ``program``."""
    echo = re.compile(rf"(?:{_PROMPT}|[#$%>]) ?(?:[^|]{{0,200}}[ /\\])?{re.escape(program)}(?:\.exe)?(?: .{{0,2000}})?", re.IGNORECASE)
    start = _ahead(text, echo)
    rest = text[start:] if start else text
    return rest[: _behind(rest)]


def _ahead(text: str, echo: re.Pattern[str]) -> int:
    """Where the output begins. Blank lines count as known ones only in front of or between those."""
    begin = at = 0
    while (end := text.find("\n", at)) >= 0 and end - at < 3000:
        line = text[at:end].rstrip()
        if line and not (echo.fullmatch(line) or any(known.fullmatch(line) for known in _AHEAD)):
            break
        at = end + 1
        begin = at if line else begin
    return begin


def _behind(text: str) -> int:
    """Where the output ends."""
    end = len(text)
    for _line in range(3):
        at = text.rfind("\n", 0, max(0, end - 1)) + 1
        line = text[at:end].strip()
        if not at or not line or not (_IDLE.fullmatch(line) or _BEHIND.fullmatch(line)):
            break
        end = at
    return end
