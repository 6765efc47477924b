"""Keeping what TensorFlow prints at its start from people's terminals."""

import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

# What its C++ parts print before any setting can silence them: which instructions they use, that there is no GPU.
_CHATTER = re.compile(rb"[IWE]\d{4} |WARNING: All log messages before absl::InitializeLog")


@contextmanager
def without_chatter() -> Iterator[None]:
    """Hold back what the process writes to stderr inside the block; afterwards pass on all but TensorFlow's chatter."""
    sys.stderr.flush()
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(terminal, 2)
            os.close(terminal)
            held.seek(0)
            for line in held:
                if not _CHATTER.match(line):
                    os.write(2, line)
