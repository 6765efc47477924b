"""What a check is, what it is given, and what it finds."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, Protocol, get_args

from tasks.data.held_out import HeldOut
from tasks.errors import ServingUnreachable, SlipwayError
from tasks.evaluation.questions import accuracy_question, held_out_classes
from tasks.policy import Policy
from tasks.records import Manifest, Record
from tasks.savedmodel.golden import GoldenExample
from tasks.serving.client import Predicts, Target
from tasks.validation.checks.asking import Answers, Ask, ask_examples, median_seconds
from tasks.wire.dtypes import Array

Wire = Literal["REST", "gRPC"]
WIRES: tuple[Wire, ...] = get_args(Wire)


@dataclass(frozen=True)
class Finding(Record):
    """One thing that a check asked of one replica, and what came of it."""

    check: str  # its name
    replica: str
    asked: Mapping[str, str]  # what was asked, such as the protocol and the signature
    wrong: str | None  # why the version does not pass, None if it does
    figures: Mapping[str, float] = field(default_factory=dict)  # what was measured, each named with its unit

    @property
    def question(self) -> str:
        """What was asked of whom, in words."""
        return ", ".join([f"replica {self.replica}", *(f"{what} {which}" for what, which in self.asked.items())])


@dataclass(frozen=True, eq=False)
class Expected:
    """What a version is held against, whichever replica is asked, and the policy by which it is judged."""

    manifest: Manifest
    policy: Policy
    live: Manifest | None = None  # the live version, which is asked the same on the same replica
    examples: Sequence[GoldenExample] = ()
    held_out: HeldOut | None = None  # examples that training never saw
    fleet: str = ""  # whose replicas are asked
    hosts: Collection[str] = ()  # the machines that may be asked, as for `Fleet`


@dataclass(frozen=True, eq=False)
class ServedClasses:
    """The classes that a replica answers for the held-out examples, beside the true ones."""

    signature: str
    true: Array  # int64 [N]
    served: Array | None  # int64 [N]; None if not all could be asked
    error: str | None = None  # why not


@dataclass(frozen=True, eq=False)
class Subject:
    """A version as one replica serves it. What several checks need is asked once.

    Raises (whatever asks):
        ServingUnreachable: no answer, which says nothing about the version.
    """

    server: Predicts
    replica: str
    target: Target
    expected: Expected

    @cached_property
    def answers(self) -> Mapping[tuple[Wire, str], Answers]:
        """What came of asking the golden examples, by protocol and signature; of the signatures that have some."""
        known = self.expected.manifest.signatures
        asked = sorted({example.signature for example in self.expected.examples if example.signature in known})
        return {(wire, name): self.ask(wire, name) for name in asked for wire in WIRES}

    @cached_property
    def classes(self) -> ServedClasses | None:
        """The classes that it answers for the held-out examples; None without any, or if no signature gives classes."""
        held_out = self.expected.held_out
        question = accuracy_question(self.expected.manifest.signatures, held_out.x.shape[1:]) if held_out else None
        if held_out is None or question is None:
            return None
        try:
            served = held_out_classes(self.server, self.target, question, held_out.x)
        except ServingUnreachable:
            raise
        except SlipwayError as error:
            return ServedClasses(question.signature, held_out.y, None, str(error))
        return ServedClasses(question.signature, held_out.y, served)

    def ask(self, wire: Wire, signature: str) -> Answers:
        """Ask a signature's golden examples, whether or not they were asked before."""
        manifest, policy = self.expected.manifest, self.expected.policy
        ask = self._ask(wire, signature, self.target, manifest)
        return ask_examples(self._examples(signature), ask, manifest.version, policy.answer_tolerance)

    def seconds_of_live(self, wire: Wire, signature: str) -> float:
        """Median time of the live version's answers to the same; infinity without any."""
        live = self.expected.live
        if live is None or signature not in live.signatures:
            return math.inf
        target = Target(live.model, live.version)
        return median_seconds(self._examples(signature), self._ask(wire, signature, target, live))

    def _examples(self, signature: str) -> list[GoldenExample]:
        return [example for example in self.expected.examples if example.signature == signature]

    def _ask(self, wire: Wire, signature: str, target: Target, manifest: Manifest) -> Ask:
        if wire == "REST":
            spec = manifest.signatures[signature]
            return lambda inputs: self.server.predict_rest(target, signature, inputs, spec)
        return lambda inputs: self.server.predict_grpc(target, signature, inputs)


class Check(Protocol):
    """One way to prove a version: it asks and judges, and changes nothing."""

    @property
    def name(self) -> str:
        """What its findings are listed under."""

    def sentence(self, expected: Expected) -> str | None:
        """What it will ask of each replica and when that passes, for a preview; None if it has nothing to ask.

        Args:
            expected: without examples, since none are loaded for a preview.
        """

    def __call__(self, subject: Subject) -> Iterable[Finding]:
        """Ask the replica; a finding for each thing that was asked. What is wrong is a finding, not an error.

        Raises:
            ServingUnreachable: no answer, which says nothing about the version.
        """
