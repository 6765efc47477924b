"""Releases and rollbacks in processes of their own, which may be killed at any moment."""

import os
import signal
import tempfile
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

from flows.release import deliver, release_saved_model
from flows.rollback import rollback
from tasks.errors import SlipwayError
from tasks.policy import Policy
from tasks.records import Build, Training
from tasks.savedmodel.content import GOLDEN
from tasks.savedmodel.read import SavedModelFolder
from tasks.settings import settings
from tests.helpers.forkserver import context
from tests.helpers.models import prepare_affine


@dataclass(frozen=True)
class Write:
    """The nth write to the store of those whose key holds `part`."""

    part: str = ""
    nth: int = 1


class Release:
    """The release of a SavedModel as the next version of `affine`, or a rollback, under way."""

    def __init__(
        self,
        model: Path | None,
        fleet: str,
        environment: Mapping[str, str],
        prefect_api: str,
        *,
        strategy: str = "blue-green",
        dies_after: Write | None = None,
    ) -> None:
        """Begin it.

        Args:
            model: None: the version before is served again, in the place of a release.
            dies_after: it begins with its first write to the store, and dies, as by a power cut, after this one.
        """
        self._told, telling = context().Pipe(duplex=False)
        self._process = context().Process(
            target=_release,
            args=(model and str(model), fleet, dict(environment), prefect_api, strategy, dies_after, telling),
            daemon=True,  # where a test fails, it ends with the tests
        )
        self._process.start()
        telling.close()
        assert self._told.poll(120), "no process begins"
        self._told.recv()
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        """How long ago it began."""
        return time.monotonic() - self._began

    def kill_after(self, seconds: float) -> None:
        """End it as a power cut would, so many seconds after it began, unless it has ended by then."""
        self._process.join(max(0.0, seconds - self.seconds))
        self._process.kill()

    def end(self, seconds: float = 180) -> str | None:
        """Wait until it has ended: `killed`, None where it ended right, or what it failed of."""
        self._process.join(seconds)
        if self._process.exitcode is None:
            self._process.kill()
            raise AssertionError(f"a release still runs after {seconds} s")
        if self._process.exitcode == -signal.SIGKILL:
            return "killed"
        error: str | None = self._told.recv()
        assert self._process.exitcode == 0, f"{self._process.exitcode}: {error}"
        return error


def quick_flows(prefect_api: str | None = None) -> AbstractContextManager[object]:
    """Flows that end at once, not with the next tick of their heartbeat, on another Prefect server if one is given."""
    changed = {PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}
    return temporary_settings(changed | ({PREFECT_API_URL: prefect_api} if prefect_api else {}))


@flow
def publish_and_roll_out(model: str, saved_model: str, fleet: str, strategy: str) -> None:
    """A release from its first write on."""
    with tempfile.TemporaryDirectory() as folder:
        directory = prepare_affine(Path(saved_model), Path(folder) / "build", int(Path(saved_model).name))
        build = Build(model, str(directory), SavedModelFolder.read(directory).signatures, GOLDEN, Training())
        deliver(build, fleet, strategy, Policy.of(settings()), ungated="none has held-out examples", again=True)


def _release(
    model: str | None,
    fleet: str,
    environment: Mapping[str, str],
    prefect_api: str,
    strategy: str,
    dies_after: Write | None,
    telling: Connection,
) -> None:
    for name in [name for name in os.environ if name.startswith("SLIPWAY_")]:
        del os.environ[name]
    os.environ.update(environment)
    settings.cache_clear()
    telling.send("begun")
    if dies_after is not None:
        _die_after(dies_after)
    release: Any = publish_and_roll_out
    more: dict[str, Any] = {}
    if dies_after is None:
        release, more = release_saved_model, {"ungated": "none has held-out examples", "again": True}
    error = None
    try:
        with quick_flows(prefect_api):
            if model is None:
                rollback("affine", fleet=fleet)
            else:
                release("affine", model, fleet=fleet, strategy=strategy, **more)
    except SlipwayError as failed:
        error = str(failed)
    except BaseException as failed:
        telling.send(f"{type(failed).__name__}: {failed}")
        raise
    telling.send(error)


def _die_after(write: Write) -> None:
    import botocore.httpsession

    left, send = [write.nth], botocore.httpsession.URLLib3Session.send

    def counting(session: Any, request: Any) -> Any:
        answer = send(session, request)
        if request.method != "GET" and write.part in request.url:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return answer

    botocore.httpsession.URLLib3Session.send = counting  # type: ignore[assignment, method-assign]
