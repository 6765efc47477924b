"""What any object store reports of an object."""

from dataclasses import dataclass


@dataclass(frozen=True)
class StoredObject:
    """An object in a listing."""

    key: str
    size: int  # bytes
    age: float  # seconds since it was written, by the store's own clock
