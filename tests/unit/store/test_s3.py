"""The store keeps to create-if-absent, finds lost answers again, and says what is wrong in the tree's own words."""

import socket
from pathlib import Path

import pytest
import stamina

from tasks.errors import InvalidName, InvalidSettings, StoreRefused, StoreUnreachable, StoreUnsuitable
from tasks.settings import Settings
from tasks.store.connect import connect
from tests.helpers.fake_s3 import Asked, FakeS3, Handler


def test_a_create_whose_answer_was_lost_is_found_again(fake_s3: FakeS3) -> None:
    def lose_the_first_answer(handler: Handler, asked: Asked) -> bool:
        if len(fake_s3.asked) > 1:
            return False
        fake_s3.objects[asked.key] = b"mine"
        handler.close_connection = True
        return True

    fake_s3.fault = lose_the_first_answer
    assert fake_s3.store().create("k", b"mine")
    assert [a.method for a in fake_s3.asked] == ["PUT", "PUT", "GET"]


def test_a_create_whose_answer_was_lost_to_another_writer_is_not_taken_for_ours(fake_s3: FakeS3) -> None:
    def lose_the_first_request(handler: Handler, asked: Asked) -> bool:
        if len(fake_s3.asked) > 1:
            return False
        fake_s3.objects[asked.key] = b"theirs"
        handler.close_connection = True
        return True

    fake_s3.fault = lose_the_first_request
    assert not fake_s3.store().create("k", b"mine")


def test_a_create_that_meets_another_write_under_way_is_tried_again(fake_s3: FakeS3) -> None:
    def conflict_twice(handler: Handler, asked: Asked) -> bool:
        if len(fake_s3.asked) <= 2:
            handler.fail(409, "ConditionalRequestConflict")
        return len(fake_s3.asked) <= 2

    fake_s3.fault = conflict_twice
    assert fake_s3.store().create("k", b"mine")


@pytest.mark.parametrize("code", ["InternalError", "SlowDown"])
def test_a_fault_of_the_store_is_tried_again(fake_s3: FakeS3, code: str) -> None:
    def fail_once(handler: Handler, asked: Asked) -> bool:
        if len(fake_s3.asked) == 1:
            handler.fail(503, code)
        return len(fake_s3.asked) == 1

    fake_s3.fault = fail_once
    store = fake_s3.store()
    store.put("k", b"data")
    assert store.get("k") == b"data"


def test_a_deletion_that_must_not_be_asked_twice_is_not(fake_s3: FakeS3) -> None:
    def lose_the_answer(handler: Handler, asked: Asked) -> bool:
        handler.fail(503, "SlowDown")
        return True

    fake_s3.fault = lose_the_answer
    with pytest.raises(StoreUnreachable):
        fake_s3.store().delete_once("k")
    assert [asked.method for asked in fake_s3.asked] == ["DELETE"]


def test_an_answer_that_breaks_off_is_taken_up_where_it_broke(fake_s3: FakeS3) -> None:
    data = bytes(range(256)) * 20_000
    fake_s3.objects["k"] = data

    def break_off_once(handler: Handler, asked: Asked) -> bool:
        if len(fake_s3.asked) == 1:
            handler.reply(200, data[:3_000_000], promised=len(data))
        return len(fake_s3.asked) == 1

    fake_s3.fault = break_off_once
    assert fake_s3.store().get("k") == data
    resumed = fake_s3.asked[1].headers["Range"]
    assert 0 < int(resumed.removeprefix("bytes=").removesuffix("-")) <= 3_000_000


@pytest.mark.parametrize("after", [b"b" * 3_000_000, b"b"], ids=["as long", "shorter"])
def test_an_object_written_over_while_it_is_read_comes_as_it_was_at_one_moment(fake_s3: FakeS3, after: bytes) -> None:
    before = b"a" * 3_000_000
    fake_s3.objects["k"] = before

    def break_off_once(handler: Handler, asked: Asked) -> bool:
        if len(fake_s3.asked) == 1:
            handler.reply(200, before[:2_000_000], promised=len(before), ETag='"before"')
            fake_s3.objects["k"] = after
        return len(fake_s3.asked) == 1

    fake_s3.fault = break_off_once
    assert fake_s3.store().get("k") == after


def test_a_store_that_always_breaks_off_is_unreachable_in_the_end(fake_s3: FakeS3) -> None:
    def break_off(handler: Handler, asked: Asked) -> bool:
        handler.reply(200, b"", promised=10)
        return True

    fake_s3.fault = break_off
    fake_s3.objects["k"] = b"0123456789"
    with stamina.set_testing(True, attempts=3, cap=True), pytest.raises(StoreUnreachable, match="does not answer"):
        fake_s3.store().get("k")
    assert len(fake_s3.asked) == 3


def test_a_store_that_answers_too_late_is_unreachable_within_the_deadlines(fake_s3: FakeS3) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(StoreUnreachable, match=url):
            fake_s3.store(s3_endpoint=url, call_deadline=0.1).get("k")


def test_a_store_that_is_not_there_is_unreachable(fake_s3: FakeS3) -> None:
    with pytest.raises(StoreUnreachable, match="SLIPWAY_S3_ENDPOINT"):
        fake_s3.store(s3_endpoint="http://127.0.0.1:1").get("k")


def test_a_store_without_create_if_absent_is_found_out(fake_s3: FakeS3) -> None:
    fake_s3.conditional = False
    with pytest.raises(StoreUnsuitable, match="takes a second create"):
        fake_s3.store().require_suitable()
    assert not fake_s3.objects


def test_a_store_that_refuses_conditions_is_unsuitable_at_once(fake_s3: FakeS3) -> None:
    def refuse(handler: Handler, asked: Asked) -> bool:
        refused = "If-None-Match" in asked.headers
        if refused:
            handler.fail(501, "NotImplemented")
        return refused

    fake_s3.fault = refuse
    with pytest.raises(StoreUnsuitable, match="NotImplemented"):
        fake_s3.store().require_suitable()
    assert [a.method for a in fake_s3.asked] == ["PUT", "DELETE"]


def test_a_store_that_answers_a_part_with_the_whole_is_unsuitable(fake_s3: FakeS3) -> None:
    fake_s3.objects["k"] = b"0123456789"
    fake_s3.ranges = False
    with pytest.raises(StoreUnsuitable, match="a part of an object with the whole"):
        list(fake_s3.store().stream("k", 5))


@pytest.mark.parametrize("code", ["SignatureDoesNotMatch", "InvalidAccessKeyId", "AccessDenied"])
def test_refused_credentials_name_the_settings_that_hold_them(fake_s3: FakeS3, code: str) -> None:
    def refuse(handler: Handler, asked: Asked) -> bool:
        handler.fail(403, code)
        return True

    fake_s3.fault = refuse
    with pytest.raises(StoreRefused, match=rf"{code}.*SLIPWAY_S3_ACCESS_KEY"):
        fake_s3.store().put("k", b"")
    assert len(fake_s3.asked) == 1


def test_a_missing_bucket_is_named(fake_s3: FakeS3) -> None:
    def miss(handler: Handler, asked: Asked) -> bool:
        handler.fail(404, "NoSuchBucket")
        return True

    fake_s3.fault = miss
    with pytest.raises(StoreRefused, match="no bucket 'nowhere'"):
        fake_s3.store(bucket="nowhere").get("k")


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"bucket": "No"}, InvalidName, "SLIPWAY_BUCKET='No'"),
        ({"s3_endpoint": "not a url"}, InvalidSettings, "SLIPWAY_S3_ENDPOINT='not a url'"),
        ({"s3_endpoint": "http://"}, InvalidSettings, "SLIPWAY_S3_ENDPOINT='http://'"),
        ({"s3_endpoint": "ftp://store"}, InvalidSettings, r"SLIPWAY_S3_ENDPOINT='ftp://store'.*http://, https://"),
        ({"s3_secret_key": None}, InvalidSettings, "both SLIPWAY_S3_ACCESS_KEY and SLIPWAY_S3_SECRET_KEY"),
    ],
)
def test_settings_that_name_no_store_are_refused(
    changes: dict[str, object], error: type[Exception], message: str
) -> None:
    mine = Settings(s3_endpoint="aws", s3_access_key="key", s3_secret_key="secret")
    with pytest.raises(error, match=message):
        connect(mine.model_copy(update=changes))


OTHER_WORK = {
    "AWS_ACCESS_KEY_ID": "ASIAOTHER",
    "AWS_SECRET_ACCESS_KEY": "other",
    "AWS_SESSION_TOKEN": "token",
    "AWS_PROFILE": "nowhere",
    "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
    "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9",
    "AWS_CA_BUNDLE": "/nowhere.pem",
    "AWS_USE_FIPS_ENDPOINT": "true",
    "AWS_USE_DUALSTACK_ENDPOINT": "true",
    "AWS_REQUEST_CHECKSUM_CALCULATION": "nonsense",
    "AWS_RETRY_MODE": "nonsense",
    "AWS_MAX_ATTEMPTS": "none",
    "AWS_DEFAULT_REGION": "elsewhere-1",
}


def test_what_the_environment_says_of_aws_does_not_concern_a_store_of_ones_own(
    fake_s3: FakeS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "config"
    broken.write_text("[default\nnonsense")
    files = {"AWS_CONFIG_FILE": str(broken), "AWS_SHARED_CREDENTIALS_FILE": str(broken)}
    for name, value in (OTHER_WORK | files).items():
        monkeypatch.setenv(name, value)
    fake_s3.store().put("k", b"mine")
    assert fake_s3.objects == {"k": b"mine"}
    (asked,) = fake_s3.asked
    signed = {name.lower(): value for name, value in asked.headers.items()}
    assert "Credential=key/" in signed["authorization"]
    assert "/us-east-1/s3/" in signed["authorization"]
    assert "x-amz-security-token" not in signed


def test_a_step_that_connects_finds_the_credentials_as_they_are_now(
    fake_s3: FakeS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in ("first", "second"):
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", key)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        fake_s3.store(s3_access_key=None, s3_secret_key=None).put("k", b"")
    signed = [asked.headers["Authorization"] for asked in fake_s3.asked]
    assert ["Credential=first/" in signed[0], "Credential=second/" in signed[1]] == [True, True]


def test_only_the_first_step_that_connects_reads_what_boto3_knows_of_s3(
    fake_s3: FakeS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_s3.store()

    def read_again(_: object, path: str) -> None:
        raise AssertionError(f"{path} was read again")

    monkeypatch.setattr("botocore.loaders.JSONFileLoader.load_file", read_again)
    fake_s3.store().delete_once("k")


def test_a_profile_of_aws_that_is_nowhere_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nowhere")
    with pytest.raises(InvalidSettings, match=r"nowhere.* unset them, or .*SLIPWAY_S3_ACCESS_KEY"):
        connect(Settings(s3_endpoint="aws"))


def test_a_local_stack_that_was_never_started_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match=r"no local stack in .*make up"):
        connect(Settings(home=tmp_path))


def test_credentials_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "s3.json").write_text("{}")
    with pytest.raises(InvalidSettings, match=r"s3\.json cannot be read"):
        connect(Settings(home=tmp_path))
