"""Large files come in parts, at once, and after a fault only what is missing is asked for again."""

import hashlib
import random
from pathlib import Path

import pytest
import stamina

from tasks.errors import Corrupt, NotFound, StoreUnreachable
from tasks.store.transfer import Wanted, download_all
from tests.helpers.fake_s3 import Asked, FakeS3, Handler

PART = 16 << 20
DATA = random.Random(7).randbytes(1 << 20) * 40  # two whole parts and half of one


def asked_ranges(fake: FakeS3) -> list[tuple[int, int]]:
    spans = (a.headers["Range"].removeprefix("bytes=").split("-") for a in fake.asked)
    return sorted((int(first), int(last) + 1) for first, last in spans)


def test_a_large_file_comes_in_parts_and_a_file_without_bytes_too(fake_s3: FakeS3, tmp_path: Path) -> None:
    fake_s3.objects |= {"large": DATA, "small": b"small", "empty": b""}
    files = [
        Wanted("large", tmp_path / "a" / "large", len(DATA)),
        Wanted("empty", tmp_path / "a" / "b" / "empty", 0),
        Wanted("small", tmp_path / "small", 5),
    ]
    found = list(download_all(fake_s3.store(), files))
    assert found == [
        (file, hashlib.sha256(data).hexdigest()) for file, data in zip(files, (DATA, b"", b"small"), strict=True)
    ]
    assert (tmp_path / "a" / "large").read_bytes() == DATA
    assert asked_ranges(fake_s3) == [(0, 5), (0, PART), (PART, 2 * PART), (2 * PART, len(DATA))]


def test_a_part_that_breaks_off_is_taken_up_where_it_broke(fake_s3: FakeS3, tmp_path: Path) -> None:
    fake_s3.objects["large"] = DATA
    broken = []

    def break_the_second_part_off(handler: Handler, asked: Asked) -> bool:
        if asked.headers["Range"] != f"bytes={PART}-{2 * PART - 1}":
            return False
        broken.append(asked)
        handler.reply(206, DATA[PART : PART + (5 << 20)], promised=PART, **{"Content-Range": "bytes 1-2/3"})
        return True

    fake_s3.fault = break_the_second_part_off
    ((_, sha256),) = download_all(fake_s3.store(), [Wanted("large", tmp_path / "large", len(DATA))])
    assert sha256 == hashlib.sha256(DATA).hexdigest()
    assert len(broken) == 1
    ranges = asked_ranges(fake_s3)
    assert len(ranges) == 4
    assert PART < ranges[2][0] <= PART + (5 << 20)
    assert ranges[2][1] == 2 * PART


def test_a_store_that_goes_away_for_a_while_costs_no_more_than_the_while(fake_s3: FakeS3, tmp_path: Path) -> None:
    fake_s3.objects["large"] = DATA

    def fail_for_a_while(handler: Handler, asked: Asked) -> bool:
        if len(fake_s3.asked) <= 20:
            handler.fail(500, "InternalError")
        return len(fake_s3.asked) <= 20

    fake_s3.fault = fail_for_a_while
    ((_, sha256),) = download_all(fake_s3.store(), [Wanted("large", tmp_path / "large", len(DATA))])
    assert sha256 == hashlib.sha256(DATA).hexdigest()


def test_a_store_that_stays_away_ends_the_transfer(fake_s3: FakeS3, tmp_path: Path) -> None:
    fake_s3.objects["large"] = DATA

    def fail(handler: Handler, asked: Asked) -> bool:
        handler.fail(403 if asked.key == "refused" else 500, "InternalError")
        return True

    fake_s3.fault = fail
    wanted = [Wanted("large", tmp_path / "large", len(DATA))]
    with stamina.set_testing(True, attempts=2), pytest.raises(StoreUnreachable, match="500 InternalError"):
        list(download_all(fake_s3.store(), wanted))


def test_what_is_missing_or_shorter_than_promised_is_told(fake_s3: FakeS3, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="s3://slipway/none"):
        list(download_all(fake_s3.store(), [Wanted("none", tmp_path / "none", 5)]))

    def end_before(handler: Handler, asked: Asked) -> bool:
        handler.fail(416, "InvalidRange")
        return True

    fake_s3.fault = end_before
    with pytest.raises(Corrupt, match="shorter than it should be"):
        list(download_all(fake_s3.store(), [Wanted("short", tmp_path / "short", 5)]))


def test_whoever_stops_reading_stops_the_transfers(fake_s3: FakeS3, tmp_path: Path) -> None:
    wanted = [Wanted(f"k{n}", tmp_path / f"k{n}", 1) for n in range(200)]
    fake_s3.objects |= {file.key: b"x" for file in wanted}
    arrivals = download_all(fake_s3.store(), wanted)
    next(arrivals)
    arrivals.close()
    assert len(fake_s3.asked) < 200
