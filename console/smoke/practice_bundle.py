"""The practice bundle's content: the smoke model, the wheels of the small runtime, and the playbook that serves it.

Written as a folder with a spec for ``console.bundles.build``; equal inputs give equal bytes.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import shutil
import sys
import zipfile
from pathlib import Path
from typing import Any

import yaml

from console import assets
from console.errors import WorldError, code
from console.i18n import N_
from console.smoke import runtime

NO_WHEELS = code("practice.no-wheelhouse", WorldError, N_("The wheels of the small runtime are not at {path}."),
                 N_("Run `make setup`, which fetches them, or name a folder of wheels in SEALIFT_WHEELHOUSE."))

MODEL_FILES = ("model.onnx", "config.json", "tokenizer.json", "generation_config.json", "expected.json", "README.md",
               "LICENSE")
_ZIP_TIME = (2020, 1, 1, 0, 0, 0)


def wheelhouse() -> Path:
    """The folder of wheels: ``SEALIFT_WHEELHOUSE``, else what the set-up fetched, else what the frozen program carries.

    Raises:
        WorldError: ``practice.no-wheelhouse``.
    """
    asked = os.environ.get("SEALIFT_WHEELHOUSE")
    places = [Path(asked)] if asked else [Path(sys.prefix) / "share/sealift/wheelhouse", assets.root() / "wheelhouse"]
    for place in places:
        if any(place.glob("onnxruntime-*.whl")):
            return place
    raise NO_WHEELS(path=str(places[0]))


def version() -> str:
    """The version of the server package."""
    text = (runtime.package() / "__init__.py").read_text(encoding="utf-8")
    return re.search(r'^__version__ = "([0-9.]+)"', text, re.MULTILINE)[1]


def server_wheel(folder: Path) -> Path:
    """Write the server package as a wheel into ``folder``: sorted entries, fixed times, nothing compressed, so that
    equal sources give equal bytes on every machine."""
    stem = f"sealift_onnx_server-{version()}"
    info = f"{stem}.dist-info"
    entries = {f"onnx_server/{file.name}": file.read_bytes() for file in sorted(runtime.package().glob("*.py"))}
    entries[f"{info}/METADATA"] = (
        f"Metadata-Version: 2.1\nName: sealift-onnx-server\nVersion: {version()}\n"
        "Summary: A small OpenAI-compatible server for small ONNX models, for smoke tests\n"
        "License: Apache-2.0\nRequires-Python: >=3.8\nRequires-Dist: numpy\nRequires-Dist: onnxruntime\n").encode()
    entries[f"{info}/WHEEL"] = b"Wheel-Version: 1.0\nGenerator: sealift\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    rows = [f"{name},sha256={_record_hash(data)},{len(data)}" for name, data in sorted(entries.items())]
    entries[f"{info}/RECORD"] = ("\n".join([*rows, f"{info}/RECORD,,"]) + "\n").encode()
    made = folder / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(made, "w", zipfile.ZIP_STORED) as archive:
        for name, data in sorted(entries.items()):
            entry = zipfile.ZipInfo(name, _ZIP_TIME)
            entry.external_attr, entry.create_system = 0o100644 << 16, 3
            archive.writestr(entry, data)
    return made


def _record_hash(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")


def write_content(folder: Path, wheels: Path | None = None) -> Path:
    """Write the bundle's content and its spec below ``folder``, which must be empty or missing.

    Args:
        wheels: folder of wheels; None for :func:`wheelhouse`.

    Returns:
        The spec file, for ``console.bundles.build``.

    Raises:
        WorldError: ``practice.no-wheelhouse``.
    """
    wheels = wheels or wheelhouse()
    for part in ("model", "runtime", "playbook"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for name in MODEL_FILES:
        shutil.copyfile(runtime.smoke_model() / name, folder / "model" / name)
    for wheel in sorted(wheels.glob("*.whl")):
        shutil.copyfile(wheel, folder / "runtime" / wheel.name)
    server_wheel(folder / "runtime")
    shutil.copyfile(assets.playbooks() / "onnx-smoke.yaml", folder / "playbook" / "onnx-smoke.yaml")
    spec = folder / "bundle.yaml"
    spec.write_text(yaml.safe_dump(_spec(), sort_keys=False, allow_unicode=True), encoding="utf-8")
    return spec


def _spec() -> dict[str, Any]:
    own = {"license": "Apache-2.0", "source": {"uri": "sealift", "revision": "1"}}
    return {
        "title": "Practice bundle", "channel": "practice", "sequence": 1,
        "components": [
            {"id": "smoke-model", "type": "model", "version": "1", "path": "model", "format": "onnx", **own},
            {"id": "onnx-runtime", "type": "runtime", "version": version(), "path": "runtime", "format": "wheel",
             "license": "Apache-2.0 AND MIT AND BSD-3-Clause",
             "source": {"uri": "https://pypi.org", "revision": "requirements.lock"}},
            {"id": "onnx-smoke", "type": "playbook", "version": "1", "path": "playbook", "format": "other", **own}]}


def build(ctx: Any, out: Path, keys: Any, wheels: Path | None = None, volume_size: int | None = None) -> Any:
    """Write the practice bundle, signed with ``keys``, onto ``out``; what ``console.bundles.build.build`` returns.

    Raises:
        WorldError: ``practice.no-wheelhouse``, or what building raises.
    """
    import tempfile

    from console.bundles.build import build as build_bundle

    with tempfile.TemporaryDirectory(prefix="sealift-practice-") as scratch:
        return build_bundle(ctx, write_content(Path(scratch), wheels), out, keys, volume_size)
