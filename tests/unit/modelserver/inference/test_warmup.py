"""Which warm-up records can be replayed."""

import pytest

from infra.modelserver.errors import Code, StatusError
from infra.modelserver.inference import warmup
from infra.modelserver.runtime.servable import Servable
from tasks.wire.protos import PredictionLog


class NeverRun:
    """A servable of which nothing is asked."""


@pytest.mark.parametrize(("kind", "number"), [("session_run_log", 5), ("predict_streamed_log", 7), (None, 0)])
def test_a_record_of_a_kind_that_cannot_be_replayed_is_refused(kind: str | None, number: int) -> None:
    record = PredictionLog()
    if kind is not None:
        getattr(record, kind).SetInParent()
    servable: Servable = NeverRun()  # type: ignore[assignment]
    with pytest.raises(StatusError, match=f"Unsupported log_type for warmup: {number}") as problem:
        warmup._run(servable, record)
    assert problem.value.code is Code.UNIMPLEMENTED
