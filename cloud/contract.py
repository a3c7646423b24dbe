"""Whether a verifier can keep the contract that a device proposes; every refusal says what to change. Pure."""

from __future__ import annotations

from collections.abc import Iterable

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
from airdraft.messages import Contract, Description, Open
from airdraft.settings import unknown


def check(message: Open, served: Description) -> None:
    """Raise the error that names the first thing in `message` that this verifier cannot serve.

    ProtocolVersionError, WrongModelError, TokenizerMismatchError, UnknownRuleError (the name; its parameters are the rule's own business),
    PromptTooLongError, TokenOutOfRangeError, MalformedMessageError, or ContractError for an empty prompt and an impossible length.
    """
    contract = message.contract
    _check_parties(contract, served)
    _check_lengths(message, served)
    _check_range("prompt", contract.prompt, served.vocabulary_size)
    _check_range("stop", contract.stop_tokens, served.vocabulary_size)
    _check_range("committed", message.committed, served.vocabulary_size)
    if message.epoch < 1:
        raise MalformedMessageError(
            f"epoch {message.epoch}; expected 1 for a new session, or one more than the last epoch for a re-opening."
        )


def _check_parties(contract: Contract, served: Description) -> None:
    if contract.protocol_version != served.protocol_version:
        older = "device" if contract.protocol_version < served.protocol_version else "verifier"
        raise ProtocolVersionError(
            f"the device speaks protocol version {contract.protocol_version}, this verifier {served.protocol_version} "
            f"(airdraft {served.software_version}). Upgrade the {older}."
        )
    if contract.model and contract.model != served.model:
        raise WrongModelError(
            f"the device expects the model {contract.model!r}; this verifier serves {served.model!r}. "
            "Connect to another verifier, or leave the model open."
        )
    if contract.vocabulary_size != served.vocabulary_size:
        raise TokenizerMismatchError(
            f"the device's vocabulary has {contract.vocabulary_size} tokens, the one of {served.model!r} {served.vocabulary_size}. "
            "Draft with a model of the same family."
        )
    if contract.tokenizer_digest != served.tokenizer_digest:
        raise TokenizerMismatchError(
            f"the device's tokenizer (digest {contract.tokenizer_digest.hex() or 'missing'}) is not the one of {served.model!r} "
            f"(digest {served.tokenizer_digest.hex()}). Draft with a model that has the same vocabulary and merges."
        )
    if contract.rule.name not in served.rules:
        raise UnknownRuleError(unknown("acceptance rule", contract.rule.name, list(served.rules)))


def _check_lengths(message: Open, served: Description) -> None:
    contract = message.contract
    prompt, limit = len(contract.prompt), served.context_limit
    if not prompt:
        raise ContractError("the prompt is empty; expected at least one token. Begin it with the model's start token.")
    if prompt >= limit:
        raise PromptTooLongError(
            f"the prompt has {prompt} tokens, but this verifier's context holds {limit} and needs room for an answer. "
            f"Shorten the prompt to {limit - 1} tokens or fewer, or serve with a larger context."
        )
    if prompt + len(message.committed) > limit:
        raise PromptTooLongError(
            f"the prompt has {prompt} tokens and {len(message.committed)} are committed, but this verifier's context holds {limit}. "
            "Re-open at a verifier with a context as large as the first one's."
        )
    if contract.max_new_tokens < 1:
        raise ContractError(f"max_new_tokens is {contract.max_new_tokens}; expected at least 1.")


def _check_range(what: str, tokens: Iterable[int], vocabulary_size: int) -> None:
    for token in tokens:
        if not 0 <= token < vocabulary_size:
            raise TokenOutOfRangeError(f"{what} token {token}; expected 0 to {vocabulary_size - 1}. Use the target's tokenizer.")
