"""What runs models reads the models and no keys, sees no secrets, and goes nowhere."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.isolation import PYTHON, environment, isolated, landlock_version
from tasks.settings import Settings

needs_landlock = pytest.mark.skipif(landlock_version() == 0, reason="this kernel offers no Landlock")

TRY = """
import json, os, signal, socket, sys
def tried(act):
    try:
        act()
    except OSError as error:
        return type(error).__name__
    return "done"
asked = json.load(sys.stdin)
def connect(address):
    with socket.socket() as client:
        client.connect(tuple(address))
def connect_while_sending(address):
    with socket.socket() as client:
        client.sendto(b"x", socket.MSG_FASTOPEN, tuple(address))
def connect_later(address):
    with socket.socket() as client:
        client.setsockopt(socket.IPPROTO_TCP, 30, 1)  # TCP_FASTOPEN_CONNECT
        client.connect(tuple(address))
def connect_by(protocol, address):
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, protocol) as client:
        client.connect(tuple(address))
def listen():
    with socket.create_server(("127.0.0.1", 0)):
        pass
def write(path):
    with open(path, "w") as file:
        file.write("x")
print(json.dumps({
    "read": {path: tried(lambda: open(path).close()) for path in asked["read"]},
    "write": {path: tried(lambda: write(path)) for path in asked["write"]},
    "connect": tried(lambda: connect(asked["connect"])),
    "side doors": [
        tried(lambda: connect_while_sending(asked["connect"])),
        tried(lambda: connect_later(asked["connect"])),
        *(tried(lambda: connect_by(protocol, asked["connect"])) for protocol in (132, 262)),  # SCTP, MPTCP
        tried(lambda: socket.socket(socket.AF_VSOCK)),
    ],
    "listen": tried(listen),
    "signal": tried(lambda: os.kill(os.getppid(), 0)),
    "tensorflow": tried(lambda: __import__("tasks.wire.protos")),
    "user": os.geteuid(),
}))
"""


def files(folder: Path, *names: str) -> list[str]:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("text")
        (folder / name).chmod(0o600)
    return [str(folder / name) for name in names]


@needs_landlock
def test_keys_credentials_and_everything_else_outside_of_the_models_are_closed(tmp_path: Path) -> None:
    mine = Settings(home=tmp_path / "home")
    secrets = files(
        tmp_path,
        "home/keys/signing.pem",
        "home/store/s3.json",
        "home/login",
        "home/replicas/r2/models/M/1/saved_model.pb",
        ".aws/credentials",
        ".netrc",
    )
    (tmp_path / "large disk").mkdir()
    (tmp_path / "home" / "replicas" / "r1").mkdir()
    (tmp_path / "home" / "replicas" / "r1" / "models").symlink_to(tmp_path / "large disk")
    models = files(tmp_path / "home" / "replicas" / "r1", "models/M/1/saved_model.pb", "models.config")
    (tmp_path / "mine").mkdir()
    command = isolated((PYTHON, "-P", "-c", TRY), read=mine.replica_files, write=[tmp_path / "mine"])
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process,
    ):
        folder = tmp_path / "home" / "replicas" / "r1" / "models" / "M"
        files(folder, ".incoming/saved_model.pb")
        (folder / ".incoming").rename(folder / "2")  # as an agent brings a version, while the server runs
        models.append(str(folder / "2" / "saved_model.pb"))
        asked = {
            "read": [*secrets, "/etc/passwd", f"/proc/{os.getpid()}/environ", *models],
            "write": [*secrets, *models, str(tmp_path / "elsewhere"), str(tmp_path / "mine" / "answers")],
            "connect": server.getsockname(),
        }
        answer, _ = process.communicate(json.dumps(asked), timeout=60)
    found = json.loads(answer)
    assert [path for path, outcome in found["read"].items() if outcome == "done"] == models
    assert [path for path, outcome in found["write"].items() if outcome == "done"] == [str(tmp_path / "mine/answers")]
    assert (found["listen"], found["tensorflow"]) == ("done", "done")
    assert (found["connect"], found["signal"]) == ("PermissionError", "PermissionError")
    assert found["side doors"] == 5 * ["PermissionError"]
    assert found["user"] != 0


def test_the_environment_holds_what_is_listed_and_no_secret() -> None:
    listed = {
        "HOME": "/home/me",
        "PATH": "/bin",
        "LANG": "C",
        "LC_ALL": "C",
        "LD_LIBRARY_PATH": "/usr/local/cuda/lib64",
        "CUDA_VISIBLE_DEVICES": "0",
        "OMP_NUM_THREADS": "2",
        "TF_CPP_MIN_LOG_LEVEL": "1",
        "TF_NUM_INTRAOP_THREADS": "2",
        "SLIPWAY_SUPERVISED": "/home/me/.slipway",
    }
    names = """
        AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN AWS_PROFILE SLIPWAY_S3_SECRET_KEY
        SLIPWAY_S3_ACCESS_KEY SLIPWAY_SIGNING_KEY PREFECT_API_KEY MLFLOW_TRACKING_PASSWORD
        GOOGLE_APPLICATION_CREDENTIALS AZURE_CLIENT_SECRET HF_TOKEN WANDB_API_KEY GITHUB_TOKEN TF_VAR_password
        TF_TOKEN_app_terraform_io NVIDIA_API_KEY PIP_INDEX_URL PYTHON_KEYRING_BACKEND http_proxy HTTPS_PROXY
        DATABASE_URL SSH_AUTH_SOCK XPATH
    """
    secret = dict.fromkeys(names.split(), "hush")
    assert environment(listed | secret) == listed


def test_a_program_that_is_started_finds_only_that_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush")
    show = "import os; print(*os.environ.items())"
    done = subprocess.run(isolated((PYTHON, "-c", show)), capture_output=True, text=True, check=True)
    assert "PATH" in done.stdout
    assert "hush" not in done.stdout


def test_a_folder_that_is_not_there_yet_is_named(tmp_path: Path) -> None:
    command = isolated((PYTHON, "-c", ""), read=[tmp_path / "models"])
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"{tmp_path}/models must exist" in done.stderr


def test_without_landlock_programs_run_all_the_same(tmp_path: Path) -> None:
    (key,) = files(tmp_path, "key")
    launch = "import sys, tasks.isolation as i; i.landlock_version = lambda: 0; i.main(sys.argv[1:])"
    command = [sys.executable, "-c", launch, "--", PYTHON, "-c", "import sys; open(sys.argv[1])", key]
    subprocess.run(command, check=True)
