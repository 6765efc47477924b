"""Fetching public data over HTTP."""

import hashlib
import logging
import time
from pathlib import Path

import requests

from tasks.errors import InvalidData
from tasks.files import write_atomically

log = logging.getLogger(__name__)

_SILENCE = 10.0  # seconds without a byte after which a download is given up
_CHUNK = 1 << 20


def download_once(url: str, sha256: str, path: Path, deadline: float = 300.0) -> None:
    """Download `url` to `path`, unless it is there already.

    Args:
        deadline: longest time for the whole, seconds.

    Raises:
        InvalidData: no answer, an error, other bytes than `sha256` says, or the deadline passed; says which.
    """
    if path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == sha256:
        return
    end = time.monotonic() + deadline
    data = bytearray()
    log.info("downloading %s", url)
    try:
        with requests.get(url, stream=True, timeout=_SILENCE) as response:
            response.raise_for_status()
            for chunk in response.iter_content(_CHUNK):
                data += chunk
                if time.monotonic() > end:
                    raise InvalidData(
                        f"{url} could not be downloaded within {deadline:g} s: only {len(data)} bytes came."
                    )
    except requests.RequestException as error:
        raise InvalidData(f"{url} could not be downloaded: {_reason(error)}") from None
    if (found := hashlib.sha256(data).hexdigest()) != sha256:
        raise InvalidData(f"{url} has changed: sha256 {found}, expected {sha256}. It was not used.")
    write_atomically(path, bytes(data))


def _reason(error: requests.RequestException) -> str:
    if error.response is not None:
        return f"the server answered {error.response.status_code}."
    if isinstance(error, requests.Timeout):
        return f"no answer within {_SILENCE:g} s."
    return f"no connection ({type(error).__name__})."
