"""All sessions of a verifier: their identities, leases and places. It knows the time, not the model and not what travels."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from airdraft.clock import Clock
from airdraft.errors import AirdraftError, ForgedSessionError, SupersededError, UnknownSessionError
from airdraft.messages import Timings
from cloud import admission
from cloud.admission import Limits
from cloud.seams import AcceptanceRule
from cloud.session_state import Identity, SessionState
from cloud.settings import VerifierSettings

SESSION_ID_BYTES = 9  # 72 random bits: short on the wire, and never guessed together with the 128 of the resume token
RESUME_TOKEN_BYTES = 16


class Connection(Protocol):
    """The stream that a session is on; the table ends it when a newer stream takes the session over."""

    def end(self, error: AirdraftError) -> None:
        """End it with this error; nothing more is committed on it."""
        ...


@dataclass(slots=True, eq=False)
class Session:
    """A session as the verifier keeps it: its state and what is not part of it."""

    state: SessionState
    rule: AcceptanceRule
    connection: Connection | None = None
    absent_since: float = 0.0  # clock's seconds; of meaning while there is no connection
    owed_share_s: float = 0.0  # compute spent on it since its last answer

    @property
    def id(self) -> str:
        """Its name."""
        return self.state.identity.session_id

    @property
    def finished(self) -> bool:
        """Whether its response has ended."""
        return bool(self.state.finish)

    def take_share_s(self) -> float:
        """Compute to be reported in the next answer: what was spent since the last one."""
        owed, self.owed_share_s = self.owed_share_s, 0.0
        return owed

    def timings(self) -> Timings:
        """Of an answer that no forward was needed for: what is owed from before."""
        return Timings(share_s=self.take_share_s(), batch=0)


class SessionTable:
    """Finds, admits and forgets sessions. `forgotten` is called with the id of each one that is dropped."""

    def __init__(self, clock: Clock, settings: VerifierSettings, forgotten: Callable[[str], None]) -> None:
        self._clock = clock
        self._settings = settings
        self._limits = Limits(settings.sessions, settings.max_draft, settings.max_rows, settings.queue_rows)
        self._forgotten = forgotten
        self.identities: Callable[[], Identity] = random_identity  # where new sessions' names come from; a simulation needs its own
        self._sessions: dict[str, Session] = {}
        self._connected: dict[str, Session] = {}
        self._absent: dict[bool, dict[str, Session]] = {False: {}, True: {}}  # by whether finished, the longest absent first
        self._draining = False

    @property
    def unfinished(self) -> int:
        """Sessions that take a place, connected or not."""
        return len(self._absent[False]) + sum(not session.finished for session in self._connected.values())

    @property
    def draining(self) -> bool:
        """Whether nobody is admitted any more."""
        return self._draining

    def drain(self) -> None:
        """Admit nobody from now on."""
        self._draining = True

    def make_room(self) -> None:
        """Make sure that one more session may come.

        Raises DrainingError; or CapacityError when every place belongs to a session that is connected or was so a moment ago.
        """
        self.expire()
        if not self._draining and self.unfinished >= self._limits.sessions:
            self._displace()
        admission.admit(self.unfinished, self._limits, draining=self._draining, retry_after_s=self._until_a_place())
        while len(self._absent[True]) >= self._limits.sessions:
            self.drop(_first(self._absent[True]))

    def identify(self) -> Identity:
        """A new session's names."""
        return self.identities()

    def add(self, session: Session) -> None:
        """Keep a session for which there is room; its lease runs until a connection is attached."""
        self._sessions[session.id] = session
        self._leave(session)

    def find(self, session_id: str, resume_token: bytes) -> Session:
        """The session of that name, if its device asks. Raises DrainingError, UnknownSessionError, ForgedSessionError."""
        self.expire()
        if self._draining:
            admission.admit(0, self._limits, draining=True)
        session = self._sessions.get(session_id)
        if session is None:
            raise UnknownSessionError(
                f"no session {session_id!r} here: expired, or lost in a restart. Open anew with the committed tokens."
            )
        if not hmac.compare_digest(session.state.identity.resume_token, resume_token):
            raise ForgedSessionError(f"the resume token is not the one issued for session {session_id!r}. Open a session of your own.")
        return session

    def attach(self, session: Session, connection: Connection) -> None:
        """Put the session on this stream; an older one ends with SupersededError."""
        older, session.connection = session.connection, connection
        self._come(session)
        self._connected[session.id] = session
        if older is not None:
            older.end(SupersededError("another stream has resumed this session. Go on there."))

    def detach(self, session: Session, connection: Connection) -> bool:
        """The stream has ended: the lease begins, unless a newer stream has the session (then False)."""
        if session.connection is not connection:
            return False
        session.connection = None
        if self._connected.pop(session.id, None) is not None:  # not dropped meanwhile
            self._leave(session)
        return True

    def expire(self) -> None:
        """Drop absent sessions whose lease has run out."""
        now = self._clock.now()
        for finished, lease_s in ((False, self._settings.lease_s), (True, self._settings.finished_lease_s)):
            absent = self._absent[finished]
            while absent and now - _first(absent).absent_since >= lease_s:
                self.drop(_first(absent))

    def drop(self, session: Session) -> None:
        """Forget a session."""
        del self._sessions[session.id]
        self._connected.pop(session.id, None)
        self._come(session)
        self._forgotten(session.id)

    def _leave(self, session: Session) -> None:
        """From now on nobody is connected to it; its state stands still meanwhile."""
        session.absent_since = self._clock.now()
        self._absent[session.finished][session.id] = session

    def _come(self, session: Session) -> None:
        """It is not absent any more. A resume may just have finished it, so it is looked for among both."""
        for absent in self._absent.values():
            absent.pop(session.id, None)

    def _displace(self) -> None:
        """Drop the unfinished session that has been absent longest, when that is longer than is protected."""
        absent = self._absent[False]
        if absent and self._clock.now() - _first(absent).absent_since >= self._settings.protected_s:
            self.drop(_first(absent))

    def _until_a_place(self) -> float:
        """Seconds until the first absent, unfinished session may be displaced; a guess when all are connected."""
        absent = self._absent[False]
        if not absent:
            return admission.RETRY_AFTER_S
        return max(self._settings.protected_s - (self._clock.now() - _first(absent).absent_since), 0.1)


def _first(sessions: dict[str, Session]) -> Session:
    return next(iter(sessions.values()))


def random_identity() -> Identity:
    """Names that nobody can guess."""
    return Identity(secrets.token_urlsafe(SESSION_ID_BYTES), secrets.token_bytes(RESUME_TOKEN_BYTES))
