"""TFRecord files: each record is its length, a checksum of that, the data, and a checksum of the data."""

import struct
from collections.abc import Iterable, Iterator
from pathlib import Path

from tasks.errors import Corrupt
from tasks.files import write_atomically

_HEADER = struct.Struct("<QI")
_FOOTER = struct.Struct("<I")


def write_records(path: Path, records: Iterable[bytes]) -> None:
    """Put `records` at `path`, atomically."""
    parts = []
    for record in records:
        length = struct.pack("<Q", len(record))
        parts += [length, _FOOTER.pack(masked_crc32c(length)), record, _FOOTER.pack(masked_crc32c(record))]
    write_atomically(path, b"".join(parts))


def read_records(path: Path) -> Iterator[bytes]:
    """The records at `path`. Lengths are checked, data is not: its bytes are verified where they are fetched.

    Raises:
        Corrupt: it is cut off, or no TFRecord file at all.
    """
    data = path.read_bytes()
    offset = 0
    while offset < len(data):
        start = offset + _HEADER.size
        if start > len(data):
            raise _cut_off(path, offset)
        length, checksum = _HEADER.unpack_from(data, offset)
        if masked_crc32c(data[offset : offset + 8]) != checksum:
            raise Corrupt(
                f"{path} is no TFRecord file, or was changed: the length at byte {offset} fails its checksum."
            )
        offset = start + length + _FOOTER.size
        if offset > len(data):
            raise _cut_off(path, start - _HEADER.size)
        yield data[start : start + length]


def _cut_off(path: Path, offset: int) -> Corrupt:
    return Corrupt(f"{path} is cut off: the record at byte {offset} is not whole. Fetch or write it again.")


def _table() -> tuple[int, ...]:
    polynomial = 0x82F63B78  # Castagnoli's, reflected
    table = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ (polynomial if value & 1 else 0)
        table.append(value)
    return tuple(table)


_TABLE = _table()


def masked_crc32c(data: bytes) -> int:
    """CRC-32C of `data`, masked as TFRecord wants it (tsl/lib/hash/crc32c.h)."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF
