"""Target and drafter that answer from recordings: no model, no logits, and the very tokens and rounds of a live run under the exact rule.

They know the text of each recorded prompt and nothing else: what leads away from it they refuse, in words, instead of making something up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from airdraft.errors import InternalError, SettingsError
from airdraft.messages import Contract, Finish
from airdraft.settings import Sampling
from cloud.seams import Block, Rows
from edge.seams import DraftStep
from orchestration.recording.context import Context
from orchestration.recording.entry import Entry, Predictions
from orchestration.recording.recording import Recording

AFTER_THE_END = 0  # what the row after a stop token gives: it is asked for with the last draft, and never committed


class Script:
    """An entry unrolled for replay: its text, and its drafts as ready-made steps."""

    __slots__ = ("after_misses", "ends_itself", "entry", "steps", "text")

    def __init__(self, entry: Entry) -> None:
        first = len(entry.prompt)
        self.entry = entry
        self.text = entry.text
        self.ends_itself = entry.finish is Finish.STOP_TOKEN
        self.steps = _steps(entry.drafter, first)
        self.after_misses = {first + miss: _steps(entry.continuation(number), first + miss + 1) for number, miss in enumerate(entry.misses)}

    def draft(self, agreed: int, position: int) -> DraftStep | None:
        """The drafter's step at `position` when the context follows the text for `agreed` tokens and its own proposals after that."""
        first = len(self.entry.prompt)
        if agreed == position:
            return self.steps[position - first] if position - first < len(self.steps) else None
        after = self.after_misses.get(agreed)
        place = position - agreed - 1
        return after[place] if after is not None and place < len(after) else None


def _steps(part: Predictions, first: int) -> tuple[DraftStep, ...]:
    return tuple(DraftStep(token, first + row, certainty=part.certainty(row)) for row, token in enumerate(part.tokens.tolist()))


class Repertoire:
    """Recordings of one pair under one sampling, found by prompt. Any number of targets and drafters may share it."""

    def __init__(self, recordings: Sequence[Recording]) -> None:
        """Raises SettingsError when the recordings are of different pairs or settings."""
        if not recordings:
            raise SettingsError("no recordings to replay; expected at least one.")
        self.header = recordings[0].header
        for recording in recordings[1:]:
            _refuse_difference(recordings[0], recording)
        self._entries = {entry.prompt: entry for recording in recordings for entry in recording.entries}
        self._scripts: dict[tuple[int, ...], Script] = {}
        self._lengths = sorted({len(prompt) for prompt in self._entries}, reverse=True)
        self._checked: Sampling | None = None

    def script(self, prompt: tuple[int, ...]) -> Script:
        """Of this prompt. Raises SettingsError when it was not recorded."""
        script = self._scripts.get(prompt)
        if script is None:
            if prompt not in self._entries:
                raise SettingsError(f"a prompt of {len(prompt)} tokens that was not recorded. Replay the prompts of the recording.")
            script = self._scripts[prompt] = Script(self._entries[prompt])
        return script

    def find(self, text: Sequence[int]) -> Script:
        """Of the longest recorded prompt that `text` begins with. Raises SettingsError when there is none."""
        for length in self._lengths:
            if length <= len(text) and (prompt := tuple(text[:length])) in self._entries:
                return self.script(prompt)
        raise SettingsError(f"{len(text)} tokens that begin with no recorded prompt. Replay the prompts of the recording.")

    def check(self, sampling: Sampling) -> None:
        """Raises SettingsError when tokens are asked for that were drawn otherwise."""
        if sampling is self._checked:  # asked with every token
            return
        recorded = self.header.sampling
        if sampling != recorded and (sampling.temperature or recorded.temperature):
            raise SettingsError(f"the recording was made with {recorded!r}, and is replayed with {sampling!r}. Use the recorded sampling.")
        self._checked = sampling

    def check_contract(self, contract: Contract) -> None:
        """Raises SettingsError for a contract under which the pair would have said something that was not recorded."""
        self.check(contract.sampling)
        if contract.stop_tokens != self.header.stop_tokens:
            raise SettingsError(
                f"recorded with the stop tokens {self.header.stop_tokens}, replayed with {contract.stop_tokens}. Use those."
            )
        if contract.max_new_tokens > self.header.max_new_tokens:
            raise SettingsError(
                f"max_new_tokens is {contract.max_new_tokens}, but responses were recorded up to {self.header.max_new_tokens}."
            )


def _refuse_difference(one: Recording, other: Recording) -> None:
    for name in ("target", "drafter", "tokenizer_digest", "stop_tokens", "sampling", "max_new_tokens", "draft_length"):
        ours, theirs = getattr(one.header, name), getattr(other.header, name)
        if ours != theirs:
            raise SettingsError(
                f"the recordings of {one.header.prompts.name} and {other.header.prompts.name} differ in {name}: {ours!r} and {theirs!r}. "
                "Replay them separately."
            )


_NOTHING = np.empty((0, 0), dtype=np.float32)


@dataclass(frozen=True, slots=True)
class RecordedRows(Rows):
    """Rows that know the target's tokens along the text, and nothing else of it: `logits` and `hidden` are empty."""

    repertoire: Repertoire
    script: Script | None  # None: no row was wanted
    wanted: int
    agreed: int  # how many tokens fed so far are the text's own, from its first on

    @property
    def count(self) -> int:
        """m."""
        return self.wanted

    @property
    def vocabulary_size(self) -> int:
        """V."""
        return self.repertoire.header.target.vocabulary_size

    def token(self, index: int, sampling: Sampling, position: int) -> int:
        """The recorded token. Raises SettingsError for another sampling, beyond the recording, and where the text was left."""
        self.repertoire.check(sampling)
        if self.script is None or not 0 <= index < self.wanted:
            raise InternalError(f"row {index} of {self.wanted} was asked for")
        text = self.script.text
        if position > self.agreed:
            raise SettingsError(
                f"what the target says at position {position} after text that is not its own was not recorded. Replay under the exact rule."
            )
        if position < len(text):
            return text[position]
        if not self.script.ends_itself:
            raise SettingsError(
                f"{self.script.entry.name!r} was recorded up to position {len(text) - 1}. Replay with fewer new tokens, or record more."
            )
        return AFTER_THE_END


@dataclass(slots=True)
class _Held:
    """What a slot holds, and how far it is a script's text."""

    tokens: list[int] = field(default_factory=list)
    script: Script | None = None
    agreed: int = 0


class RecordedTarget:
    """A `Target` of recorded responses. Its cache is made of token ids: `slots` and `capacity` are whatever a scenario wants."""

    def __init__(self, repertoire: Repertoire, slots: int, capacity: int) -> None:
        self.slots = slots
        self.capacity = capacity
        self.forwards = 0
        self._repertoire = repertoire
        self._held = [_Held() for _ in range(slots)]

    @property
    def vocabulary_size(self) -> int:
        """Of the recorded target."""
        return self._repertoire.header.target.vocabulary_size

    def forward(self, blocks: Sequence[Block]) -> list[Rows]:
        """Take the blocks in. Raises InternalError for one that does not follow on, SettingsError for a prompt that was not recorded."""
        self.forwards += 1
        return [self._feed(block) for block in blocks]

    def _feed(self, block: Block) -> Rows:
        held = self._held[block.slot]
        if block.position > len(held.tokens) or block.position + len(block.tokens) > self.capacity:
            raise InternalError(
                f"slot {block.slot} holds {len(held.tokens)} of {self.capacity} tokens; {len(block.tokens)} came for {block.position}"
            )
        del held.tokens[block.position :]
        held.tokens.extend(block.tokens)
        held.agreed = min(held.agreed, block.position)
        if not block.wanted:
            return RecordedRows(_NOTHING, _NOTHING, self._repertoire, None, 0, 0)
        script = self._follow(held)
        return RecordedRows(_NOTHING, _NOTHING, self._repertoire, script, block.wanted, held.agreed)

    def _follow(self, held: _Held) -> Script:
        """Find the script of what is held, and how far that follows it."""
        script = held.script
        if script is None or held.agreed < len(script.entry.prompt):
            script = held.script = self._repertoire.find(held.tokens)
            held.agreed = len(script.entry.prompt)
        tokens, text = held.tokens, script.text
        end = min(len(tokens), len(text))
        while held.agreed < end and tokens[held.agreed] == text[held.agreed]:
            held.agreed += 1
        return script


class RecordedDrafter:
    """A `Drafter` of recorded drafts. It costs what the live one costs: the same steps with the same tokens pending.

    `unanswered` counts steps that the recording does not cover, which end the draft: those longer than the recording's drafts, and those on
    text that neither side of the recorded pair wrote.
    """

    def __init__(self, repertoire: Repertoire) -> None:
        self.forward_calls = 0
        self.unanswered = 0
        self._repertoire = repertoire
        self._context = Context()
        self._script: Script | None = None
        self._agreed = 0  # leading tokens of the context that are the text's own
        self._known = 0  # those, and what the drafter itself proposes after them

    def begin(self, contract: Contract, rows_wanted: bool) -> None:
        """Start a response. Raises SettingsError for a prompt or a sampling that was not recorded, or a rule that needs rows."""
        if rows_wanted:
            raise SettingsError(
                f"the rule {contract.rule.name!r} needs the drafter's rows, which recordings do not hold. Use the exact rule."
            )
        self._repertoire.check_contract(contract)
        self._script = self._repertoire.script(contract.prompt)
        self._context.begin(contract.prompt)
        self._agreed = self._known = len(contract.prompt)

    @property
    def length(self) -> int:
        """Tokens of context, its own proposals included."""
        return len(self._context)

    @property
    def pending(self) -> int:
        """Tokens that the live drafter's next step would feed."""
        return self._context.pending

    def extend(self, tokens: Sequence[int]) -> None:
        """Append committed tokens."""
        for token in tokens:
            self._append(token)

    def step(self) -> DraftStep | None:
        """The recorded proposal; None when there is none."""
        position = len(self._context)
        if self._script is None:
            return None
        step = self._script.draft(self._agreed, position) if self._known == position else None
        if step is None:
            self.unanswered += 1
            return None
        self.forward_calls += 1
        self._context.feed()
        self._append(step.token)
        return step

    def roll_back(self, length: int) -> None:
        """Keep only the first `length` tokens."""
        self._context.roll_back(length)
        self._agreed = min(self._agreed, length)
        self._known = min(self._known, length)

    def _append(self, token: int) -> None:
        position, script = len(self._context), self._script
        self._context.extend((token,))
        if script is None or self._known < position:
            return
        if self._agreed == position < len(script.text) and token == script.text[position]:
            self._agreed = self._known = position + 1
        elif (own := script.draft(self._agreed, position)) is not None and own.token == token:
            self._known = position + 1
