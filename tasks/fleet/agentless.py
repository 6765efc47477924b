"""Fleets without agents: model servers that share a folder, brought to the fleet's config by the flow itself."""

import contextlib
import logging
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tasks import files
from tasks.errors import DeadlineExceeded, InvalidSettings, LoadFailed, ServingUnreachable, SlipwayError
from tasks.fleet.config import Fleet, FleetConfig, WithoutAgents
from tasks.fleet.converge import Replica, prune
from tasks.records import ReplicaReport
from tasks.serving.client import ServingClient
from tasks.versions import fetch

log = logging.getLogger(__name__)

CONFIGS = ".configs"  # where each server's own config lies, in the folder that all share; a model cannot have this name
_POLL = 0.2  # seconds between two attempts to lock the folder


@dataclass(frozen=True)
class _Member:
    """One server of the fleet, and its latest report."""

    replica: Replica
    last: ReplicaReport


def converge(fleet: Fleet, direct: WithoutAgents) -> list[ReplicaReport]:
    """Bring every server to the fleet's newest config, and report for each as its agent would.

    If several runs do this at once, one works and the others wait, and then each takes the config that is the newest
    by then: none brings a server back to an older one.

    Raises:
        DeadlineExceeded: another run was busy with them for longer than the fleet's deadline.
        InvalidSettings: the folder cannot be used.
        StoreError: the store does not answer.
    """
    with _exclusive(direct.models_dir, fleet.deadline), _members(fleet, direct) as members:
        fetch.clear_leftovers(direct.models_dir)
        newest = fleet.newest()
        # The first fetches the files for all.
        found = [_converged_report(fleet, newest, members[0])]
        with ThreadPoolExecutor() as pool:
            found += pool.map(lambda member: _converged_report(fleet, newest, member), members[1:])
        if all(report.config == newest.number for report in found):
            prune(direct.models_dir, newest, fleet.store, [member.replica.server for member in members])
    return found


def reports(fleet: Fleet, direct: WithoutAgents) -> list[ReplicaReport]:
    """What each server serves now, and which config it has reached. Nothing is changed."""
    newest = fleet.newest()
    with _members(fleet, direct) as members:
        return [_observed_report(fleet, newest, member) for member in members]


def _converged_report(fleet: Fleet, newest: FleetConfig, member: _Member) -> ReplicaReport:
    """Bring one server to `newest`; its report, which is written to the store too."""
    replica, last = member.replica, member.last
    try:
        newest = fleet.seen_by(replica.name, newest)
        if last.config != newest.number or not replica.reached(newest):
            replica.converge(newest, fleet.deadline)
            log.info("%s has reached config %d", replica.name, newest.number)
        report = replica.report(newest.number, replica.states(newest.models))
    except SlipwayError as error:
        # A server that does not answer may do so soon; any other failure is due to this config.
        failed = None if isinstance(error, ServingUnreachable) else newest.number
        load = error if isinstance(error, LoadFailed) else LoadFailed(str(error))
        report = replica.report(
            last.config, last.models, str(error), failed, load.model, error_by_version=load.by_version
        )
    fleet.put_report(report)
    return report


def _observed_report(fleet: Fleet, newest: FleetConfig, member: _Member) -> ReplicaReport:
    replica, last = member.replica, member.last
    try:
        newest = fleet.seen_by(replica.name, newest)
        reached, models = replica.reached(newest), replica.states(newest.models)
    except SlipwayError as error:
        return replica.report(last.config, {}, str(error))
    if reached:
        return replica.report(newest.number, models)
    # A server that was restarted has lost what it had reached.
    config = max(0, min(last.config, newest.number - 1))
    return replica.report(config, models, last.error, last.error_config, last.error_model)


@contextlib.contextmanager
def _members(fleet: Fleet, direct: WithoutAgents) -> Iterator[list[_Member]]:
    with contextlib.ExitStack() as stack:
        members = []
        for address in direct.servers:
            server = ServingClient(address.grpc_address, address.rest_url, direct.deadline)
            stack.callback(server.close)
            config_file = direct.models_dir / CONFIGS / f"{address.name}.config"
            replica = Replica(fleet.store, fleet.trust, address.name, server, direct.models_dir, config_file)
            members.append(_Member(replica, fleet.last_report(address.name) or replica.report(0, {})))
        yield members


@contextlib.contextmanager
def _exclusive(models_dir: Path, deadline: float) -> Iterator[None]:
    """Lock the folder, and so its servers, against all other processes that do this.

    Raises:
        DeadlineExceeded: another process had it for longer than `deadline` seconds.
        InvalidSettings: the folder cannot be written to, or its file system has no locks.
    """
    with contextlib.ExitStack() as held:
        end = time.monotonic() + deadline
        while not _try_lock(models_dir, held):
            if time.monotonic() > end:
                raise DeadlineExceeded(
                    f"Another run has been busy with the servers that share {models_dir} for {deadline:g} s."
                )
            time.sleep(_POLL)
        yield


def _try_lock(models_dir: Path, held: contextlib.ExitStack) -> bool:
    """Take the folder's lock until `held` ends; False if another process has it."""
    try:
        models_dir.mkdir(parents=True, exist_ok=True)
        locked = held.enter_context(files.lock(models_dir))
    except BlockingIOError:
        return False
    except OSError as error:
        raise InvalidSettings(
            f"{models_dir}, which SLIPWAY_MODELS_DIR names, cannot be used ({error.strerror}): the servers of "
            "SLIPWAY_REPLICA_ADDRESSES and the flows must share it."
        ) from error
    if not locked:
        raise InvalidSettings(
            f"The file system of {models_dir} has no locks, which keep two rollouts apart: point "
            "SLIPWAY_MODELS_DIR at one that does, or run an agent beside each server."
        )
    return True
