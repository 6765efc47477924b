import pytest

from infra.modelserver.errors import StartupError
from infra.modelserver.flags import Flags, check, parse, usage


def test_without_flags_the_defaults_are_those_of_tensorflow_model_server() -> None:
    flags, warnings = parse([])
    assert flags == Flags()
    assert warnings == []
    assert (flags.port, flags.rest_api_port, flags.rest_api_timeout_in_ms) == (8500, 0, 30000)
    assert (flags.max_num_load_retries, flags.load_retry_interval_micros) == (5, 60_000_000)
    assert (flags.file_system_poll_wait_seconds, flags.model_name) == (1, "default")


def test_method_names_of_signatures_are_checked_only_if_asked_for() -> None:
    assert parse([])[0].enable_signature_method_name_check is False
    assert parse(["--enable_signature_method_name_check"])[0].enable_signature_method_name_check is True


def test_the_server_binds_to_loopback_unless_told_otherwise() -> None:
    assert Flags().bind_address == "127.0.0.1"


@pytest.mark.parametrize(
    ("text", "value"),
    [("--enable_batching", True), ("--enable_batching=true", True), ("--enable_batching=1", True),
     ("--enable_batching=false", False), ("--enable_batching=0", False), ("--enable_batching=True", True)],
)  # fmt: skip
def test_booleans_are_written_as_tensorflow_writes_them(text: str, value: bool) -> None:
    assert parse([text])[0].enable_batching is value


def test_values_follow_an_equals_sign_or_a_space() -> None:
    flags, _ = parse(["--port=1", "--rest_api_port", "2", "--load_retry_interval_micros=-1"])
    assert (flags.port, flags.rest_api_port, flags.load_retry_interval_micros) == (1, 2, -1)


def test_the_last_of_two_flags_wins() -> None:
    assert parse(["--port=1", "--port=2"])[0].port == 2


@pytest.mark.parametrize("argument", ["--nope", "--nope=1", "--no_enable_batching", "-port=1", "extra", "--", "-"])
def test_an_unknown_flag_is_an_error_that_names_it(argument: str) -> None:
    with pytest.raises(StartupError, match="unknown") as problem:
        parse([argument])
    assert argument.partition("=")[0].lstrip("-") in str(problem.value)


@pytest.mark.parametrize(
    "argument", ["--port=x", "--port=", "--port=1.5", "--enable_batching=maybe", "--per_process_gpu_memory_fraction=x"]
)
def test_a_wrong_value_is_an_error_that_says_what_was_expected(argument: str) -> None:
    with pytest.raises(StartupError, match="expected"):
        parse([argument])


def test_a_flag_without_its_value_is_an_error() -> None:
    with pytest.raises(StartupError, match="--port needs a value"):
        parse(["--port", "--enable_batching"])


def test_a_flag_without_meaning_here_is_accepted_with_one_warning() -> None:
    flags, warnings = parse(["--enable_profiler=true", "--enable_profiler", "--flush_filesystem_caches=false"])
    assert flags.flush_filesystem_caches is False
    assert warnings == ["--enable_profiler has no effect in this server",
                        "--flush_filesystem_caches has no effect in this server"]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "no models"),
        (["--port=0"], "--grpc_socket_path"),
        (["--port=70000"], "--port=70000"),
        (["--port=9000", "--rest_api_port=9000"], "different ports"),
        (["--grpc_max_threads=0"], "--grpc_max_threads=0"),
        (["--batching_parameters_file=x"], "--enable_batching"),
        (["--tensorflow_session_parallelism=2", "--tensorflow_intra_op_parallelism=2"], "can't go with"),
    ],
)
def test_flags_that_contradict_each_other_are_refused(arguments: list[str], complaint: str) -> None:
    models = [] if not arguments else ["--model_base_path=/models/m"]
    with pytest.raises(StartupError, match=complaint):
        check(parse([*models, *arguments])[0])


def test_a_unix_socket_serves_without_a_port() -> None:
    check(parse(["--port=0", "--grpc_socket_path=/tmp/s", "--model_base_path=/m"])[0])


def test_the_help_lists_every_flag() -> None:
    text = usage()
    assert all(f"--{name}=" in text for name in Flags.__dataclass_fields__)
