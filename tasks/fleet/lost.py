"""A store that lost a fleet's configs, or their signatures: found out by replicas, and restored from what they keep."""

import contextlib
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tasks.errors import Corrupt, InvalidInput, NotFound, SignatureInvalid, StoreWentBack
from tasks.files import write_atomically
from tasks.fleet.config import Fleet, FleetConfig, held_in, parse, render
from tasks.records import Record, ReplicaReport
from tasks.store import keys

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Kept(Record):
    """The newest config that a replica has reached, as it keeps it on its own disk."""

    source: str  # the folder of the fleet's configs, in which store it may be
    number: int
    text: str

    @property
    def config(self) -> FleetConfig:
        """The config itself."""
        return FleetConfig(self.number, parse(self.text, "what this replica keeps"))

    @classmethod
    def read(cls, path: Path, fleet: Fleet) -> "Kept":
        """What the replica keeps in `path`: number 0 if that is nothing, or of another fleet or store."""
        nothing = cls(_source(fleet), 0, "")
        try:
            found = cls.from_json(path.read_bytes(), str(path))
            found.config  # noqa: B018 - read to find out whether it can be
        except FileNotFoundError:
            return nothing
        except Corrupt as error:
            log.warning("%s", error)
            return nothing
        return found if found.source == nothing.source else nothing

    @classmethod
    def write(cls, path: Path, fleet: Fleet, config: FleetConfig) -> "Kept":
        """Keep that `config` was reached."""
        text = render(config.models, f"config {config.number} of fleet {fleet.name}").decode()
        found = cls(_source(fleet), config.number, text)
        write_atomically(path, found.to_json())
        return found


def require_kept(fleet: Fleet, replica: str, kept: Kept, newest: FleetConfig) -> None:
    """Raise unless the store still has what this replica has reached. At most one request.

    Args:
        newest: the store's newest config, as this replica has to serve it.

    Raises:
        StoreWentBack: the store has no such config, or another one of that number, and what it has now is not the same.
    """
    if kept.number == 0 or (newest.number > kept.number and newest.models == kept.config.models):
        return
    what = "has lost"
    try:
        there = fleet.seen_by(replica, fleet.read(kept.number)).models if newest.number >= kept.number else None
    except NotFound:
        there = None
    except SignatureInvalid:
        there, what = None, "has another"
    if there != kept.config.models:
        raise _went_back(fleet, replica, kept.number, what if there is None else "has another")


def require_whole(fleet: Fleet, reports: Iterable[ReplicaReport]) -> None:
    """Raise unless the store has a config as new as those that these replicas have reached.

    Raises:
        StoreWentBack: one has reached a newer one.
    """
    latest = max(reports, key=lambda report: report.config, default=None)
    if latest is not None and latest.config > fleet.newest().number:
        raise _went_back(fleet, latest.replica, latest.config, "has lost")


def restore(fleet: Fleet, reports: Iterable[ReplicaReport]) -> FleetConfig:
    """Write what these replicas of the fleet serve as its newest config; idempotent.

    Raises:
        InvalidInput: no replica says that the store has lost what it serves.
    """
    found = [report for report in reports if report.kept is not None]
    if not found:
        raise InvalidInput(
            f"No replica of fleet {fleet.name!r} reports that the store lost its config: there is nothing to restore. "
            "A replica finds out within half a minute; `slipway replicas` shows what each says."
        )
    latest = max(found, key=lambda report: report.config)
    models = parse(latest.kept or "", latest.replica)
    last = _last(fleet)
    # Replicas follow one number after the other, from the one that they have reached.
    for number in range(last + 1, max(last, latest.config) + 2):
        fleet.write(number, models, f"restored from replica {latest.replica}")
    return fleet.newest()


def sign(fleet: Fleet) -> FleetConfig:
    """Write the fleet's newest config once more, signed, whoever wrote it; the one that is signed.

    Raises:
        InvalidInput: the fleet has no config, or one that is signed, behind which nobody signs what was forged.
        Corrupt: the newest one is none.
    """
    last = _last(fleet)
    with contextlib.suppress(SignatureInvalid):
        signed = fleet.newest().number
        what = f"Config {signed} of fleet {fleet.name!r} is signed" if last else f"Fleet {fleet.name!r} has no config"
        raise InvalidInput(f"{what}: there is nothing to sign.")
    key = keys.config_key(fleet.name, last)
    text, source = fleet.store.get(key).decode("utf-8", "replace"), fleet.store.uri(key)
    fleet.write(last + 1, parse(text, source), f"config {last}, signed as it stands", held_in(text, source))
    return fleet.newest()


def _last(fleet: Fleet) -> int:
    return max(fleet.numbers(), default=0)


def _source(fleet: Fleet) -> str:
    return fleet.store.uri(keys.configs_prefix(fleet.name))


def _went_back(fleet: Fleet, replica: str, number: int, what: str) -> StoreWentBack:
    return StoreWentBack(
        f"The store went back in time: it {what} config {number} of fleet {fleet.name!r}, which replica {replica} has "
        f"reached. What is served stays as it is, and nothing was changed. `slipway fleet restore {fleet.name}` brings "
        "the fleet's state back from what its replicas serve."
    )
