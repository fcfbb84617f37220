"""Job descriptions that screens submit, and which kinds of thing they change; what the jobs do is the engine's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from console.events import Thing
from console.jobs.job import JobSpec

Say = Callable[..., str]


def changing(spec: JobSpec, *things: Thing) -> JobSpec:
    """``spec``, with its ending telling that ``things`` may have changed; the audit log always has."""
    return replace(spec, changed=frozenset({*spec.changed, *things, "audit", "jobs"}))


def inventory(engine: Any, say: Say, names: tuple[str, ...]) -> JobSpec:
    """Ask servers what they are."""
    return changing(JobSpec("inventory", say("Ask the servers"), lambda ctx: engine.inventory.refresh(ctx, list(names)),
                            names),
                    "servers")


def practice_up(engine: Any, say: Say) -> JobSpec:
    """Start the practice servers and enter them into the book."""
    return changing(JobSpec("practice.up", say("Start the practice servers"), lambda ctx: engine.practice.up()),
                    "servers")


def practice_site(engine: Any, say: Say) -> JobSpec:
    """A site to rehearse on: the site itself where there is none yet, and the practice servers."""
    def run(ctx: Any) -> None:
        if engine.site.get() is None:
            engine.site.init(say("Practice site"), "other", "internal")
        ctx.checkpoint()
        engine.practice.up()

    return changing(JobSpec("practice.up", say("Open a practice site"), run), "site", "servers")


def setup_facts(engine: Any) -> dict[str, Any]:
    """What the set-up shows."""
    return {"site": engine.site.get(), "accounts": engine.accounts.list(), "keys": engine.trust.list()}


def playbooks(engine: Any, releases: list[Any]) -> list[dict[str, Any]]:
    """The playbooks as dicts; ``serves`` holds the ids of the releases that carry what each needs."""
    from console.deploy.playbook import built_in

    formats = {book.id: book for book in built_in().values()}
    return [plain | {"serves": {release.release_id for release in releases if _serves(formats[plain["id"]], release)}}
            for plain in engine.deployments.playbooks()]


def _serves(book: Any, release: Any) -> bool:
    def carries(kind: str, wanted: tuple[str, ...]) -> bool:
        return not wanted or any(part.type == kind and part.format in wanted for part in release.components)

    return carries("model", book.model_formats) and carries("runtime", book.runtime_formats)


def worst_verdicts(engine: Any) -> dict[str, str]:
    """By server, the worst verdict of its last readiness run: fail, unknown, warn, info or pass."""
    order, worst = ("pass", "info", "warn", "unknown", "fail"), {}
    for check in engine.readiness.latest():
        worst[check.server] = max(worst.get(check.server, "pass"), check.verdict, key=order.index)
    return worst


def plan_state(engine: Any, plan: Any) -> str:
    """What may be done with a plan now: planned, approved, free (of approval), interrupted or applied."""
    for deployment in engine.deployments.list():
        if deployment["plan_id"] == plan.id:
            cut_off = any(s["state"] in ("applying", "interrupted", "waiting", "unreachable")
                          for s in deployment["servers"])
            return "interrupted" if cut_off else "applied"
    if engine.approvals.granted("deploy", plan.digest) is not None:
        return "approved"
    return "planned" if engine.approvals.required() else "free"


def push(engine: Any, say: Say, release: Any, names: tuple[str, ...], options: dict[str, Any]) -> JobSpec:
    """Bring a release onto servers, verified there."""
    return engine.push.job(release, names, say("Push {title}", title=release.title), **options)


def tidy(engine: Any, say: Say) -> None:
    """Start looking after servers on which a push that was cut off may have left keys; nothing where there are none."""
    if spec := engine.tidy_job(say("Take away keys that a broken push left")):
        engine.jobs.submit(spec)


def verify_on_servers(engine: Any, say: Say, release: Any, names: tuple[str, ...]) -> JobSpec:
    """Hash a release's files again where they lie on the servers."""
    return JobSpec("push.verify", say("Verify {title} on the servers", title=release.title),
                   lambda ctx: engine.push.verify(ctx, release, names), names, changed=frozenset({"audit", "jobs"}))


def push_defaults(engine: Any) -> dict[str, Any]:
    """What a push does when it is not told otherwise: the least degree that the site allows, the usual one, the limit in bytes a
    second, and whether servers may hand files on to each other."""
    site = engine.site.get()
    return {"least": site.policy.push_degree if site else "received", "usual": engine.settings.get("push.degree"),
            "limit": engine.settings.get("push.limit-bytes-per-s"),
            "relay": engine.settings.get("push.relay") == "auto" and (site is None or site.policy.relay)}


def hold_push(engine: Any, job: str, hold: bool) -> None:
    """Have the push that a job is doing send nothing, or go on."""
    control = engine.push.traffic.of(job)
    if hold:
        control.pause()
    else:
        control.resume()


def limit_push(engine: Any, job: str, bytes_per_s: int) -> None:
    """Limit the push that a job is doing; 0 for no limit."""
    engine.push.traffic.of(job).limit.bytes_per_s = bytes_per_s


def deployment_status(engine: Any, say: Say, deployment: str) -> JobSpec:
    """Ask each server of a deployment whether it serves now."""
    return JobSpec("deploy.status", say("Check the health of {deployment}", deployment=deployment),
                   lambda ctx: engine.deployments.status(ctx, deployment), changed=frozenset({"jobs"}))


def smoke_service(engine: Any, say: Say, deployment: str) -> JobSpec:
    """Ask the model on every server of a deployment."""
    names = tuple(row["server"] for row in engine.deployments.served(deployment))
    return changing(JobSpec("smoke.service", say("Smoke test of {deployment}", deployment=deployment),
                            lambda ctx: engine.smoke.service(ctx, deployment), names), "deployments")


def export_audit(engine: Any, out: Path) -> dict[str, Any]:
    """Write the signed record below ``out``."""
    return engine.audit.export(out)


def check_export(folder: Path, key: str) -> dict[str, Any]:
    """Check an exported record against a verifier line."""
    from console.audit.package import verify_export

    return verify_export(folder, key or None, [])


def public_key(path: Path) -> Any:
    """The public key in a file."""
    from console.trust.keys import load_public

    return load_public(path)


def trust_key(engine: Any, path: Path, holder: str, fingerprint: str) -> Any:
    """Trust the key in a file when it still has the fingerprint that was compared."""
    return engine.trust.add(public_key(path), holder, fingerprint)


def make_practice_bundle(engine: Any, ctx: Any, out: Path) -> dict[str, Any]:
    """Build the practice bundle below ``out``, signed with a key of its own; its public half is written beside it.

    Returns:
        ``folder`` of the bundle, ``public_key`` file, ``fingerprint``.
    """
    from console.smoke.practice_bundle import build
    from console.trust.keys import PrivateKey, load_private

    file = Path(engine.workspace) / "practice-builder.key"
    if not file.exists():
        PrivateKey.generate().save(file)
    key = load_private(file)
    public = out / "practice-builder.pub"
    public.write_bytes(key.public.pem)
    built = build(ctx, out, [key])
    return {"folder": built.folders[0], "public_key": public, "fingerprint": key.public.fingerprint}


def practice_bundle(engine: Any, say: Say, out: Path) -> JobSpec:
    """Build the practice bundle, as the connected side would."""
    return changing(JobSpec("practice.bundle", say("Make a practice bundle"),
                            lambda ctx: make_practice_bundle(engine, ctx, out)), "drives")


def evidence(engine: Any, server: str, wanted: tuple[str, ...]) -> dict[str, Any]:
    """The raw evidence of the facts that a check rests on, by fact id."""
    taken = engine.inventory.latest(server, reached=True)
    known = taken.facts if taken is not None else {}
    return {fact_id: known[fact_id].evidence for fact_id in wanted if fact_id in known}


def models() -> list[tuple[str, str]]:
    """The catalog's models: name, and the name without its organisation."""
    from console.catalog.catalog import built_in

    return [(entry.name, entry.name.rpartition("/")[2]) for entry in built_in().all("models", "entries")]


@dataclass(frozen=True)
class ServerFit:
    """How a model fits servers that are alike; ``answer`` is None where no device is known to the catalog."""

    servers: tuple[str, ...]
    accelerator: str
    count: int
    answer: Any = None


def fits(engine: Any, model: str, names: tuple[str, ...], context: int, concurrency: int) -> list[ServerFit]:
    """Ask the sizing for each kind of server among ``names``, by its last inventory."""
    from console.catalog.catalog import built_in
    from console.sizing.ask import by_name

    alike: dict[tuple[str, int, int | None], list[str]] = {}
    for name in names:
        alike.setdefault(_devices_of(engine.inventory.latest(name, reached=True)), []).append(name)
    found = []
    for (accelerator, count, memory_bytes), servers in alike.items():
        known = accelerator and built_in().device_or_none(accelerator) is not None
        answer = by_name(built_in(), model, accelerator, count, context=context, concurrency=concurrency,
                         memory_bytes=memory_bytes) if known else None
        found.append(ServerFit(tuple(servers), accelerator, count, answer))
    return found


def _devices_of(taken: Any) -> tuple[str, int, int | None]:
    """The most numerous kind of device, how many of it, and the memory of one as the driver reports it."""
    kinds: dict[tuple[str, int | None], int] = {}
    for device in taken.devices if taken is not None else ():
        kind = (device.model or device.name or "", device.memory_total_bytes)
        kinds[kind] = kinds.get(kind, 0) + 1
    if not kinds:
        return "", 0, None
    (name, memory_bytes), count = max(kinds.items(), key=lambda item: item[1])
    return name, count, memory_bytes
