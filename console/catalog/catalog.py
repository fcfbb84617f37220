"""The catalog: what is known of devices, models, frameworks and stacks, looked up by the names that people and tools use."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from console.assets import asset
from console.catalog.reading import Entry, read_file
from console.errors import InputError, code
from console.i18n import N_

UNKNOWN_DEVICE = code(
    "catalog.unknown-accelerator", InputError, N_("The catalog knows no accelerator named {name}."),
    N_("Names that come close: {close}. `sealift catalog show devices` lists all of them."))
UNKNOWN_MODEL = code(
    "catalog.unknown-model", InputError, N_("The catalog knows no model named {name}."),
    N_("Names that come close: {close}. `sealift catalog show models` lists all of them; for any other model give its "
       "config.json with --config."))
UNKNOWN_FRAMEWORK = code(
    "catalog.unknown-framework", InputError, N_("The catalog knows no serving framework named {name}."),
    N_("Known are: {close}."))

_VENDOR_WORDS = re.compile(r"\b(nvidia|amd|huawei|instinct|tesla|geforce|corporation)\b")
_SUFFIXES = (("w8a8", "w8a8"), ("w4a8", "w4a8"), ("nvfp4", "nvfp4"), ("mxfp4", "fp4"), ("fp4", "fp4"), ("fp8", "fp8"),
             ("bf16", "bf16"), ("fp16", "fp16"), ("awq", "int4"), ("gptqint4", "int4"), ("gptq", "int4"),
             ("int4", "int4"), ("int8", "w8a8"))
PRECISION_NAMES = {
    "fp8": "fp8", "f8": "fp8", "float8": "fp8", "e4m3": "fp8", "fp8e4m3": "fp8", "fp8block": "fp8", "mxfp8": "mxfp8",
    "bf16": "bf16", "bfloat16": "bf16", "fp16": "fp16", "float16": "fp16", "f16": "fp16", "half": "fp16", "fp32": "fp32",
    "float32": "fp32", "int8": "w8a8", "w8a8": "w8a8", "w8a8int8": "w8a8", "i8": "w8a8", "w8a16": "w8a16", "w4a8": "w4a8",
    "w4a8int8": "w4a8", "int4": "int4", "w4a16": "int4", "awq": "int4", "gptq": "int4", "4bit": "int4", "q4": "int4",
    "fp4": "fp4", "mxfp4": "fp4", "fp4fp8": "fp4", "fp8fp4": "fp4", "nvfp4": "nvfp4"}


def plain(name: str) -> str:
    """A name without case, vendor words and signs: ``NVIDIA H100 80GB HBM3`` gives ``h10080gbhbm3``."""
    return re.sub(r"[^a-z0-9]", "", _VENDOR_WORDS.sub(" ", name.lower()))


def precision(name: str) -> str | None:
    """The canonical name of a checkpoint's precision, None when it is not known. ``int8`` is W8A8."""
    return PRECISION_NAMES.get(re.sub(r"[^a-z0-9]", "", name.lower()))


@dataclass(frozen=True)
class Named:
    """What a look-up found.

    Attributes:
        entry: the statement. assumed: other entries the name fits as well, so that a choice was made.
        precision: of a model, when the name told it: ``DeepSeek-R1-W8A8``.
    """

    entry: Entry
    assumed: tuple[str, ...] = ()
    precision: str | None = None


class Catalog:
    """Entries of several files; a later file's entry replaces an earlier one of the same kind, section and name."""

    def __init__(self, entries: Iterable[Entry]):
        self._entries: dict[tuple[str, str, str], Entry] = {}
        for entry in entries:
            self._entries[entry.kind, entry.section, entry.name] = entry

    def all(self, kind: str | None = None, section: str | None = None) -> tuple[Entry, ...]:
        """Entries of a kind and section, in the order of their files."""
        return tuple(e for (k, s, _), e in self._entries.items() if kind in (None, k) and section in (None, s))

    def find(self, kind: str, name: str, section: str = "entries") -> Entry | None:
        """The entry of exactly this name."""
        return self._entries.get((kind, section, name))

    def values(self, kind: str, name: str) -> Entry:
        """A rule or threshold that the program itself needs.

        Raises:
            KeyError: an imported catalog cannot take one away, so this is a mistake in the program.
        """
        return self._entries[kind, "entries", name]

    def device(self, name: str, memory_mib: float | None = None) -> Named:
        """A device by its catalog name, an alias, the name its tool prints, or its PCI id.

        Args:
            memory_mib: what the driver reports; tells boards of one name apart.

        Raises:
            InputError: ``catalog.unknown-accelerator``.
        """
        found = self.device_or_none(name, memory_mib)
        if found is None:
            names = [alias for e in self.all("devices") for alias in (e.name, *e.get("aliases", ()))]
            close = difflib.get_close_matches(name, names, 4, 0.4)
            raise UNKNOWN_DEVICE(name=name[:200], close=", ".join(close) or "–")
        return found

    def device_or_none(self, name: str | None, memory_mib: float | None = None, pci_id: str | None = None) -> Named | None:
        """As :meth:`device`; None when the catalog does not know it. A PCI id decides when no name does."""
        wanted = plain(name or "")
        exact = [e for e in self.all("devices") if wanted and wanted in _names(e)]
        loose = [e for e in self.all("devices") if wanted and wanted in map(plain, e.get("loose", ()))]
        pci = (pci_id or (name or "")).lower().removeprefix("0x").rpartition(":")[2]
        on_bus = [e for e in self.all("devices") if pci in e["pci"]] if len(pci) == 4 else []
        found = exact or loose or on_bus
        if not found:
            return None
        best = min(found, key=lambda e: abs(_mib(e) - memory_mib)) if memory_mib else found[0]
        if exact:
            return Named(best)
        family = self._siblings(best) if loose else [e for e in on_bus if e is not best]
        if memory_mib:
            return Named(min([best, *family], key=lambda e: abs(_mib(e) - memory_mib)))
        return Named(best, tuple(e.name for e in family))

    def _siblings(self, best: Entry) -> list[Entry]:
        """Other boards that go by the loose names of ``best``: the same stem, not the beginning of a longer number."""
        stems = [re.escape(name) + (r"(?!\d)" if name[-1].isdigit() else "") for name in best.get("loose", ())]
        return [e for e in self.all("devices") if e is not best and e["family"] == best["family"] and e.vendor == best.vendor
                and any(re.search(stem, e.name) for stem in stems)]

    def model(self, name: str) -> Named:
        """A model by its id, with or without the organisation, or an alias; a precision at the end is understood.

        Raises:
            InputError: ``catalog.unknown-model``.
        """
        found = self.model_or_none(name)
        if found is None:
            names = [alias for e in self.all("models", "entries") for alias in (e.name, *e.get("aliases", ()))]
            close = difflib.get_close_matches(name, names, 4, 0.4)
            raise UNKNOWN_MODEL(name=name[:200], close=", ".join(close) or "–")
        return found

    def model_or_none(self, name: str) -> Named | None:
        """As :meth:`model`; None when the catalog does not know it."""
        wanted = _model_key(name)
        by_name = {_model_key(alias): e for e in reversed(self.all("models", "entries")) for alias in (e.name, *e.get("aliases", ()))}
        if wanted in by_name:
            return Named(by_name[wanted])
        for suffix, told in _SUFFIXES:
            entry = by_name.get(wanted.removesuffix(suffix)) if wanted.endswith(suffix) else None
            if entry is not None:
                return Named(entry, precision=told)
        return None

    def framework(self, name: str) -> Entry:
        """A serving framework by its name or an alias.

        Raises:
            InputError: ``catalog.unknown-framework``.
        """
        for entry in self.all("serving", "entries"):
            if plain(name) in _names(entry):
                return entry
        raise UNKNOWN_FRAMEWORK(name=name[:200], close=", ".join(e.name for e in self.all("serving", "entries")))


def _names(entry: Entry) -> set[str]:
    return {plain(alias) for alias in (entry.name, *entry.get("aliases", ()))}


def _mib(entry: Entry) -> float:
    return entry["memory_mib"] or entry["memory_gb"] * 1e9 / 1048576


def _model_key(name: str) -> str:
    return re.sub(r"[^a-z0-9.]", "", name.strip().rstrip("/").rpartition("/")[2].lower())


@cache
def built_in() -> Catalog:
    """The catalog that ships with the program.

    Raises:
        InputError: ``catalog.malformed``.
    """
    return Catalog(entry for path in sorted(asset("catalog").glob("*.yaml")) for entry in read_file(path))


def load(folder: Path | None = None) -> Catalog:
    """The catalog that ships, with the files of ``folder`` on top, in the order of their names.

    Raises:
        InputError: ``catalog.malformed``.
    """
    files = sorted(folder.glob("*.yaml")) if folder is not None and folder.is_dir() else []
    if not files:
        return built_in()
    return Catalog([*built_in().all(), *(entry for path in files for entry in read_file(path))])
