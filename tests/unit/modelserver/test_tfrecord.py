import io
import struct

import pytest

from infra.modelserver.errors import ServingError
from infra.modelserver.tfrecord import masked_crc32c, read_records


def record(data: bytes) -> bytes:
    length = struct.pack("<Q", len(data))
    return length + struct.pack("<I", masked_crc32c(length)) + data + struct.pack("<I", masked_crc32c(data))


def test_the_checksum_is_crc_32c_masked_as_tfrecord_masks_it() -> None:
    # CRC-32C of "123456789" is 0xE3069283 (RFC 3720, the catalogue's check value).
    crc = 0xE3069283
    assert masked_crc32c(b"123456789") == (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def test_records_come_back_in_order() -> None:
    assert list(read_records(io.BytesIO(record(b"a") + record(b"") + record(b"c" * 1000)))) == [b"a", b"", b"c" * 1000]
    assert list(read_records(io.BytesIO())) == []


@pytest.mark.parametrize("cut", [1, 5, 11, 13, 19])
def test_a_file_that_is_cut_off_is_found_out(cut: int) -> None:
    whole = record(b"abcd")
    with pytest.raises(ServingError, match="truncated record at 20"):
        list(read_records(io.BytesIO(whole + whole[:cut])))


@pytest.mark.parametrize("place", [0, 9, 13, 17])
def test_a_flipped_bit_is_found_out(place: int) -> None:
    damaged = bytearray(record(b"abcd"))
    damaged[place] ^= 1
    with pytest.raises(ServingError, match="corrupted record at 0"):
        list(read_records(io.BytesIO(bytes(damaged))))
