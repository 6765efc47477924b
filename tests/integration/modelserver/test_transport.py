"""What gRPC travels on: TLS, a Unix socket, the health service; and the Prometheus page beside REST."""

import datetime as dt
import ipaddress
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tasks.wire.protos import GetModelStatusRequest, ModelServiceStub, ModelVersionStatus
from tests.helpers.local import until
from tests.integration.modelserver.process import ModelServerProcess, entry, refusal


def certificate() -> tuple[bytes, bytes]:
    """A key and a certificate of its own for 127.0.0.1, as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return private, made.public_bytes(serialization.Encoding.PEM)


def quoted(pem: bytes) -> str:
    return '"' + pem.decode().replace("\n", "\\n") + '"'


def status(channel: grpc.Channel) -> str:
    request = GetModelStatusRequest()
    request.model_spec.name = "affine"
    reply = ModelServiceStub(channel).GetModelStatus(request, timeout=10)
    name: str = ModelVersionStatus.State.Name(reply.model_version_status[0].state)
    return name


def test_tls_takes_encrypted_calls_alone(small_models: Path, tmp_path: Path) -> None:
    key, cert = certificate()
    (tmp_path / "ssl.config").write_text(f"server_key: {quoted(key)} server_cert: {quoted(cert)}")
    flags = (f"--ssl_config_file={tmp_path / 'ssl.config'}",)
    with ModelServerProcess(tmp_path, [entry(small_models / "affine")], *flags) as server:
        credentials = grpc.ssl_channel_credentials(cert)
        with grpc.secure_channel(f"127.0.0.1:{server.grpc_port}", credentials) as channel:
            assert status(channel) == "AVAILABLE"
        assert refusal(lambda: status(server.channel))[0] == "UNAVAILABLE"
        assert server.rest("/v1/models/affine").status_code == 200


def test_tls_verifies_clients_where_it_is_told_to(small_models: Path, tmp_path: Path) -> None:
    (key, cert), (client_key, client_cert) = certificate(), certificate()
    (tmp_path / "ssl.config").write_text(
        f"server_key: {quoted(key)} server_cert: {quoted(cert)} custom_ca: {quoted(client_cert)} client_verify: true"
    )
    flags = (f"--ssl_config_file={tmp_path / 'ssl.config'}",)
    with ModelServerProcess(tmp_path, [entry(small_models / "affine")], *flags) as server:
        address = f"127.0.0.1:{server.grpc_port}"
        with grpc.secure_channel(address, grpc.ssl_channel_credentials(cert, client_key, client_cert)) as known:
            assert status(known) == "AVAILABLE"
        with grpc.secure_channel(address, grpc.ssl_channel_credentials(cert)) as unknown:
            assert refusal(lambda: status(unknown))[0] == "UNAVAILABLE"


def test_a_unix_socket_serves_beside_the_port(small_models: Path, tmp_path: Path) -> None:
    path = tmp_path / "s"
    with ModelServerProcess(tmp_path, [entry(small_models / "affine")], f"--grpc_socket_path={path}") as server:
        with grpc.insecure_channel(f"unix:{path}") as channel:
            assert status(channel) == "AVAILABLE"
        assert status(server.channel) == "AVAILABLE"


def test_the_health_service_answers_behind_its_flag(small_models: Path, tmp_path: Path) -> None:
    flag = "--enable_grpc_healthcheck_service"
    with ModelServerProcess(tmp_path, [entry(small_models / "affine")], flag) as server:
        check = health_pb2_grpc.HealthStub(server.channel).Check
        assert check(health_pb2.HealthCheckRequest(), timeout=10).status == health_pb2.HealthCheckResponse.SERVING
        assert refusal(lambda: check(health_pb2.HealthCheckRequest(service="affine"), timeout=10))[0] == "NOT_FOUND"


def test_metrics_count_what_was_asked_over_both(small_models: Path, tmp_path: Path) -> None:
    (tmp_path / "m.config").write_text('prometheus_config { enable: true path: "/metrics" }')
    flags = (f"--monitoring_config_file={tmp_path / 'm.config'}",)
    with ModelServerProcess(tmp_path, [entry(small_models / "affine")], *flags) as server:
        assert server.predict("affine", [1.0]).tolist() == [3.5]
        assert server.rest("/v1/models/affine:predict", {"instances": [1.0]}).status_code == 200
        assert refusal(lambda: server.predict("affine", [1.0], "nope"))[0] == "FAILED_PRECONDITION"
        page = server.rest("/metrics").text
    labels = 'model_name="affine",status='
    assert f':tensorflow:serving:request_count{{{labels}"OK"}} 2' in page
    assert f':tensorflow:serving:request_count{{{labels}"FAILED_PRECONDITION"}} 1' in page
    for api, entrypoint in (("Predict", "GRPC"), ("predict", "REST")):  # as TensorFlow Serving writes them
        where = f'model_name="affine",API="{api}",entrypoint="{entrypoint}"'
        assert f":tensorflow:serving:request_latency_count{{{where}}} 1" in page
    assert ':tensorflow:serving:runtime_latency_count{model_name="affine",API="Predict",runtime="TF1"} 2' in page


def test_requests_are_logged_where_that_is_asked_for(small_models: Path, tmp_path: Path) -> None:
    with ModelServerProcess(tmp_path, [entry(small_models / "affine")], "--log_requests") as server:
        server.predict("affine", [1.0])
        until(lambda: server.lines("gRPC Predict affine OK"), "the gRPC call is logged")


@pytest.mark.parametrize("argument", ["grpc.max_connection_age_ms", "=1,x"])
def test_wrong_channel_arguments_are_refused(small_models: Path, tmp_path: Path, argument: str) -> None:
    server = ModelServerProcess(tmp_path, [entry(small_models / "affine")], f"--grpc_channel_arguments={argument}")
    try:
        assert server.process.wait(60) == 1
        assert server.lines("expected key=value")
    finally:
        server.kill()
