"""Which object goes onto which drive, and what the repair data costs: worked out before anything is written."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Literal

from console.bundles import layout, parity
from console.errors import InputError, WorldError, code
from console.i18n import N_
from console.units import size as shown_size

TOO_SMALL = code("bundle.volume-too-small", InputError, N_("Volumes of {size} are too small for this bundle."),
                 N_("Give at least {needed}."))
TOO_FEW = code("bundle.drives-too-few", WorldError, N_("The drives here take {room}, and {lacking} of the bundle is left over."),
               N_("Name a further drive, free space on these, or write to one drive after the other with --volume-size and --swap."))
BAD_PARITY = code("bundle.bad-parity", InputError, N_("Repair data cannot be {value}."),
                  N_("Write `volume` for a drive of repair data, or a number from 2 to 64: one repair object to so many others."))

Parity = Literal["volume"] | int | None
USABLE = 0.98
"""Part of a drive's free bytes that is planned for; the file system takes the rest."""
VOLUME_FOLDER = "vol-"
ROOMIER = (0.97, 0.92, 0.85)
CLUSTER_BYTES = 4096
"""What the drives' file systems store in; 4 KiB is the usual one."""
FEWEST, MOST = 2, parity.MAX_GROUP


@dataclass(frozen=True)
class Planned:
    """One volume: the folder that gets it, the digests of its objects, and whether it holds repair data alone."""

    place: Path
    objects: tuple[str, ...]
    repair: bool = False


@dataclass(frozen=True)
class Plan:
    """All volumes in order, and the groups of repair data: the name of each one's parity object, and its members."""

    volumes: tuple[Planned, ...]
    groups: dict[str, list[str]]
    sizes: dict[str, int]

    @property
    def parity_bytes(self) -> int:
        """What the repair data takes."""
        return sum(self.sizes[name] for name in self.groups)

    def renamed(self, digests: Mapping[str, str]) -> Plan:
        """This plan with the parity objects under their digests, which are known only when their bytes are."""
        def now(name: str) -> str:
            return digests.get(name, name)

        return Plan(tuple(Planned(v.place, tuple(dict.fromkeys(map(now, v.objects))), v.repair) for v in self.volumes),
                    {now(name): members for name, members in self.groups.items()}, {now(name): n for name, n in self.sizes.items()})

    def bytes_of(self, volume: Planned) -> int:
        """Sum of a volume's objects."""
        return sum(self.sizes[name] for name in volume.objects)


def read_parity(value: object) -> Parity:
    """What was asked for, by description or command line.

    Raises:
        InputError: ``bundle.bad-parity``.
    """
    if value is None or value == "volume":
        return value  # type: ignore[return-value]
    with contextlib.suppress(TypeError, ValueError):
        number = int(value) if isinstance(value, int | str) and not isinstance(value, bool) else 0
        if FEWEST <= number <= MOST:
            return number
    raise BAD_PARITY(value=str(value)[:40])


def plan(objects: Mapping[str, int], fixed_bytes: int, out: Sequence[Path], volume_size: int | None, wanted: Parity, *,
         swap: bool = False) -> Plan:
    """Each object on exactly one volume, in order, so that few files span a change of drives.

    Args:
        objects: bytes by digest, in the order of the files. fixed_bytes: of the small files that every volume carries.
        out: one folder, or several drives; then each takes what it has room for, the largest first.
        volume_size: bytes of a volume; then there are as many below ``out`` as it needs. None: all that is free.
        swap: the drives come one after the other to the one place in ``out``; without a ``volume_size`` each is taken to
            have as much room as the one that is there. The places of the plan are then to be read as that one.

    Raises:
        InputError: ``bundle.volume-too-small``. WorldError: ``bundle.drives-too-few``.
    """
    # Repair data takes a little more than the fullest volume, and a few bytes of it would ask for one more drive: data that
    # leaves a little room on each may need fewer drives in all.
    found = [_plan(objects, fixed_bytes, out, volume_size, wanted, 1.0, swap=swap)]
    for share in ROOMIER if wanted == "volume" and len(out) == 1 else ():
        with contextlib.suppress(InputError):  # the largest object may fit only into the whole room
            found.append(_plan(objects, fixed_bytes, out, volume_size, wanted, share, swap=swap))
    return min(found, key=lambda one: len(one.volumes))


def _plan(objects: Mapping[str, int], fixed_bytes: int, out: Sequence[Path], volume_size: int | None, wanted: Parity, share: float, *,
          swap: bool) -> Plan:
    sizes = dict(objects)
    groups: dict[str, list[str]] = {}
    if isinstance(wanted, int):
        groups = _named(parity.every(list(objects.items()), wanted), sizes)
    if volume_size is None and len(out) == 1 and not swap and wanted != "volume":
        return Plan((Planned(out[0], (*objects, *groups)),), groups, sizes)
    rooms = _rooms(out, volume_size, fixed_bytes, swap=swap)
    apart = next(rooms) if wanted == "volume" and len(out) > 1 else None
    less = ((place, room and int(room * share)) for place, room in rooms)
    volumes = [Planned(place, tuple(names)) for place, names in _packed([*objects, *groups], sizes, less, fixed_bytes)]
    if wanted == "volume":
        groups = _named(parity.across([[(name, sizes[name]) for name in v.objects] for v in volumes]), sizes)
        more = iter([apart]) if apart is not None else rooms
        volumes += [Planned(place, tuple(names), True) for place, names in _packed(list(groups), sizes, more, fixed_bytes)]
    return Plan(tuple(volumes), groups, sizes)


def _named(groups: list[list[str]], sizes: dict[str, int]) -> dict[str, list[str]]:
    """Groups under names that stand in for digests; their sizes are entered into ``sizes``."""
    named = {f"parity-{number}": group for number, group in enumerate(groups) if group}
    sizes |= {name: max(sizes[digest] for digest in group) for name, group in named.items()}
    return named


def _rooms(out: Sequence[Path], volume_size: int | None, fixed_bytes: int, *, swap: bool) -> Iterator[tuple[Path, int | None]]:
    """(place, bytes for objects, None without limit) of one volume after the other."""
    if len(out) > 1:
        free = sorted(((_room(place, volume_size), place) for place in out), key=lambda item: (-item[0], str(item[1])))
        return iter([(place, int(room * USABLE) - fixed_bytes) for room, place in free])
    if volume_size is None:
        room = int(_room(out[0], None) * USABLE) - fixed_bytes if swap else None
    else:
        room = int(volume_size * USABLE) - fixed_bytes
    return ((out[0] / f"{VOLUME_FOLDER}{number}", room) for number in count(1))


def _packed(names: Sequence[str], sizes: Mapping[str, int], rooms: Iterator[tuple[Path, int | None]],
            fixed_bytes: int) -> Iterator[tuple[Path, list[str]]]:
    at = taken = 0
    for place, room in rooms:
        held: list[str] = []
        left = room
        while at < len(names):
            cost = (sizes[names[at]] + CLUSTER_BYTES - 1) // CLUSTER_BYTES * CLUSTER_BYTES
            if left is not None:
                if cost > left:
                    break
                left -= cost
            held.append(names[at])
            at += 1
        taken += (room or 0) - (left or 0)
        if held or not names:
            yield place, held
        if at == len(names):
            return
        if not held and place.name.startswith(VOLUME_FOLDER):
            # The next volume would be as small.
            largest = max(sizes[name] for name in names)
            raise TOO_SMALL(size=shown_size(int(((room or 0) + fixed_bytes) / USABLE)),
                            needed=shown_size(int((fixed_bytes + largest + 2 * CLUSTER_BYTES) / USABLE)))
    raise TOO_FEW(room=shown_size(taken), lacking=shown_size(sum(sizes[name] for name in names[at:])))


def _room(place: Path, volume_size: int | None) -> int:
    """Bytes that may be planned for on a drive; for one that does not tell its room, the size of a volume as it was given."""
    free = _free(place)
    return (volume_size or 0) if free is None else min(free, volume_size or free)


def _free(place: Path) -> int | None:
    """Free bytes of the drive, None when its file system does not tell; counting what an attempt that was cut off left there: it will be gone on with."""
    there = place
    while not there.exists() and there != there.parent:
        there = there.parent
    usage = shutil.disk_usage(there)
    if not usage.total:
        return None
    free = usage.free
    with contextlib.suppress(OSError):
        for folder in (place / layout.BUNDLES).iterdir():
            if not (folder / layout.SEALED).exists():
                free += sum(os.path.getsize(file) for file in (folder / layout.OBJECTS).glob("*/*"))
    return free
