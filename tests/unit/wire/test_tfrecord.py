import io
import struct
from pathlib import Path

import google_crc32c
import pytest

from tasks.wire.tfrecord import RecordError, read_records, to_bytes

RECORDS = [b"", b"one", bytes(range(256)) * 20]


def read(content: bytes) -> list[bytes]:
    return list(read_records(io.BytesIO(content)))


def test_records_come_back_in_order() -> None:
    assert read(to_bytes(RECORDS)) == RECORDS
    assert read(b"") == []


def test_tensorflow_reads_what_is_written_and_is_read_in_turn(tmp_path: Path) -> None:
    import tensorflow as tf

    (tmp_path / "ours").write_bytes(to_bytes(RECORDS))
    assert [r.numpy() for r in tf.data.TFRecordDataset(str(tmp_path / "ours"))] == RECORDS
    with tf.io.TFRecordWriter(str(tmp_path / "theirs")) as writer:
        for record in RECORDS:
            writer.write(record)
    assert (tmp_path / "theirs").read_bytes() == (tmp_path / "ours").read_bytes()


def test_checksums_come_from_the_library_that_is_written_in_c() -> None:
    assert google_crc32c.implementation == "c"


@pytest.mark.parametrize("cut", [1, 5, 11, 12, 13, 19])
def test_a_file_that_is_cut_off_is_found_out(cut: int) -> None:
    whole = to_bytes([b"abcd"])
    with pytest.raises(RecordError, match="truncated record at 20") as caught:
        read(whole + whole[:cut])
    assert caught.value.truncated
    assert caught.value.offset == 20


@pytest.mark.parametrize("place", range(20))
def test_a_flipped_bit_is_found_out(place: int) -> None:
    damaged = bytearray(to_bytes([b"abcd"]))
    damaged[place] ^= 1
    with pytest.raises(RecordError, match="corrupted record at 0") as caught:
        read(bytes(damaged))
    assert not caught.value.truncated


def test_a_record_that_claims_to_be_longer_than_any_memory_is_cut_off() -> None:
    empty = to_bytes([b"\xff" * 7 + b"\x7f"])  # a record's data and its checksum have the form of a length and its own
    length = struct.pack("<Q", 2**63 - 1)
    assert empty[12:20] == length
    with pytest.raises(RecordError, match="truncated record at 0"):
        read(empty[12:] + b"few")


def test_other_files_are_damaged_from_the_start() -> None:
    with pytest.raises(RecordError, match="corrupted record at 0"):
        read(b"PK\3\4 this is a zip archive")
