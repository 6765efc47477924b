"""Reading TFRecord files: length, masked CRC-32C of it, data, masked CRC-32C of that."""

import struct
from collections.abc import Iterator
from typing import BinaryIO

from infra.modelserver.errors import Code, ServingError

_POLYNOMIAL = 0x82F63B78
_MASK_DELTA = 0xA282EAD8
_HEADER = struct.Struct("<QI")
_FOOTER = struct.Struct("<I")


def _table() -> list[int]:
    table = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = (value >> 1) ^ (_POLYNOMIAL if value & 1 else 0)
        table.append(value)
    return table


_TABLE = _table()


def masked_crc32c(data: bytes) -> int:
    """The CRC-32C of data as TFRecord masks it."""
    crc, table = 0xFFFFFFFF, _TABLE
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    return (((crc >> 15) | (crc << 17)) + _MASK_DELTA) & 0xFFFFFFFF


def read_records(file: BinaryIO) -> Iterator[bytes]:
    """The records of a TFRecord file. Raises ServingError DATA_LOSS where it is cut off or damaged."""
    offset = 0
    while header := file.read(_HEADER.size):
        if len(header) < _HEADER.size:
            raise ServingError(Code.DATA_LOSS, f"truncated record at {offset}")
        length, checksum = _HEADER.unpack(header)
        if masked_crc32c(header[:8]) != checksum:
            raise ServingError(Code.DATA_LOSS, f"corrupted record at {offset}")
        body = file.read(length + _FOOTER.size)
        if len(body) < length + _FOOTER.size:
            raise ServingError(Code.DATA_LOSS, f"truncated record at {offset}")
        data = body[:length]
        if masked_crc32c(data) != _FOOTER.unpack(body[length:])[0]:
            raise ServingError(Code.DATA_LOSS, f"corrupted record at {offset}")
        yield data
        offset += _HEADER.size + len(body)
