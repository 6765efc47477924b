"""TFRecord files: each record is its length, a checksum of that, the data, and a checksum of the data.

The checksums are CRC-32C, masked (tensorflow/core/lib/io/record_writer.h, tsl/lib/hash/crc32c.h).
"""

import struct
from collections.abc import Iterable, Iterator
from typing import BinaryIO

import google_crc32c

from tasks.wire import WireError

_LENGTH = struct.Struct("<Q")
_CHECKSUM = struct.Struct("<I")
_AT_ONCE = 1 << 24  # bytes; a record may claim to be far longer than its file


class RecordError(WireError):
    """A record that is cut off or damaged; its message is TensorFlow's.

    Attributes:
        offset: where the record begins, bytes.
        truncated: whether the file ends within it.
    """

    def __init__(self, offset: int, *, truncated: bool) -> None:
        super().__init__(f"{'truncated' if truncated else 'corrupted'} record at {offset}")
        self.offset = offset
        self.truncated = truncated


def to_bytes(records: Iterable[bytes]) -> bytes:
    """A whole file of `records`."""
    return b"".join(framed(records))


def framed(records: Iterable[bytes]) -> Iterator[bytes]:
    """A file of `records`, one at a time."""
    for record in records:
        length = _LENGTH.pack(len(record))
        yield b"".join([length, _checksum(length), record, _checksum(record)])


def read_records(file: BinaryIO) -> Iterator[bytes]:
    """The records of a file, one at a time; checksums are checked.

    Raises:
        RecordError: it is cut off or damaged, or not a TFRecord file.
    """
    offset = 0
    while length := _read(file, _LENGTH.size):
        (size,) = _LENGTH.unpack(_verified(file, length, _LENGTH.size, offset))
        yield _verified(file, _read(file, size), size, offset)
        offset += _LENGTH.size + size + 2 * _CHECKSUM.size


def _checksum(data: bytes) -> bytes:
    crc = google_crc32c.value(data)
    return _CHECKSUM.pack((((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF)


def _verified(file: BinaryIO, data: bytes, size: int, offset: int) -> bytes:
    """`data`, once it has `size` bytes and the checksum that follows it in `file` agrees."""
    checksum = file.read(_CHECKSUM.size)
    if len(data) < size or len(checksum) < _CHECKSUM.size:
        raise RecordError(offset, truncated=True)
    if _checksum(data) != checksum:
        raise RecordError(offset, truncated=False)
    return data


def _read(file: BinaryIO, size: int) -> bytes:
    parts = []
    while size > 0 and (part := file.read(min(size, _AT_ONCE))):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
