from pathlib import Path

import pytest

from tasks.errors import Corrupt
from tasks.tfrecord import read_records, write_records

RECORDS = [b"", b"one", bytes(range(256)) * 20]


def test_records_come_back(tmp_path: Path) -> None:
    write_records(tmp_path / "r", RECORDS)
    assert list(read_records(tmp_path / "r")) == RECORDS


def test_tensorflow_reads_what_is_written_and_is_read_in_turn(tmp_path: Path) -> None:
    import tensorflow as tf

    write_records(tmp_path / "ours", RECORDS)
    assert [r.numpy() for r in tf.data.TFRecordDataset(str(tmp_path / "ours"))] == RECORDS
    with tf.io.TFRecordWriter(str(tmp_path / "theirs")) as writer:
        for record in RECORDS:
            writer.write(record)
    assert (tmp_path / "theirs").read_bytes() == (tmp_path / "ours").read_bytes()


@pytest.mark.parametrize("kept", [5, 12, 20, -1])
def test_a_file_that_was_cut_off_is_told(tmp_path: Path, kept: int) -> None:
    write_records(tmp_path / "r", [b"twelve bytes"])
    (tmp_path / "r").write_bytes((tmp_path / "r").read_bytes()[:kept])
    with pytest.raises(Corrupt, match="is cut off: the record at byte 0 is not whole"):
        list(read_records(tmp_path / "r"))


def test_another_kind_of_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "r").write_bytes(b"PK\3\4 this is a zip archive")
    with pytest.raises(Corrupt, match="is no TFRecord file"):
        list(read_records(tmp_path / "r"))
