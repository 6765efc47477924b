"""The store that unit tests use keeps what a real one promises, or they would prove nothing."""

from tests.helpers.store_contract import StoreContract


class TestMemoryStore(StoreContract):
    """`store` is the one in memory."""
