from pathlib import Path

import pytest

from infra.modelserver import settings_files
from infra.modelserver.errors import StartupError
from infra.modelserver.runtime.batching import BatchingParameters

PEM = "-----BEGIN KEY-----"


def write(folder: Path, text: str) -> str:
    path = folder / "file"
    path.write_text(text)
    return str(path)


def test_a_config_that_does_not_parse_is_named_with_its_flag_and_line(tmp_path: Path) -> None:
    path = write(tmp_path, "model_config_list { broken")
    with pytest.raises(StartupError, match=r"--model_config_file=.*ModelServerConfig text proto: line 1:"):
        settings_files.model_config(path)


def test_a_file_that_is_not_there_is_named_with_its_flag(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match=r"--ssl_config_file=.*can't be read"):
        settings_files.tls(str(tmp_path / "absent"))


def test_a_single_model_is_served_by_name_and_base_path() -> None:
    (model,) = settings_files.single_model_config("m", "/models/m").model_config_list.config
    assert (model.name, model.base_path, model.model_platform) == ("m", "/models/m", "tensorflow")


def test_monitoring_gives_the_path_of_the_page_or_none(tmp_path: Path) -> None:
    assert settings_files.monitoring_path(write(tmp_path, 'prometheus_config { enable: true path: "/m" }')) == "/m"
    assert settings_files.monitoring_path(write(tmp_path, 'prometheus_config { path: "/m" }')) is None
    default = settings_files.monitoring_path(write(tmp_path, "prometheus_config { enable: true }"))
    assert default == "/monitoring/prometheus/metrics"
    with pytest.raises(StartupError, match="must begin with a slash"):
        settings_files.monitoring_path(write(tmp_path, 'prometheus_config { enable: true path: "m" }'))


@pytest.mark.parametrize("text", ["", "# nothing yet\n"])
def test_an_empty_model_config_is_refused_with_what_to_write(tmp_path: Path, text: str) -> None:
    with pytest.raises(StartupError, match=r"is empty: to begin without models, write `model_config_list \{\}`"):
        settings_files.model_config(write(tmp_path, text))
    assert not settings_files.model_config(write(tmp_path, "model_config_list {}")).model_config_list.config


def test_tls_takes_pem_texts(tmp_path: Path) -> None:
    tls = settings_files.tls(write(tmp_path, f'server_key: "{PEM}k" server_cert: "{PEM}c"'))
    assert (tls.server_key, tls.server_cert, tls.custom_ca, tls.client_verify) == (
        f"{PEM}k".encode(), f"{PEM}c".encode(), None, False)  # fmt: skip


def test_tls_refuses_file_names_and_verification_without_an_authority(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="server_cert must hold a PEM text"):
        settings_files.tls(write(tmp_path, f'server_key: "{PEM}" server_cert: "/etc/cert.pem"'))
    with pytest.raises(StartupError, match="client_verify needs custom_ca"):
        settings_files.tls(write(tmp_path, f'server_key: "{PEM}" server_cert: "{PEM}" client_verify: true'))


def test_batching_parameters_have_tensorflow_servings_names_and_defaults(tmp_path: Path) -> None:
    assert settings_files.batching("") == BatchingParameters()
    text = """
        max_batch_size { value: 32 } batch_timeout_micros { value: 1500 } max_enqueued_batches { value: 100 }
        num_batch_threads { value: 2 } thread_pool_name { value: 'pool' } allowed_batch_sizes: [8, 32]
        pad_variable_length_inputs: true
    """
    given = settings_files.batching(write(tmp_path, text))
    assert given == BatchingParameters(
        max_batch_size=32, batch_timeout=0.0015, max_enqueued_batches=100, num_batch_threads=2, thread_pool_name="pool",
        allowed_batch_sizes=(8, 32), pad_variable_length_inputs=True,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("max_batch_size { value: 0 }", "max_batch_size is 0"),
        ("allowed_batch_sizes: 8 allowed_batch_sizes: 4", "monotonically increasing"),
        ("max_batch_size { value: 32 } allowed_batch_sizes: 16", "must match max_batch_size"),
        ("max_batch: 1", "is not a BatchingParameters text proto"),
    ],
)
def test_wrong_batching_parameters_are_refused(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(StartupError, match=complaint):
        settings_files.batching(write(tmp_path, text))
