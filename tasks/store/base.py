"""What any object store says of an object."""

from dataclasses import dataclass


@dataclass(frozen=True)
class StoredObject:
    """What a listing says of an object."""

    key: str
    size: int  # bytes
    age: float  # seconds since it was written, by the store's own clock
