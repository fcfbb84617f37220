"""One push to many servers in about the time of one: the console feeds the first, each server feeds the next.

The console keeps a connection of its own to every server: over it go the plan, the orders, and what each server says of
each chunk after hashing it. Only the bytes go from server to server. So no server speaks for another, and a server that is
slow, dead or lying is noticed by the console itself: its neighbours are linked around it, and it is fed by the console.

For each hop there is a key of its own, made here, which lets one connection from one address run one fixed command, and
which both servers have forgotten again as soon as that connection stands.
"""

from __future__ import annotations

import queue
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from console.errors import SealiftError
from console.i18n import N_
from console.jobs.job import Context
from console.push.connection import Connection
from console.push.work import Work
from console.servers.record import ServerRecord

WORTH_BYTES = 32 << 20
"""A server that lacks less than this is fed by the console: making a hop costs as much as sending it."""

FORM_S = 20.0
"""Servers that have not looked at their store by then are linked to the end of the chain later."""

REACH_S = 8.0
HOP_S = 25.0
STALL_S = 30.0
"""A hop over which nothing came for so long, with something to come, is given up."""

WRONG_A_HOP = 3
TRIES = 3
SLOW_BYTES = 256 << 20
SLOW_S = 5.0
ADDRESS = re.compile(r"[0-9A-Fa-f.:]{2,45}")

REASONS = {
    "none-reaches": N_("Fed by the console: no other server reaches it by SSH."),
    "none-free": N_("Fed by the console: no other server was free to feed it."),
    "left": N_("Fed by the console: the server before it dropped out."),
    "stalled": N_("Fed by the console: nothing more came from the server before it."),
    "wrong-bytes": N_("Fed by the console: the server before it passed on wrong bytes."),
    "late": N_("Fed by the console: the connection from the server before it did not come about in time."),
    "slow": N_("Fed by the console: it was slower than the servers after it."),
    "broke": N_("Fed by the console: the connection from the server before it broke."),
}
"""Why a server is not, or no longer, fed by another."""

FED_BY = N_("Fed by {server}.")


@dataclass
class Hop:
    """From one server to the next, as the audit log tells it. ``reason`` says why it ended early."""

    first: Member
    second: Member
    name: str = field(default_factory=lambda: secrets.token_hex(8))
    began: float = field(default_factory=time.monotonic)
    private: str = ""
    stands: bool = False
    over: bool = False
    wrong: int = 0
    reason: str = ""
    detail: str = ""

    def told(self) -> dict[str, str]:
        return {"from": self.first.name, "to": self.second.name, "reason": self.reason, "said": self.detail}


class Member:
    """One server's session in the chain.

    Attributes:
        state: ``waiting`` for its place, fed by ``console`` or by ``relay``, ``gone``.
    """

    def __init__(self, ctx: Context, record: ServerRecord, connection: Connection, work: Work):
        self.ctx, self.record, self.name, self.connection, self.work = ctx, record, record.name, connection, work
        self.state, self.trusted, self.moved, self.failures = "waiting", True, False, 0
        self.before: Hop | None = None
        self.after: Hop | None = None
        self.reaches: dict[str, tuple[float, str]] | None = None
        self.tried: set[str] = set()
        self.asked: list[list[str]] = []
        self.heard_at = time.monotonic()
        self.marks: list[tuple[float, int]] = []
        self.may_end = threading.Event()
        self._out: queue.SimpleQueue = queue.SimpleQueue()
        threading.Thread(target=self._send, name=f"push-orders-{self.name}", daemon=True).start()

    def tell(self, kind: bytes, **told: Any) -> None:
        """Send an order, not waiting for what is being sent."""
        self._out.put((kind, told))

    def end(self) -> None:
        """No more orders."""
        self._out.put(None)

    def _send(self) -> None:
        while (order := self._out.get()) is not None:
            try:
                self.connection.order(*order)
            except SealiftError:
                return  # the session notices by itself

    def rate(self) -> float:
        """Bytes a second that it verified lately."""
        (then, low), (now, high) = self.marks[0], self.marks[-1]
        return (high - low) / (now - then) if now > then else 0.0


class Chain(threading.Thread):
    """Decides who feeds whom. Its thread alone changes members and hops; sessions speak to it through :meth:`post`.

    Args:
        names: the servers whose sessions may come.
        on_keys: called with the names of servers before the first key is made on one of them.

    Attributes:
        let_go: the servers whose receiver has ended by itself, with nothing of it left there.
    """

    def __init__(self, names: Iterable[str], on_keys: Callable[[list[str]], None] = lambda names: None):
        super().__init__(name="push-chain", daemon=True)
        self._on_keys, self.let_go = on_keys, set[str]()
        self._expected, self._pending = set(names), set()
        self._members: dict[str, Member] = {}
        self._posted: queue.SimpleQueue = queue.SimpleQueue()
        self._formed = self._asked = self._packs = False
        self._first_at = self._asked_at = self._ticked_at = 0.0
        self._handlers: dict[str, Callable[[Member, Any], None]] = {
            "join": self._join, "leave": self._leave, "heard": self._hear, "bad": self._bad, "again": self._again,
        }  # fmt: skip
        self.hops: list[Hop] = []
        self.why: dict[str, str] = {}
        self.problem: BaseException | None = None

    # From the sessions' threads --------------------------------------------------------------------------------------

    def post(self, what: str, member: Member, told: Any = None) -> None:
        """Tell the chain: ``join``, ``leave``, ``heard`` with an answer, ``bad`` with a chunk's key, ``again``
        when it lacks chunks at the end."""
        self._posted.put((what, member, told))

    def absent(self, name: str) -> None:
        """The session of this server will not come, or not come again."""
        self._posted.put(("absent", name, None))

    def stop(self) -> None:
        """End the thread; every session has left."""
        self._posted.put(None)
        self.join(10)

    @property
    def idle(self) -> bool:
        """Whether it is settled that no server feeds another. Until then a server gets everything over its one connection: what
        came over a further one it could not pass on."""
        return self._formed and not self._asked

    # The thread ------------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Until stopped."""
        try:
            self._serve()
        except BaseException as problem:  # noqa: B036 - the sessions go on without us, fed by the console
            self.problem = problem
        for member in tuple(self._members.values()):
            self._to_console(member)
            member.may_end.set()

    def _serve(self) -> None:
        while True:
            try:
                posted = self._posted.get(timeout=0.25)
            except queue.Empty:
                posted = ()
            if posted is None:
                return
            if posted:
                what, who, told = posted
                if what == "absent":
                    self._expected.discard(who)
                else:
                    self._handlers[what](who, told)
            self._form()
            now = time.monotonic()
            if now - self._ticked_at >= 0.25:
                self._ticked_at = now
                self._tick(now)

    def _join(self, member: Member, told: Any) -> None:
        self._members[member.name] = member
        self._first_at = self._first_at or time.monotonic()
        if self._asked:
            self._ask(list(self._members.values()))
            self._asked_at = time.monotonic()

    def _leave(self, member: Member, told: Any) -> None:
        self._pending.discard(member.name)
        member.state = "gone"
        if self._members.get(member.name) is member:
            del self._members[member.name]
        before, after = member.before, member.after
        for hop in (before, after):
            if hop is not None:
                self._unlink(hop, "left")
        member.end()
        if after is not None:
            self._place(after.second, "left")

    # Forming ---------------------------------------------------------------------------------------------------------

    def _form(self) -> None:
        """Ask who reaches whom once all are there, then link them."""
        if self._formed or not self._members:
            return
        now, here = time.monotonic(), list(self._members.values())
        if not self._asked:
            if self._expected - set(self._members) and now - self._first_at < FORM_S:
                return
            if len(here) < 2 or max(m.work.left for m in here) < WORTH_BYTES:
                if not self._expected - set(self._members):
                    self._formed = True
                    self._feed_rest(here)
                elif now - self._first_at >= FORM_S:
                    self._feed_rest(here)
                return
            self._asked, self._asked_at = True, now
            self._ask(here)
        elif not self._pending or now - self._asked_at > REACH_S:
            self._formed = True
            self._link(here)

    def _feed_rest(self, members: list[Member]) -> None:
        for member in members:
            self._to_console(member)

    def _ask(self, members: list[Member]) -> None:
        self._on_keys([m.name for m in members])
        for member in members:
            others = [m for m in self._members.values() if m is not member]
            member.tell(b"T", to=[[m.record.address, m.record.port] for m in others])
            member.asked.append([m.name for m in others])
            self._pending.add(member.name)

    def _link(self, here: list[Member]) -> None:
        """Order: who lacks least first, then each time the nearest of those that lack about as much."""
        needy = [m for m in here if m.work.left >= WORTH_BYTES]
        full = sorted((m for m in here if m.work.left < WORTH_BYTES), key=lambda m: m.work.left)
        self._feed_rest(full)
        grain = max(WORTH_BYTES, max(m.work.left for m in needy) // 20)
        head = full[0] if full else min(needy, key=lambda m: (m.work.left // grain, self._nearness(m), m.name))
        self._to_console(head)
        rest, last = [m for m in needy if m is not head], head
        while rest:
            usable = [m for m in rest if m.name in (last.reaches or {})] or rest
            nearest = min(usable, key=lambda m: (m.work.left // grain, (last.reaches or {}).get(m.name, (9e9,))[0], m.name))
            rest.remove(nearest)
            if not self._start(last, nearest):
                self._place(nearest, "none-reaches")
            last = nearest

    def _nearness(self, member: Member) -> float:
        """How far the others are from it, in all."""
        return sum(ms for ms, _ in (member.reaches or {}).values()) if member.reaches else 9e9

    def _start(self, first: Member, second: Member) -> bool:
        """Begin a hop; False where the first is known not to reach the second."""
        way = (first.reaches or {}).get(second.name)
        if way is None or first.after is not None or second.before is not None or not first.trusted or not second.record.host_keys:
            return False
        hop = Hop(first, second)
        hop.private, public = _key_pair()
        self.hops.append(hop)
        first.after = second.before = hop
        second.tried.add(first.name)
        second.state, second.heard_at = "waiting", time.monotonic()
        second.tell(b"F", hop=hop.name, key=public, **{"from": way[1]})
        return True

    def _place(self, member: Member, reason: str) -> None:
        """Find somebody else to feed a member, else the console does."""
        if member.state == "gone" or member.before is not None:
            return
        behind, at = set(), member
        while at is not None:
            behind.add(at.name)
            at = at.after.second if at.after else None
        free = [m for m in self._members.values() if m.after is None and m.name not in behind | member.tried]
        if member.failures < TRIES and not member.work.done:
            for other in sorted(free, key=lambda m: m.work.left):
                if other.state != "waiting" and self._start(other, member):
                    return
        if reason == "none-reaches" and any(member.name in (m.reaches or {}) for m in self._members.values()):
            reason = "none-free"
        self._to_console(member, reason)

    def _to_console(self, member: Member, reason: str = "") -> None:
        if member.state == "gone":
            return
        if reason and not member.work.done:
            self.why[member.name] = reason
            member.ctx.warn(REASONS[reason])
        member.state = "console"
        member.work.reclaim()

    def _unlink(self, hop: Hop, reason: str, detail: str = "") -> None:
        hop.over, hop.stands = True, False
        if not hop.second.work.done:
            hop.reason, hop.detail = reason, detail[:300]
        hop.first.after = hop.second.before = None
        hop.second.failures += 1
        if hop.first.state != "gone":
            hop.first.tell(b"X")
        if hop.second.state != "gone":
            hop.second.tell(b"K")
            hop.second.state = "waiting"

    def _fail(self, hop: Hop, reason: str, detail: str = "") -> None:
        self._unlink(hop, reason, detail)
        self._place(hop.second, reason)

    # Hearing ---------------------------------------------------------------------------------------------------------

    def _hear(self, member: Member, told: dict[str, Any]) -> None:
        before, after = member.before, member.after
        if "reach" in told:
            member.reaches = _reached(told, member.asked.pop(0) if member.asked else [])
            if not member.asked:
                self._pending.discard(member.name)
        elif before is not None and told.get("listening") == before.name:
            second = member
            before.first.tell(
                b"N", hop=before.name, host=second.record.address, port=second.record.port, user=second.record.user,
                private=before.private, host_keys=list(second.record.host_keys), lacks=second.work.lacks(), pack=False,
            )  # fmt: skip
            before.private = ""
        elif before is not None and told.get("fed") == before.name:
            before.stands = True
            before.first.tell(b"U", pack=self._packs)
            member.heard_at = time.monotonic()
            member.state = "relay"
            member.work.lend()
            member.ctx.note(FED_BY, server=before.first.name)
        elif "feed" in told and before is not None and told.get("hop") == before.name and not member.work.done:
            self._fail(before, "broke", str(told.get("reason", "")))
        elif told.get("next") == "lost" and after is not None and told.get("hop") == after.name and not after.second.work.done:
            self._fail(after, "broke", str(told.get("reason", "")))

    def _bad(self, member: Member, key: tuple[int, int]) -> None:
        """A chunk from the server before was wrong; unless that one got it wrong as well, it is held against it."""
        hop = member.before
        if hop is None or member.state != "relay":
            return
        if not hop.first.work.is_open(key):
            hop.wrong += 1
            if hop.wrong >= WRONG_A_HOP:
                hop.first.trusted = False
                self._fail(hop, "wrong-bytes")
                return
        hop.first.tell(b"A", chunk=member.work.every(key))

    def _again(self, member: Member, told: Any) -> None:
        """A server found chunks wrong that it had called right, on its own disk: the console sends them."""
        if member.before is not None:
            self._unlink(member.before, "own-disk")
        self._to_console(member)

    def _tick(self, now: float) -> None:
        for member in list(self._members.values()):
            member.marks.append((now, member.work.verified))
            while now - member.marks[0][0] > SLOW_S:
                member.marks.pop(0)
            if member.work.held or (len(member.marks) > 1 and member.marks[-1][1] != member.marks[-2][1]):
                member.heard_at = now
        for hop in [m.before for m in list(self._members.values()) if m.before is not None]:
            if hop.over:
                continue
            if not hop.stands:
                if now - hop.began > HOP_S:
                    self._fail(hop, "late")
            elif now - hop.second.heard_at > STALL_S and self._behind(hop) > 0:
                self._fail(hop, "stalled")
            elif self._slows(hop):
                self._move_back(hop)
        if self._formed and (not self._pending or now - self._asked_at > REACH_S):
            for member in [m for m in self._members.values() if m.state == "waiting" and m.before is None]:
                self._place(member, "none-reaches")
        # What the console's link is too slow for, the links between servers may be as well; and packing keeps up with it.
        if not self._packs and any(m.state == "console" and m.connection.press.pays for m in self._members.values()):
            self._packs = True
            for hop in [m.before for m in self._members.values() if m.before is not None and m.before.stands]:
                hop.first.tell(b"U", pack=True)
        busy = any(m.state in ("waiting", "relay") and not m.work.done for m in self._members.values())
        if self._formed and not busy:
            for member in self._members.values():
                member.may_end.set()

    def _behind(self, hop: Hop) -> int:
        """Bytes that the first has and the second lacks."""
        return hop.second.work.left - hop.first.work.left

    def _slows(self, hop: Hop) -> bool:
        """Whether a server keeps those after it waiting though the one before it has much more."""
        second = hop.second
        return (
            second.after is not None
            and second.after.stands
            and not second.moved
            and self._behind(hop) > SLOW_BYTES
            and second.marks[-1][0] - second.marks[0][0] > 0.8 * SLOW_S
            and second.rate() < hop.first.rate() / 2
            and second.after.second.work.left >= second.work.left
        )

    def _move_back(self, hop: Hop) -> None:
        first, slow, next_one = hop.first, hop.second, hop.second.after
        slow.moved = True
        third = next_one.second
        self._unlink(next_one, "slow")
        self._unlink(hop, "slow")
        third.failures -= 1
        if not self._start(first, third):
            self._place(third, "slow")
        last = third
        while last.after is not None:
            last = last.after.second
        if not self._start(last, slow):
            self._place(slow, "slow")


def _reached(told: dict[str, Any], asked: list[str]) -> dict[str, tuple[float, str]]:
    """What a server says about whom it reaches; it may say anything."""
    listed, found = told.get("reach"), {}
    if told.get("ssh") is not True or not isinstance(listed, list) or len(listed) != len(asked):
        return {}
    for name, way in zip(asked, listed, strict=True):
        if not (isinstance(way, list) and len(way) == 2 and type(way[0]) in (int, float) and isinstance(way[1], str)):
            continue
        # Neither "not a number" nor one past every float.
        if 0 <= way[0] < 1e6 and ADDRESS.fullmatch(way[1]):
            found[name] = (float(way[0]), way[1])
    return found


def _key_pair() -> tuple[str, str]:
    """An Ed25519 key for one use: private half in OpenSSH's form, public half as a line."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()
    return private, key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
