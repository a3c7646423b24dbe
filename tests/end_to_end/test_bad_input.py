"""Whatever goes wrong for one device ends in its stated error for that device only.

Beside it, on the same server in a process of its own, another response goes on to its right end, and the server takes the next one.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from airdraft import PROTOCOL_VERSION
from airdraft.errors import (
    ContractError,
    DraftTooLongError,
    ForgedSessionError,
    MalformedMessageError,
    PromptTooLongError,
    ProtocolError,
    ProtocolVersionError,
    SettingsError,
    SupersededError,
    TokenizerMismatchError,
    TokenOutOfRangeError,
    UnknownRuleError,
    UnknownSessionError,
    WrongModelError,
)
from airdraft.messages import Open, Outcome, RuleChoice, Verdict
from airdraft.prefix import Prefix
from cloud.settings import VerifierSettings
from edge.settings import DeviceSettings
from tests.bystander import PROMPT, SERVED, bystander, connected, draft, opened, refusal, resume, session_at
from tests.references import reference
from tests.tiny_models import VOCABULARY
from tests.worlds import respond

# --- contracts


@pytest.mark.parametrize(
    "changes, error, words",
    [
        ({"tokenizer_digest": b"another tokenizer"}, TokenizerMismatchError, "same vocabulary"),
        ({"vocabulary_size": VOCABULARY - 1}, TokenizerMismatchError, "95 tokens"),
        ({"model": "another model"}, WrongModelError, "another verifier"),
        ({"protocol_version": PROTOCOL_VERSION + 1}, ProtocolVersionError, "Upgrade the verifier"),
        ({"rule": RuleChoice("exact", (("treshold", 0.5),))}, UnknownRuleError, "treshold"),
        ({"rule": RuleChoice("speculative_sampling", (("row_with", 8.0),))}, UnknownRuleError, "row_width"),
        ({"prompt": (1,) * SERVED.context}, PromptTooLongError, "511 tokens or fewer"),
        ({"prompt": (1, VOCABULARY)}, TokenOutOfRangeError, "0 to 95"),
        ({"prompt": (1, 2**31 - 1)}, TokenOutOfRangeError, "0 to 95"),
        ({"stop_tokens": (VOCABULARY,)}, TokenOutOfRangeError, "stop token"),
        ({"prompt": ()}, ContractError, "empty"),
        ({"max_new_tokens": 0}, ContractError, "at least 1"),
    ],
)
async def test_a_contract_that_cannot_be_kept_is_refused_at_once_and_says_what_to_change(port, changes, error, words):
    async with bystander(port), session_at(port, "random") as session:
        with pytest.raises(error, match=words) as caught:
            await respond(session, replace(SERVED.contract(PROMPT), **changes))
        assert type(caught.value) is error


async def test_a_rule_unknown_to_the_device_or_to_the_verifier(port):
    contract = SERVED.contract(PROMPT, rule=RuleChoice("exakt"))
    async with bystander(port), session_at(port) as session, connected(port) as transport:
        with pytest.raises(UnknownRuleError, match="Did you mean 'exact'"):
            await respond(session, contract)
        stream = await transport.open()
        await stream.send(Open(contract))
        error = await refusal(stream)
        assert type(error) is UnknownRuleError and "Did you mean 'exact'" in error.message


@pytest.mark.parametrize("settings, key, nearest", [(DeviceSettings, "draft_lenght", "draft_length"), (VerifierSettings, "slot", "slots")])
def test_an_unknown_key_is_refused_with_the_nearest_known_one(settings, key, nearest):
    with pytest.raises(SettingsError, match=f"Did you mean '{nearest}'"):
        settings.parse({key: 4})


# --- drafts and sessions


@pytest.mark.parametrize(
    "tokens, error",
    [((1,) * 17, DraftTooLongError), ((1, VOCABULARY), TokenOutOfRangeError), ((2**31 - 1,), TokenOutOfRangeError)],
    ids=["too-long", "out-of-range", "far-out-of-range"],
)
async def test_a_draft_that_breaks_the_contract_ends_its_stream_and_the_session_can_be_resumed(port, tokens, error):
    async with bystander(port), connected(port) as transport:
        stream, answer = await opened(transport)
        await stream.send(draft(answer, tokens))
        assert type(await refusal(stream)) is error
        stream = await transport.open()
        await stream.send(resume(answer))
        again = await stream.receive()
        assert (again.session_id, again.epoch) == (answer.session_id, answer.epoch + 1)
        await stream.send(draft(again, ()))
        verdict = await stream.receive()
        assert verdict.token == reference(SERVED, SERVED.contract(PROMPT, 1.0, 1))[0]


@pytest.mark.parametrize(
    "change",
    [
        lambda answer: {"digest": answer.digest ^ 1},
        lambda answer: {"position": answer.committed_length + 1},
        lambda answer: {"position": answer.committed_length - 1},
        lambda answer: {"epoch": answer.epoch + 5},
    ],
    ids=["digest", "ahead", "behind", "epoch"],
)
async def test_a_draft_made_from_another_text_is_stale_and_changes_nothing(port, change):
    async with bystander(port), connected(port) as transport:
        stream, answer = await opened(transport)
        await stream.send(draft(answer, (1, 2), **change(answer)))
        verdict = await stream.receive()
        assert isinstance(verdict, Verdict) and verdict.outcome is Outcome.STALE
        assert (verdict.accepted, verdict.token) == (0, None)
        assert (verdict.committed_length, verdict.digest) == (len(PROMPT), Prefix(PROMPT).digest())
        await stream.send(draft(answer, (), round=2))
        assert (await stream.receive()).token == reference(SERVED, SERVED.contract(PROMPT, 1.0, 1))[0]


@pytest.mark.parametrize(
    "change, error",
    [
        (lambda answer: {"session_id": "nobody"}, UnknownSessionError),
        (lambda answer: {"resume_token": bytes(16)}, ForgedSessionError),
        (lambda answer: {"digest": answer.digest ^ 1}, ProtocolError),
        (lambda answer: {"committed_length": answer.committed_length + 9}, ProtocolError),
    ],
    ids=["unknown", "forged", "other-text", "text-never-committed"],
)
async def test_a_session_that_is_not_ones_own_cannot_be_resumed_nor_disturbed(port, change, error):
    async with bystander(port), connected(port) as transport:
        stream, answer = await opened(transport)
        thief = await transport.open()
        await thief.send(resume(answer, **change(answer)))
        assert type(await refusal(thief)) is error
        await stream.send(draft(answer, ()))
        assert (await stream.receive()).token == reference(SERVED, SERVED.contract(PROMPT, 1.0, 1))[0]


async def test_a_stream_that_another_one_has_resumed_ends_and_says_so(port):
    async with bystander(port), connected(port) as transport:
        older, answer = await opened(transport)
        newer = await transport.open()
        await newer.send(resume(answer))
        again = await newer.receive()
        assert type(await refusal(older)) is SupersededError
        await newer.send(draft(again, ()))
        assert (await newer.receive()).token == reference(SERVED, SERVED.contract(PROMPT, 1.0, 1))[0]


async def test_messages_out_of_place(port):
    async with bystander(port), connected(port) as transport:
        stream, answer = await opened(transport)
        await stream.send(Open(SERVED.contract(PROMPT)))
        assert type(await refusal(stream)) is MalformedMessageError
        stream = await transport.open()
        await stream.send(draft(answer, (1,)))
        assert type(await refusal(stream)) is MalformedMessageError
