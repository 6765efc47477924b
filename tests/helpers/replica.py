"""A replica for tests: a real model server and its agent, each a process that a test may kill."""

import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from infra.stack.programs import Program, agent, model_server
from tasks.fleet import replicas
from tasks.fleet.config import Fleet
from tasks.fleet.converge import write_config
from tasks.serving.client import ServingClient
from tasks.settings import Settings
from tasks.store import keys
from tasks.wire.protos import ModelServerConfig
from tests.helpers.local import free_ports, until

PORTS = ("grpc_port", "rest_port", "agent_port")


class LocalReplica:
    """One replica of a fleet, with the commands of the local stack, in a folder of its own."""

    def __init__(
        self, home: Path, store: Settings, name: str = "r1", *, with_agent: bool = True, **changes: object
    ) -> None:
        self.folder = home / name
        self.store_settings = store
        self.with_agent = with_agent
        self.settings = store.model_copy(
            update={
                "replica": name,
                "models_dir": self.folder / "models",
                "poll_interval": 0.2,
                **free_ports(PORTS),
                **changes,
            }
        )
        self.folder.mkdir(parents=True, exist_ok=True)
        self.config_file = self.settings.replica_config
        self.deaths = 0  # of a supervised model server
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        """Start what does not run: the model server, then the agent."""
        for config in (self.config_file, self.settings.replica_config):
            if not config.exists():
                write_config(config, ModelServerConfig())
        self.settings.replica_models.mkdir(exist_ok=True)
        server = model_server(self.settings)
        # The last of two flags counts.
        server = replace(server, command=(*server.command, f"--model_config_file={self.config_file}"))
        for program in (server, agent(self.settings)) if self.with_agent else (server,):
            if program.name not in self._running:
                self._start(program)

    def await_report(self) -> None:
        """Wait until its fleet knows of it: releases are refused before."""
        until(lambda: replicas.reporting(Fleet.connect(self.settings)), "it reports")

    def kill(self, program: str) -> None:
        """End a program as a power cut would."""
        process = self._running.pop(program)
        process.send_signal(signal.SIGKILL)
        process.wait(10)

    @contextmanager
    def supervised(self) -> Iterator[None]:
        """Meanwhile start a model server again that has ended, as a supervisor does."""
        stop = threading.Event()
        thread = threading.Thread(target=self._supervise, args=(stop,))
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def _supervise(self, stop: threading.Event) -> None:
        while not stop.wait(0.1):
            if self._running["model-server"].poll() is not None:
                self.kill("model-server")
                self.deaths += 1
                self.start()

    def forget(self) -> None:
        """Have it serve nothing, and its store and its disk hold no version, as if it were new."""
        self.start()
        fleet = Fleet.connect(self.settings, self.settings.fleet)
        served = fleet.newest().models.model_config_list.config
        config = fleet.change({entry.name: None for entry in served}, "forget", always=True)
        replicas.await_config(fleet, config, "")
        until(lambda: not [*self.settings.replica_models.glob("[!.]*/*")], "no version lies on the disk")
        for prefix in ("models/", keys.rollouts_prefix(fleet.name), "datasets/"):
            fleet.store.delete_all(prefix)

    def end(self) -> None:
        """End all that still runs."""
        for program in list(self._running):
            self.kill(program)

    def client(self) -> ServingClient:
        """A client of the model server."""
        mine = self.settings
        return ServingClient(
            f"{mine.host}:{mine.grpc_port}", f"http://{mine.host}:{mine.rest_port}", mine.call_deadline
        )

    def log(self, program: str) -> str:
        """What a program printed."""
        return (self.folder / f"{program}.log").read_text()

    def _start(self, program: Program) -> None:
        with (self.folder / f"{program.name}.log").open("ab") as log:
            process = subprocess.Popen(
                program.command, env=os.environ | program.environment, stdout=log, stderr=subprocess.STDOUT
            )
        self._running[program.name] = process
        until(lambda: process.poll() is not None or program.ready(0), f"{program.name} answers")
        assert process.poll() is None, self.log(program.name)[-2000:]
