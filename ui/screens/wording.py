"""The words and tones in which states are shown, the same on every screen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from typing import Any

from console import units
from console.bundles import drives
from console.errors import shown
from console.i18n import N_, Said, into, tr
from ui.widgets.dialogs import error_parts

FACT_TONES = {"value": None, "empty": "muted", "absent": "muted", "unreadable": "warn"}

VERDICTS = {"pass": ("ok", N_("Pass")), "info": ("info", N_("Note")), "warn": ("warn", N_("Warning")),
            "fail": ("fail", N_("Fail")), "unknown": ("unknown", N_("Unknown"))}
"""Verdicts of readiness checks."""

TRUST_VERDICTS = {"verified": ("ok", N_("Verified")), "failed": ("fail", N_("Refused")),
                  "unverified": ("unknown", N_("Not verified"))}
"""Verdicts of bundles and of the audit log."""

FIT_VERDICTS = {"fits": ("ok", N_("It fits")), "tight": ("warn", N_("It fits, tightly")),
                "does-not-fit": ("fail", N_("It does not fit")), "unsupported": ("fail", N_("Not supported")),
                "unknown": ("unknown", N_("Not known"))}

OUTCOMES = {"verified": ("ok", N_("Verified")), "done": ("ok", N_("Done")), "success": ("ok", N_("Success")),
            "succeeded": ("ok", N_("Done")), "running": ("ok", N_("Running")), "failed": ("fail", N_("Failed")),
            "failure": ("fail", N_("Failed")), "error": ("fail", N_("Error")), "denied": ("warn", N_("Denied")),
            "refused": ("fail", N_("Refused")), "unreachable": ("warn", N_("Not reached")),
            "cancelled": ("muted", N_("Stopped")), "interrupted": ("warn", N_("Interrupted")),
            "rolled-back": ("warn", N_("Rolled back")), "retired": ("muted", N_("Retired")),
            "planned": ("info", N_("Planned")), "approved": ("info", N_("Approved")), "applied": ("ok", N_("Applied")),
            "applying": ("info", N_("Being applied")), "active": ("ok", N_("In service")),
            "serving": ("ok", N_("In service")), "waiting": ("muted", N_("Waiting")),
            "superseded": ("muted", N_("Superseded")), "pass": ("ok", N_("Pass")),
            "fail": ("fail", N_("Fail")), "reached": ("ok", N_("Reached")), "skipped": ("muted", N_("Skipped")),
            "unknown": ("unknown", N_("Unknown"))}
"""Outcomes of a server's part of a job, of an audit record, and states of a deployment."""


JURISDICTIONS = (("us", N_("United States")), ("ca", N_("Canada")), ("eu", N_("European Union")), ("cn", N_("China")),
                 ("other", N_("Other")))
CLASSIFICATIONS = (("public", N_("Public")), ("internal", N_("Internal")), ("confidential", N_("Confidential")),
                   ("restricted", N_("Restricted")))
ROLES = {"viewer": N_("Viewer"), "operator": N_("Operator"), "approver": N_("Approver"), "auditor": N_("Auditor"),
         "admin": N_("Administrator")}
DEGREES = (("received", N_("they were hashed on arrival")), ("stored", N_("they were read back from the file")),
           ("media", N_("they were read back from the disk itself")))

PLAN_STATES = {"free": ("info", N_("Needs no approval")), "planned": ("info", N_("To be approved")),
               "approved": ("ok", N_("Approved")),
               "applied": ("muted", N_("Applied")), "interrupted": ("warn", N_("Interrupted"))}


_PLACE_TONES = {"ready": "ok", "read-only": "info", "full": "warn", "unfinished": "warn", "written": "warn", "locked": "warn", "not-mounted": "info",
                "unreadable": "fail", "gone": "fail"}
PLACE_STATES = {state: (_PLACE_TONES[state], word, step) for state, (word, step) in drives.STATES.items()}
"""Tone, word and next step of each state of a drive or folder."""

VOLUME_STATES = {"complete": ("ok", N_("Here")), "incomplete": ("warn", N_("Not written to its end")),
                 "damaged": ("fail", N_("Damaged")), "older": ("warn", N_("An older edition")),
                 "newer": ("warn", N_("A newer edition")), "foreign": ("warn", N_("Of another bundle")),
                 "missing": ("muted", N_("Not here")), "copied": ("ok", N_("Copied")),
                 "wanted": ("info", N_("Plug it in"))}
"""Tone and word of a bundle's volume."""

COMPONENT_KINDS = {"model": N_("Model"), "runtime": N_("Runtime"), "playbook": N_("Playbook"), "catalog": N_("Catalog"),
                   "config": N_("Configuration"), "docs": N_("Documents")}


REQUESTS = {"deploy": N_("Approve a deployment"), "import": N_("Approve an import"),
            "override-older": N_("Let an older release in"), "override-expired": N_("Let an expired release in"),
            "override-state": N_("Go on after the workspace was set back"),
            "override-clock": N_("Let a release in that was issued after what the clock says"), "trust": N_("Trust a signing key"),
            "trust-root": N_("Install a trust root"), "host-key": N_("Confirm a host key"), "account-role": N_("Change roles")}
"""What a second person is asked for."""

AUTHS = (("agent", N_("Key from the agent")), ("key", N_("Key file")), ("password", N_("Password")))
SUDOS = (("none", N_("None needed")), ("nopasswd", N_("sudo without a password")),
         ("password", N_("sudo with a password")))
"""Ways to log in to a server, and to become its administrator."""

EVENTS = {
    "account.add": N_("Account added"), "account.disable": N_("Account disabled"), "account.passwd": N_("Password changed"),
    "approval.request": N_("Approval asked for"), "approval.grant": N_("Approval given"),
    "approval.deny": N_("Approval denied"), "approval.use": N_("Approval used"), "approval.expire": N_("Approval expired"),
    "audit.open": N_("Log opened"), "audit.close": N_("Log closed"), "audit.export": N_("Record exported"),
    "audit.copy": N_("Head copied to servers"), "audit.checkpoint": N_("Head signed"), "audit.verify": N_("Log verified"),
    "audit.fail": N_("Log found damaged"),
    "auth.login": N_("Logged in"), "auth.logout": N_("Logged out"), "auth.fail": N_("Log-in failed"),
    "auth.lock": N_("Locked"), "auth.unlock": N_("Unlocked"),
    "auth.refused": N_("Right refused"), "bundle.import": N_("Bundle brought in"), "bundle.refuse": N_("Bundle refused"),
    "bundle.remove": N_("Release removed"), "catalog.import": N_("Catalog brought in"), "clock.back": N_("Clock went back"),
    "clock.step": N_("Clock was set"),
    "config.change": N_("Setting changed"), "deploy.plan": N_("Plan made"), "deploy.start": N_("Deployment begun"),
    "deploy.step": N_("Deployment step"), "deploy.end": N_("Deployment ended"), "node.add": N_("Server added"),
    "node.remove": N_("Server removed"), "node.hostkey": N_("Host key decided"),
    "node.inventory-changed": N_("Server found changed"), "push.start": N_("Push begun"), "push.end": N_("Push ended"),
    "push.verify": N_("Files verified"), "push.keys-removed": N_("Left-over push keys taken away"),
    "readiness.run": N_("Readiness checked"), "role.change": N_("Roles changed"),
    "site.init": N_("Site set up"), "smoke.service": N_("Service smoke test"), "smoke.device": N_("Device smoke test"),
    "storage.warn": N_("Room for the log is short"), "storage.full": N_("No room for the log"),
    "trust.key": N_("Trusted key changed"), "trust.root": N_("Trust root changed"),
    "trust.override": N_("Rule let pass once")}
"""Events of the audit log in words."""

OBJECTS = {"release": N_("release"), "bundle": N_("bundle"), "plan": N_("plan"), "server": N_("server"), "key": N_("key"),
           "root": N_("trust root"), "role": N_("role"), "account": N_("account"), "folder": N_("folder"),
           "deployment": N_("deployment"), "site": N_("site"), "setting": N_("setting"), "head": N_("head"),
           "log": N_("log"), "user": N_("user"), "servers": N_("servers"), "catalog": N_("catalog")} | REQUESTS
"""Kinds of object in the audit log."""


def job_title(title: str, say: Callable[..., str]) -> str:
    """A job's title in the reader's language: the marked text at its beginning, then the name as it is."""
    words = title.split(" ")
    for count in range(len(words), 0, -1):
        head = " ".join(words[:count])
        said = say(head)
        if said != head:
            return " ".join([said, *words[count:]])
    return title


def outcome(word: str | None) -> tuple[str, str]:
    """Tone and word of an outcome; one that is not known speaks for itself."""
    return OUTCOMES.get(word or "unknown", ("muted", word or ""))


def when(stamp: str | None) -> str:
    """``"2026-11-23 22:33 UTC"``; the audit's own clock, so that screen and record agree."""
    if not stamp:
        return "–"
    try:
        return datetime.fromisoformat(stamp).strftime("%Y-%m-%d %H:%M UTC")
    except ValueError:
        return str(shown(stamp))


def when_short(stamp: str | None) -> str:
    """The time alone when it is of today, else the date alone, where there is little room: ``"22:33 UTC"``."""
    whole = when(stamp)
    day, _, moment = whole.partition(" ")
    return moment if moment and day == f"{datetime.now(UTC):%Y-%m-%d}" else day


def host_key(line: str) -> str:
    """``"ssh-ed25519 SHA256:…"`` of an OpenSSH public key."""
    from console.servers.keys import HostKey

    key = HostKey(line)
    return f"{key.type} {key.fingerprint}"


def problem(error: Any, lang: str) -> tuple[str, str]:
    """Message and remedy of a stored or caught error."""
    message, remedy, code = error_parts(error or {}, lang)
    return message or code, remedy


def fact_answer(fact: Any, say: Callable[..., str]) -> str:
    """A fact's answer in one line; the four kinds of answer stay different."""
    if fact.state == "value":
        return short(fact.value)
    words = {"empty": N_("Nothing to report"), "absent": N_("The tool is not there"),
             "unreadable": N_("Could not be read")}
    said = say(words.get(fact.state, fact.state))
    reason = getattr(fact, "reason", None)
    if not reason:
        return said
    why = say(reason.text, **reason.params) if isinstance(reason, Said) else reason
    return why if fact.state == "absent" else f"{said}: {why}"


def short(value: Any) -> str:
    """A parsed value in one line."""
    if is_dataclass(value) and not isinstance(value, type):
        value = {f.name: getattr(value, f.name) for f in fields(value)
                 if getattr(value, f.name) not in (None, "", (), [])}
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {short(part)}" for key, part in value.items() if part not in (None, "", (), [], {}))
    if isinstance(value, (list, tuple, set, frozenset)):
        return "; ".join(short(part) for part in value)
    return str(value)


def device_text(device: Any, say: Callable[..., str]) -> str:
    """All that is known of a device, a line each; what the vendor does not tell is left out."""
    lines = []
    for entry in fields(device):
        value = getattr(device, entry.name)
        if value in (None, "", (), []):
            continue
        shown_value = units.size(value) if entry.name.endswith("_bytes") else short(value)
        lines.append(f"{entry.name:<22} {shown_value}")
    return "\n".join(lines)


def short_id(identifier: str) -> str:
    """The first 16 characters of a digest, in groups of four, as people read it to each other."""
    bare = identifier.replace("-", "").replace(" ", "")[:16]
    return " ".join(bare[place:place + 4] for place in range(0, len(bare), 4))


HOW_TO_GO_ON = {
    "push": N_("Push again to the same servers: it goes on from the last verified chunk."),
    "deploy": N_("Apply the same plan again to go on, or roll the deployment back."),
    "bundle": N_("Bring the bundle in again: what was copied and checked is not copied twice."),
    "inventory": N_("Ask the servers again; nothing was changed on them.")}
"""What to do about an interrupted job, by the first word of its kind."""


def banner_tone(verdict: str) -> str:
    """The tone of a banner for a check's verdict."""
    return {"fail": "fail", "warn": "warn", "unknown": "warn"}.get(verdict, "info")


def reason(check: Any, lang: str) -> str:
    """Why a check judged as it did."""
    return tr(check.reason, lang, **{key: shown(into(value, lang)) for key, value in check.params.items()})


def remedy(check: Any, lang: str) -> str:
    """What to do about a check, or nothing."""
    return tr(check.remedy, lang, **{key: shown(value) for key, value in check.params.items()}) if check.remedy else ""


def fit_reason(told: dict[str, Any]) -> str:
    """A reason of the sizing."""
    return str(shown(str(told["message"])))


CONFIDENCE = {"high": N_("high confidence"), "medium": N_("medium confidence"), "low": N_("low confidence")}


def fit_source(told: dict[str, Any], say: Callable[..., str]) -> str:
    """Where a reason of the sizing is from, and how sure that is."""
    sure = told.get("confidence")
    words = say(CONFIDENCE[sure]) if sure in CONFIDENCE else ""
    return " · ".join(part for part in (words, say(N_("source: {source}"), source=told["source"])) if part)
