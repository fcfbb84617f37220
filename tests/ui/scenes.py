"""Sites to look at: an engine brought into a state by its own services, and the views that each screen has."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from console.jobs.job import NullContext

SERVERS = ("practice-amd", "practice-ascend", "practice-nvidia")
HOST_LINE = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ1w4wPqIbTQm5jmB2ZQf5Gk6mQ2m8v1b5kS6c0m1v0Z"


def practice_site(engine: Any) -> None:
    """A site, the practice servers in this process, and their inventory."""
    engine.site.init("Harbour data hall 2", "ca", "internal")
    engine.practice.up(in_process=True)
    engine.inventory.refresh(NullContext(), [])


def stocked_site(engine: Any, scratch: Path) -> Any:
    """The practice site with the practice bundle verified and imported, and one server that nobody trusts yet.

    Returns:
        The release.
    """
    from console.servers.record import ServerRecord
    from ui.screens import tasks

    practice_site(engine)
    engine.servers.add(ServerRecord("gpu-host-17-in-the-second-row", "10.20.30.40", group="hall 2", labels=("new",)))
    drive = scratch / "drive"
    drive.mkdir(exist_ok=True)
    made = tasks.make_practice_bundle(engine, NullContext(), drive)
    tasks.trust_key(engine, made["public_key"], "practice-builder", made["fingerprint"])
    engine.library.import_(NullContext(), [made["folder"]])
    return engine.library.list()[0]


def full_site(engine: Any, scratch: Path) -> None:
    """A site with everything in it: checked, deployed, smoke-tested, exported."""
    release = stocked_site(engine, scratch)
    engine.readiness.run(list(SERVERS), playbook="onnx-smoke")
    plan = engine.deployments.plan("onnx-smoke", release, SERVERS)
    engine.deployments.apply(NullContext(), plan.id)
    engine.audit.export(scratch / "drive")


def drives_at(application: Any, scratch: Path) -> None:
    """Let the library screen look at the drive that the scene's bundle lies on, and at a folder without one."""
    (scratch / "plain folder").mkdir(exist_ok=True)
    (scratch / "drive").mkdir(exist_ok=True)
    application.desk.remember("library")["folders"] = [str(scratch / "drive"), str(scratch / "plain folder")]


def dialogs(window: Any, screen: str, scratch: Path) -> Iterator[tuple[str, Any]]:
    """Names of a screen's dialogs, and the dialogs, opened one after another."""
    from ui.screens.builder import BuilderDialog
    from ui.screens.librarybundle import FilesDialog
    from ui.screens.setup import AccountDialog

    shown = window.current()
    if screen == "setup" and shown._site is not None:
        made = AccountDialog(shown, shown.desk, True, lambda: None)
        made.open()
        yield "account", made
    if screen == "library":
        for name, dropped in (("builder-empty", ()), ("builder", (str(scratch / "drive"),))):
            made = BuilderDialog(shown, dropped)
            made.open()
            yield name, made
        found = shown._found.current()
        if found is not None:
            made = FilesDialog(shown, shown.t, found.told["title"], found.files)
            made.open()
            yield "files", made


def views(window: Any, screen: str) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Names and steps of a screen's views, after the first the tabs and parts behind it."""
    shown = window.current()
    yield "", lambda: None
    if screen == "setup" and shown._pages.currentIndex() == 1:
        for part in ("accounts", "keys", "policy", "site"):
            yield f"-{part}", lambda part=part: shown.show_part(part)
    elif screen == "site" and shown._pages.currentIndex() == 1:
        yield "-table", lambda: shown._show_kind(1)
        yield "-devices", lambda: shown._details._tabs.setCurrentIndex(1)
        yield "-facts", lambda: (shown._details._tabs.setCurrentIndex(2), shown._show_kind(0))
    elif hasattr(shown, "_tabs"):
        for place in range(1, shown._tabs.count()):
            yield f"-{place}", lambda place=place: shown._tabs.setCurrentIndex(place)
        shown._tabs.setCurrentIndex(0)
