"""Where the main job stands, in a sentence a stage."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from console import overview


def standing(count: int) -> SimpleNamespace:
    """An engine in which one deployment serves on ``count`` servers."""
    servers = [{"name": f"gpu-{n:02}", "state": "serving"} for n in range(count)]
    return SimpleNamespace(deployments=SimpleNamespace(
        interrupted=lambda: [], list=lambda: [{"servers": servers}], plans=lambda: []))


@pytest.mark.parametrize(("count", "said"), [
    (1, "A model is in service on gpu-00."),
    (overview.NAMED, "A model is in service on gpu-00, gpu-01, gpu-02, gpu-03, gpu-04, gpu-05."),
    (300, "A model is in service on 300 servers."),
])
def test_few_servers_are_named_and_many_are_counted(count: int, said: str):
    stage = overview._deploy(standing(count))
    assert stage.state == "done" and stage.text.format(**stage.params) == said
