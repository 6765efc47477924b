"""What a check is, what it is given, and what it finds."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, Protocol, get_args

from tasks.data.examples import Examples
from tasks.errors import ServingUnreachable, SlipwayError
from tasks.evaluation import questions
from tasks.evaluation.metrics import Evaluation, evaluate
from tasks.policy import Policy
from tasks.records import Manifest, Record
from tasks.savedmodel.golden import GoldenExample
from tasks.savedmodel.wires import readable_outputs, rest_note
from tasks.serving.client import Predicts, Target
from tasks.validation.checks.asking import Answers, Ask, Pairs, ask_examples, ask_pairs

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
    note: str | None = field(default=None, kw_only=True)  # what a reader should know although it passes

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
    held_out: Examples | None = None  # examples that training never saw
    fleet: str = ""  # whose replicas are asked
    hosts: Collection[str] = ()  # the machines that may be asked, as for `Fleet`


@dataclass(frozen=True, eq=False)
class ServedScore:
    """How good a replica's answers to the held-out examples are."""

    signature: str
    rows: int
    evaluation: Evaluation | None  # None if they could not be asked
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
        """What came of asking the golden examples, by protocol and signature; of the signatures that have some.

        A signature that JSON cannot carry is asked over gRPC alone.
        """
        known = self.expected.manifest.signatures
        asked = sorted({example.signature for example in self.expected.examples if example.signature in known})
        return {(wire, name): self.ask(wire, name) for name in asked for wire in self.wires(name)}

    @cached_property
    def score(self) -> ServedScore | None:
        """How good its answers to the held-out examples are; None without any, or if nothing of it can be scored."""
        expected, held_out = self.expected, self.expected.held_out
        scored = questions.scored_of(expected.manifest, held_out.features) if held_out is not None else None
        if held_out is None or scored is None or not scored.outputs.keys() <= held_out.labels.keys():
            return None
        signatures, rows = expected.manifest.signatures, len(held_out)
        try:
            answers = questions.answers(self.server, self.target, scored, signatures, held_out.features)
            return ServedScore(scored.signature, rows, evaluate(held_out.labels, answers, scored.outputs))
        except ServingUnreachable:
            raise
        except SlipwayError as error:
            return ServedScore(scored.signature, rows, None, str(error))

    def wires(self, signature: str) -> tuple[Wire, ...]:
        """The protocols that can carry a signature."""
        return WIRES if rest_note(self.expected.manifest.signatures[signature]) is None else ("gRPC",)

    def ask(self, wire: Wire, signature: str) -> Answers:
        """Ask a signature's golden examples, whether or not they were asked before."""
        manifest, policy = self.expected.manifest, self.expected.policy
        ask = self._ask(wire, signature, self.target, manifest)
        return ask_examples(self._examples(signature), ask, manifest.version, policy)

    def pairs(self, wire: Wire, signature: str) -> Pairs:
        """Ask a signature's golden examples of this version and of the live one, in turn."""
        manifest, policy, live = self.expected.manifest, self.expected.policy, self.expected.live
        ask, ask_live = self._ask(wire, signature, self.target, manifest), None
        if live is not None and signature in live.signatures:
            ask_live = self._ask(wire, signature, Target(live.model, live.version), live)
        return ask_pairs(self._examples(signature), ask, ask_live, manifest.version, policy)

    def _examples(self, signature: str) -> list[GoldenExample]:
        return [example for example in self.expected.examples if example.signature == signature]

    def _ask(self, wire: Wire, signature: str, target: Target, manifest: Manifest) -> Ask:
        spec = manifest.signatures[signature]
        if wire == "REST":
            return lambda inputs: self.server.predict_rest(target, signature, inputs, spec)
        readable = readable_outputs(spec)
        outputs = readable if len(readable) < len(spec.outputs) else ()
        return lambda inputs: self.server.predict_grpc(target, signature, inputs, outputs=outputs)


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
