"""Who acts at this console now: since when nothing was done, and when the password was last entered.

Rules: trust design, section 8. A site without accounts has no sessions: there the desktop's own login is what counts.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from console.errors import DeniedError, code
from console.i18n import N_
from console.site.accounts import Actor

LOCKED = code(
    "account.session-locked",
    DeniedError,
    N_("The session of {actor} is locked, because nothing was done for a while."),
    N_("Enter the password to go on. What was under way goes on by itself."),
)
PASSWORD_AGAIN = code(
    "account.password-again",
    DeniedError,
    N_("This needs the password of {actor} once more."),
    N_("Enter it, then do it again."),
)

ADMIN_IDLE_S, IDLE_S = 10 * 60, 15 * 60
PROOF_S = 2 * 60
"""How long an entered password counts for what asks for it anew: long enough to press the button that it was entered for."""


class Session:
    """The session of one console.

    Attributes:
        actor: who acts. authenticated: whether a password proved it.
    """

    def __init__(self, actor: Actor, authenticated: bool, clock: Callable[[], float] = time.monotonic):
        self._clock, self._shut = clock, False
        self.actor, self.authenticated = actor, authenticated
        self._active = self._proved = clock()

    def begin(self, actor: Actor) -> None:
        """``actor`` has entered the password."""
        self.actor, self.authenticated, self._shut = actor, True, False
        self._active = self._proved = self._clock()

    def end(self, actor: Actor) -> None:
        """Nobody is logged in any more; ``actor`` is who is left: the user of the operating system."""
        self.actor, self.authenticated, self._shut = actor, False, False

    def touch(self) -> None:
        """The person did something; a session that is locked stays so."""
        if not self.locked:
            self._active = self._clock()

    def lock(self) -> None:
        """Lock at once."""
        self._shut = self.authenticated

    @property
    def left_s(self) -> float | None:
        """Seconds until it locks by itself; None where nobody is logged in."""
        if not self.authenticated:
            return None
        limit_s = ADMIN_IDLE_S if "admin" in self.actor.roles else IDLE_S
        return max(0.0, self._active + limit_s - self._clock())

    @property
    def locked(self) -> bool:
        """Whether the password is needed to go on."""
        return self.authenticated and (self._shut or self.left_s == 0)

    @property
    def proved(self) -> bool:
        """Whether the password was entered just now, for what asks for it each time."""
        return not self.authenticated or self._clock() - self._proved <= PROOF_S
