from __future__ import annotations

import pytest

from airdraft import PROTOCOL_VERSION
from airdraft.errors import (
    ContractError,
    MalformedMessageError,
    PromptTooLongError,
    ProtocolVersionError,
    TokenizerMismatchError,
    TokenOutOfRangeError,
    UnknownRuleError,
    WrongModelError,
)
from airdraft.messages import Description, Load, Open, RuleChoice
from cloud.contract import check
from tests.hash_target import MODEL, TOKENIZER_DIGEST, VOCABULARY, contract

SERVED = Description(
    protocol_version=PROTOCOL_VERSION,
    software_version="1.2.3",
    model=MODEL,
    tokenizer_digest=TOKENIZER_DIGEST,
    vocabulary_size=VOCABULARY,
    rules=("exact", "speculative_sampling"),
    context_limit=10,
    draft_limit=8,
    load=Load(0, 8, 0, draining=False),
)


@pytest.mark.parametrize("changes", [{}, {"model": ""}, {"prompt": tuple(range(9))}, {"stop_tokens": (0, VOCABULARY - 1)}])
def test_a_contract_that_can_be_kept_is_not_refused(changes):
    check(Open(contract(**changes)), SERVED)


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"protocol_version": PROTOCOL_VERSION - 1}, ProtocolVersionError, "Upgrade the device"),
        ({"protocol_version": PROTOCOL_VERSION + 1}, ProtocolVersionError, "Upgrade the verifier"),
        ({"model": "other"}, WrongModelError, "'other'.*'hash-model'"),
        ({"tokenizer_digest": b""}, TokenizerMismatchError, "missing"),
        ({"tokenizer_digest": b"other"}, TokenizerMismatchError, b"other".hex()),
        ({"vocabulary_size": VOCABULARY + 1}, TokenizerMismatchError, "49 tokens.*48"),
        ({"rule": RuleChoice("exakt")}, UnknownRuleError, "Did you mean 'exact'"),
        ({"prompt": ()}, ContractError, "empty"),
        ({"prompt": tuple(range(10))}, PromptTooLongError, "10 tokens.*holds 10.*9 tokens or fewer"),
        ({"prompt": (1, VOCABULARY)}, TokenOutOfRangeError, "prompt token 48"),
        ({"prompt": (-1,)}, TokenOutOfRangeError, "prompt token -1"),
        ({"stop_tokens": (VOCABULARY,)}, TokenOutOfRangeError, "stop token 48"),
        ({"max_new_tokens": 0}, ContractError, "max_new_tokens is 0"),
    ],
)
def test_a_contract_that_cannot_be_kept_is_refused_in_words(changes, error, words):
    with pytest.raises(error, match=words) as refusal:
        check(Open(contract(**changes)), SERVED)
    assert type(refusal.value) is error


def test_what_is_said_to_be_committed_must_fit_too():
    check(Open(contract(), committed=(1,) * 7), SERVED)
    with pytest.raises(PromptTooLongError, match="8 are committed"):
        check(Open(contract(), committed=(1,) * 8), SERVED)
    with pytest.raises(TokenOutOfRangeError, match="committed token 48"):
        check(Open(contract(), committed=(VOCABULARY,)), SERVED)


def test_epochs_begin_with_one():
    with pytest.raises(MalformedMessageError, match="epoch 0"):
        check(Open(contract(), epoch=0), SERVED)
