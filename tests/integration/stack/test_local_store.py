"""The local store: SeaweedFS as the stack starts it."""

import contextlib
import stat
from pathlib import Path

import grpc
import psutil
import pytest
import requests
from pydantic import SecretStr

from infra.stack import members
from infra.stack.programs import GRPC_OFFSET
from tasks.errors import StoreRefused
from tasks.settings import Settings
from tasks.store.base import Store
from tasks.store.connect import connect
from tests.helpers.local import STORE_PORTS, LocalStore, until


def test_what_was_written_outlives_a_kill_of_the_store(seaweedfs: LocalStore, store: Store) -> None:
    store.put("kept", b"x" * 100_000)
    seaweedfs.kill()
    seaweedfs.start()
    assert store.get("kept") == b"x" * 100_000


def test_a_bucket_that_nobody_made_is_named_in_the_error(store_settings: Settings) -> None:
    missing = connect(store_settings.model_copy(update={"bucket": "nobody-made-this"}))
    with pytest.raises(StoreRefused, match="no bucket 'nobody-made-this'"):
        missing.put("a", b"")


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_no_port_of_the_store_but_s3_answers_without_its_certificate(seaweedfs: LocalStore) -> None:
    http = {getattr(seaweedfs.settings, name) for name in STORE_PORTS}
    ports = http | {port + GRPC_OFFSET for port in http}
    until(lambda: members.listening([psutil.Process(seaweedfs.pid)]) == ports, "the store has opened all its ports")
    for port in ports - {seaweedfs.settings.store_port}:
        with contextlib.suppress(requests.ConnectionError):
            assert requests.get(f"http://127.0.0.1:{port}/dir/assign", timeout=10).status_code == 400
        with pytest.raises(requests.ConnectionError):
            requests.get(f"https://127.0.0.1:{port}/", timeout=10, verify=False)
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel, pytest.raises(grpc.RpcError) as error:
            channel.unary_unary("/filer_pb.SeaweedFiler/Statistics")(b"", timeout=10)  # type: ignore[arg-type]
        assert error.value.code() is grpc.StatusCode.UNAVAILABLE


def test_sockets_of_the_store_are_for_its_user_alone(seaweedfs: LocalStore) -> None:
    sockets = [c.laddr for c in psutil.Process(seaweedfs.pid).net_connections("unix") if c.status == "NONE" and c.laddr]
    assert {Path(str(name)).name for name in sockets} >= {"filer.sock", "s3.sock"}
    for name in sockets:
        assert Path(str(name)).stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH) == 0, name


def test_s3_refuses_unsigned_requests(store: Store, store_settings: Settings) -> None:
    store.put("kept", b"mine")
    endpoint = store_settings.store_url
    bucket = f"{endpoint}/{store_settings.bucket}"
    form: dict[str, tuple[str | None, str | bytes]] = {"key": (None, "kept"), "file": ("kept", b"theirs")}
    asked = [
        *(
            requests.request(method, f"{bucket}/kept", data=b"theirs", timeout=10)
            for method in ("GET", "PUT", "DELETE")
        ),
        *(requests.get(url, timeout=10) for url in (f"{endpoint}/", f"{bucket}/")),
        requests.post(f"{bucket}/", files=form, timeout=10),
        requests.post(f"{endpoint}/", data={"Action": "CreateAccessKey", "UserName": "slipway"}, timeout=10),
        requests.get(f"{bucket}/kept", headers={"Origin": "http://page.example"}, timeout=10),
    ]
    assert [answer.status_code for answer in asked if answer.status_code not in (400, 403, 405)] == []
    assert not any("mine" in answer.text for answer in asked)
    assert "Access-Control-Allow-Origin" not in asked[-1].headers
    assert store.get("kept") == b"mine"


def test_keys_that_are_exported_while_the_store_starts_are_no_keys_to_it(
    seaweedfs: LocalStore, store_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "exported")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "exported-too")
    seaweedfs.kill()
    seaweedfs.start()
    theirs = {"s3_access_key": "exported", "s3_secret_key": SecretStr("exported-too")}
    with pytest.raises(StoreRefused):
        connect(store_settings.model_copy(update=theirs)).put("a", b"")
