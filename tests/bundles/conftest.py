"""A bundle built once, and workspaces that trust its key."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from console.engine import Engine

_spec = importlib.util.spec_from_file_location("bundle_samples", Path(__file__).with_name("samples.py"))
samples = importlib.util.module_from_spec(_spec)
sys.modules["bundle_samples"] = samples
_spec.loader.exec_module(samples)


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory):
    """A good bundle; not to be changed."""
    return samples.make(tmp_path_factory.mktemp("sample"))


@pytest.fixture
def copy(sample, tmp_path: Path):
    """A copy of it to be spoiled."""
    return sample.copy(tmp_path / "drive")


@pytest.fixture
def open_site(tmp_path: Path) -> Iterator[Callable[..., Engine]]:
    """Opens a workspace with a site that trusts the keys given."""
    opened: list[Engine] = []

    def start(*keys, name: str = "site", **policy) -> Engine:
        engine = Engine.open(tmp_path / name)
        opened.append(engine)
        if engine.site.get() is None:
            engine.site.init("Test", "other", "internal", "test-site", **policy)
            for number, key in enumerate(keys):
                engine.trust.add(key.public, f"holder-{number}", key.public.fingerprint)
        return engine

    yield start
    for engine in opened:
        engine.close()
