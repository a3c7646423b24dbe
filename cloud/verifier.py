"""The verifier: sessions, slots and batcher before one target, and the entry point for streams. It does not know what carries them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator

from airdraft import PROTOCOL_VERSION, __version__, rules
from airdraft.clock import Clock
from airdraft.errors import DrainingError, MalformedMessageError
from airdraft.messages import Description, DeviceMessage, Load, Open, Opened, Resume, VerifierMessage
from cloud import acceptance, admission, contract, session_state
from cloud.admission import Limits
from cloud.batcher import Batcher
from cloud.conversation import Conversation, Parts
from cloud.counts import VerifierCounts
from cloud.rounds import Rounds
from cloud.seams import Target
from cloud.session_state import Terms
from cloud.sessions import Session, SessionTable
from cloud.settings import VerifierSettings
from cloud.slots import SlotTable


class Verifier:
    """Serves sessions of one target. `clock` computes on the target's behalf and belongs to whoever made it.

    Errors end the stream they occur on and no other; its session can be resumed until its lease ends.
    """

    def __init__(self, target: Target, model_name: str, tokenizer_digest: bytes, clock: Clock, settings: VerifierSettings) -> None:
        self.counts = VerifierCounts()
        self.batcher = Batcher(target, clock, settings)
        self.slots = SlotTable(target.slots, settings.slot_wait_s, share_prefixes=settings.share_prefixes)
        self.sessions = SessionTable(clock, settings, forgotten=self.slots.forget)
        self._target = target
        self._model_name = model_name
        self._tokenizer_digest = tokenizer_digest
        self._settings = settings
        self._limits = Limits(settings.sessions, settings.max_draft, settings.max_rows, settings.queue_rows)
        self._context_limit = min(settings.context, target.capacity)
        rounds = Rounds(self.slots, self.batcher)
        self._streams: dict[Conversation, None] = {}  # in the order of coming, so that closing ends them in a fixed order
        self._parts = Parts(settings, self.sessions, self.slots, rounds, self.counts, self._draft_limit, self._streams)

    def converse(self, incoming: AsyncIterator[DeviceMessage]) -> AsyncGenerator[VerifierMessage, None]:
        """Answer one stream. Raises the AirdraftError that ends it; returns when it ends in good order. Close it when the link is cut."""
        return Conversation(self._parts, self._begin).answers(incoming)

    def describe(self) -> Description:
        """What this verifier serves and how busy it is."""
        self.sessions.expire()
        return Description(
            protocol_version=PROTOCOL_VERSION,
            software_version=__version__,
            model=self._model_name,
            tokenizer_digest=self._tokenizer_digest,
            vocabulary_size=self._target.vocabulary_size,
            rules=acceptance.names(),
            context_limit=self._context_limit,
            draft_limit=self._settings.max_draft,
            load=Load(self.sessions.unfinished, self._limits.sessions, self.batcher.queued_rows, self.sessions.draining),
        )

    def drain(self) -> None:
        """Take nobody new from now on; the streams that run go on."""
        self.sessions.drain()

    async def close(self) -> None:
        """End every stream with DrainingError and stop. Safe to call again."""
        self.sessions.drain()
        for conversation in list(self._streams):
            conversation.end(DrainingError("the verifier is shutting down. Open at another one with the committed tokens."))
        await self.batcher.close()

    def _begin(self, message: DeviceMessage, conversation: Conversation) -> tuple[Session, Opened]:
        match message:
            case Open():
                session, opened = self._open(message)
                self.counts.opened += 1
            case Resume():
                session, opened = self._resume(message)
                self.counts.resumed += 1
            case _:
                raise MalformedMessageError(f"{type(message).__name__} as a stream's first message; expected Open or Resume.")
        self.sessions.attach(session, conversation)
        self.slots.arrive(session.id)
        return session, opened

    def _open(self, message: Open) -> tuple[Session, Opened]:
        contract.check(message, self.describe())
        choice = message.contract.rule
        rule = acceptance.build(choice)
        terms = Terms(message.contract, self._context_limit, rules.row_width(choice))
        state = session_state.begin(self.sessions.identify(), terms, message.committed, message.epoch)
        self.sessions.make_room()
        state, opened = session_state.opened(state, self._draft_limit())
        session = Session(state, rule)
        self.sessions.add(session)
        return session, opened

    def _resume(self, message: Resume) -> tuple[Session, Opened]:
        session = self.sessions.find(message.session_id, message.resume_token)
        session.state, opened = session_state.resume(session.state, message, self._draft_limit())
        return session, opened

    def _draft_limit(self) -> int:
        return admission.draft_limit(len(self._streams), self.batcher.queued_rows, self._limits)
