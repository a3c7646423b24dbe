"""A verifier among others: its description names them all, its refusals name those that may have room."""

from __future__ import annotations

import pytest

from airdraft.errors import CapacityError, DrainingError, UnavailableError, WrongModelError
from orchestration.cluster.peers import AmongPeers
from tests.cluster_parts import served


class Verification:
    def __init__(self, *messages, error=None):
        self.messages, self.error, self.drained, self.closed = messages, error, False, False

    async def converse(self, incoming):
        try:
            for message in self.messages:
                yield message
            if self.error:
                raise self.error
        finally:
            self.closed = True

    def describe(self):
        return served()

    def drain(self):
        self.drained = True


def among(verification, peers=("a:1", "me:1", "b:1")):
    made = AmongPeers(verification)
    made.address, made.peers = "me:1", peers
    return made


async def everything(made):
    return [message async for message in made.converse(iter(()))]


def test_the_description_names_all_in_their_order():
    assert among(Verification()).describe().peers == ("a:1", "me:1", "b:1")


@pytest.mark.parametrize("kind", [CapacityError, DrainingError])
async def test_a_refusal_names_the_others_and_keeps_its_class_and_time(kind):
    with pytest.raises(kind) as caught:
        await everything(among(Verification(error=kind("full.", retry_after_s=3.0))))
    assert type(caught.value) is kind
    assert (caught.value.peers, caught.value.retry_after_s) == (("a:1", "b:1"), 3.0)
    assert caught.value.message == "full. Others: a:1, b:1."


async def test_alone_it_refuses_as_ever():
    error = CapacityError("full.")
    with pytest.raises(CapacityError) as caught:
        await everything(among(Verification(error=error), peers=("me:1",)))
    assert caught.value is error


@pytest.mark.parametrize("error", [WrongModelError("x"), UnavailableError("x")])
async def test_other_errors_pass_as_they_are(error):
    with pytest.raises(type(error)) as caught:
        await everything(among(Verification(error=error)))
    assert caught.value is error


async def test_answers_pass_and_a_cut_reaches_the_verifier():
    verification = Verification("one", "two")
    assert await everything(among(verification)) == ["one", "two"]
    verification = Verification("one", "two")
    answers = among(verification).converse(iter(()))
    assert await anext(answers) == "one"
    await answers.aclose()
    assert verification.closed


def test_draining_drains_the_verifier():
    verification = Verification()
    among(verification).drain()
    assert verification.drained
