from __future__ import annotations

import pytest


@pytest.fixture
def engine(tmp_path):
    """An engine over a fresh workspace."""
    from console.engine import Engine

    with Engine.open(tmp_path / "workspace") as made:
        yield made
