"""Random faults, seeded: every push ends verified or with a named error, and no wrong byte ever goes live."""

from __future__ import annotations

import random
import shutil

import pytest

from console.errors import SealiftError, declared
from console.jobs.job import NullContext
from console.push.sender import Means, Outcome, send
from tests.push.local import PYTHON, make, noise

CHUNK = 32 << 10
FILES = {"m/a": noise(1, 500_000), "m/b": noise(2, 200_001), "m/c": b"c", "r/d": noise(4, 32 << 10), "r/e": noise(1, 500_000)}
FULL = ("sh", "-c", 'trap "" XFSZ; ulimit -f "$0"; exec "$@"')


def flip(file, dice):
    """What a disk does to a file at rest: other bytes, the same times."""
    data = bytearray(file.read_bytes())
    if data:
        data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
        file.chmod(0o600)
        file.write_bytes(data)


@pytest.mark.parametrize("seed", range(16))
def test_random_faults(home, link, tmp_path, seed):
    dice = random.Random(seed)
    made = make(tmp_path / "library", FILES, CHUNK)
    plan = made.plan("~/store", degree=dice.choice(["received", "stored", "media"]))
    folder = home / "store/releases" / plan.release_id
    for _ in range(4):
        transport, sent = link(), Outcome()
        fault = dice.choice(["cut", "kill", "flip", "rot", "full", "cut"])
        if fault == "cut":
            transport.cut_after = dice.randrange(50_000, 700_000)
        elif fault == "flip":
            transport.flip_at = dice.randrange(60_000, 600_000)
        elif fault == "full":
            transport.prefix = (*FULL, str(dice.randrange(40, 1000)))
        elif fault == "rot":
            for part in sorted((home / "store").glob("staging/*/*.part")):
                flip(part, dice)
        ctx = Kills(transport, dice.randrange(10)) if fault == "kill" else NullContext()
        try:
            send(ctx, transport, plan, sent, Means(), dice.choice([PYTHON, None]))
        except SealiftError as problem:
            assert problem.code in declared() and problem.retryable, fault
            assert not sent.done
        transport.close()
        if folder.exists():
            assert {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()} == FILES, fault
            if dice.random() < 0.5:
                shutil.rmtree(folder)
    outcome = Outcome()
    send(NullContext(), link(), plan, outcome, Means(), PYTHON)
    assert outcome.done
    assert {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()} == FILES


class Kills(NullContext):
    """Kills the receiver at the given report of progress."""

    def __init__(self, transport, at):
        super().__init__()
        self.transport, self.at = transport, at

    def progress(self, done, total, unit, left_s=None):
        self.at -= 1
        if self.at == 0:
            self.transport.kill()
