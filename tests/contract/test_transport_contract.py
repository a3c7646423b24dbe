"""What every transport does alike: order, ends, errors as their classes, cancellation, and nothing left behind."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest

from airdraft import errors
from airdraft.errors import CapacityError, InternalError, MalformedMessageError, SupersededError, UnavailableError, every_error
from airdraft.in_process import InProcessTransport
from airdraft.messages import Draft, Streamed, Verdict
from airdraft.wire.codec import encode_device, encode_verifier
from cloud.server import Server, ServerSettings
from edge.grpc_transport import GrpcTransport
from tests.wire_examples import DESCRIPTION, DEVICE_MESSAGES, DRAFT, VERDICT, VERIFIER_MESSAGES

TREE = tuple(kind for kind in every_error() if kind.__module__ == errors.__name__)


class Scripted:
    """A verifier that is one async generator and a description."""

    def __init__(self, converse, describe=lambda: DESCRIPTION) -> None:
        self.converse = converse
        self.describe = describe

    def drain(self) -> None: ...


def streamed(number: int) -> Streamed:
    return Streamed(1, number, (number,), number + 1, 0, 1)


async def echo(incoming):
    async for message in incoming:
        yield Verdict(message.epoch, message.round, VERDICT.outcome, 0, 1, 1, 1, 1)


async def until_no_task_is_left(before) -> None:
    for _ in range(500):
        if not {task for task in asyncio.all_tasks() - before if not task.done()}:
            return
        await asyncio.sleep(0.01)
    pytest.fail(f"left behind: {asyncio.all_tasks() - before}")


class TransportContract:
    @asynccontextmanager
    async def reach(self, verifier):
        raise NotImplementedError
        yield

    async def test_every_message_arrives_in_order_both_ways(self):
        arrived = []

        async def answer(incoming):
            for message in VERIFIER_MESSAGES:
                arrived.append(await anext(incoming))
                yield message
            arrived.append(await anext(incoming))

        async with self.reach(Scripted(answer)) as transport:
            stream = await transport.open()
            for message in DEVICE_MESSAGES:
                await stream.send(message)
            assert tuple([await stream.receive() for _ in VERIFIER_MESSAGES]) == VERIFIER_MESSAGES
            assert await stream.receive() is None
        assert tuple(arrived) == DEVICE_MESSAGES

    async def test_after_a_good_end_there_is_nothing_more_to_receive_and_sending_does_nothing(self):
        async def one(incoming):
            yield VERDICT

        async with self.reach(Scripted(one)) as transport:
            stream = await transport.open()
            assert await stream.receive() == VERDICT
            for _ in range(2):
                assert await stream.receive() is None
                await stream.send(DRAFT)
            assert stream.traffic.messages_up == 0
            await stream.close()
            assert await stream.receive() is None

    async def test_what_was_sent_before_a_good_end_is_received_however_late(self):
        ended = asyncio.Event()

        async def many(incoming):
            for number in range(50):
                yield streamed(number)
            ended.set()

        async with self.reach(Scripted(many)) as transport:
            stream = await transport.open()
            assert await stream.receive() == streamed(0)
            await ended.wait()
            assert [await stream.receive() for _ in range(49)] == [streamed(number) for number in range(1, 50)]
            assert await stream.receive() is None

    @pytest.mark.parametrize("kind", TREE, ids=lambda kind: kind.__name__)
    async def test_an_error_arrives_as_its_class_and_stays(self, kind):
        async def refuse(incoming):
            await anext(incoming)
            yield VERDICT
            await anext(incoming)
            raise kind("why, in wörds: 100 %", retry_after_s=1.5)

        async with self.reach(Scripted(refuse)) as transport:
            stream = await transport.open()
            await stream.send(DRAFT)
            assert await stream.receive() == VERDICT
            await stream.send(DRAFT)
            for _ in range(2):
                with pytest.raises(errors.AirdraftError) as caught:
                    await stream.receive()
                assert type(caught.value) is kind
                assert caught.value.message == "why, in wörds: 100 %"
                assert caught.value.retry_after_s == 1.5
            with pytest.raises(kind):
                await stream.send(DRAFT)
            again = await transport.open()
            await again.send(DRAFT)
            assert await again.receive() == VERDICT

    async def test_an_unexpected_fault_is_an_internal_error_without_its_secrets(self):
        async def broken(incoming):
            await anext(incoming)
            raise ValueError("a secret")
            yield

        async with self.reach(Scripted(broken)) as transport:
            stream = await transport.open()
            await stream.send(DRAFT)
            with pytest.raises(InternalError) as caught:
                await stream.receive()
            assert "a secret" not in str(caught.value)
            assert "log" in str(caught.value)

    async def test_a_verifier_that_sends_what_no_field_can_hold_ends_its_own_stream(self):
        async def wild(incoming):
            yield streamed(2**40)

        async with self.reach(Scripted(wild)) as transport:
            stream = await transport.open()
            with pytest.raises(MalformedMessageError, match="cannot be sent"):
                await stream.receive()

    async def test_a_message_that_cannot_be_sent_leaves_the_stream_usable(self):
        async with self.reach(Scripted(echo)) as transport:
            stream = await transport.open()
            with pytest.raises(MalformedMessageError):
                await stream.send(Draft(1, -1, 0, 0, ()))
            await stream.send(DRAFT)
            assert (await stream.receive()).round == DRAFT.round

    async def test_traffic_counts_the_encoded_messages(self):
        async with self.reach(Scripted(echo)) as transport:
            stream = await transport.open()
            down = 0
            for _ in range(3):
                await stream.send(DRAFT)
                down += len(encode_verifier(await stream.receive()))
            assert (stream.traffic.messages_up, stream.traffic.bytes_up) == (3, 3 * len(encode_device(DRAFT)))
            assert (stream.traffic.messages_down, stream.traffic.bytes_down) == (3, down)

    async def test_a_cancelled_receive_loses_nothing(self):
        async with self.reach(Scripted(echo)) as transport:
            stream = await transport.open()
            for number in range(5):
                receiving = asyncio.create_task(stream.receive())
                await asyncio.sleep(0)
                receiving.cancel()
                await asyncio.wait({receiving})
                assert receiving.cancelled()
                await stream.send(Draft(1, number, 0, 0, ()))
                assert (await stream.receive()).round == number

    async def test_a_cancelled_wait_for_a_message_loses_nothing_at_the_verifier(self):
        async def impatient(incoming):
            while True:
                waiting = asyncio.create_task(anext(incoming))
                await asyncio.sleep(0)
                waiting.cancel()
                await asyncio.wait({waiting})
                message = waiting.result() if not waiting.cancelled() else await anext(incoming)
                yield Verdict(1, message.round, VERDICT.outcome, 0, 1, 1, 1, 1)

        async with self.reach(Scripted(impatient)) as transport:
            stream = await transport.open()
            for number in range(5):
                await stream.send(Draft(1, number, 0, 0, ()))
                assert (await stream.receive()).round == number

    async def test_closing_ends_the_verifiers_side_and_the_stream(self):
        started, ended = asyncio.Event(), asyncio.Event()

        async def wait(incoming):
            try:
                started.set()
                async for _ in incoming:
                    yield VERDICT
                    await asyncio.Event().wait()
            finally:
                ended.set()

        async with self.reach(Scripted(wait)) as transport:
            stream = await transport.open()
            await stream.send(DRAFT)
            assert await stream.receive() == VERDICT
            await stream.close()
            await stream.close()
            await ended.wait()
            for _ in range(2):
                with pytest.raises(UnavailableError, match="closed"):
                    await stream.receive()
                with pytest.raises(UnavailableError, match="closed"):
                    await stream.send(DRAFT)

    async def test_closing_frees_whoever_waits_to_receive(self):
        async with self.reach(Scripted(echo)) as transport:
            stream = await transport.open()
            receiving = asyncio.create_task(stream.receive())
            await asyncio.sleep(0.01)
            await stream.close()
            with pytest.raises(UnavailableError, match="closed"):
                await receiving

    async def test_nothing_is_left_running_after_a_close(self):
        async with self.reach(Scripted(echo)) as transport:
            await transport.describe()
            before = asyncio.all_tasks()
            stream = await transport.open()
            await stream.send(DRAFT)
            await stream.receive()
            waiting = asyncio.create_task(stream.receive())
            await asyncio.sleep(0)
            waiting.cancel()
            await stream.send(DRAFT)
            await stream.close()
            await until_no_task_is_left(before)
        await until_no_task_is_left(before)

    async def test_a_closed_transport_opens_nothing(self):
        async with self.reach(Scripted(echo)) as transport:
            stream = await transport.open()
            await transport.close()
            await transport.close()
            with pytest.raises(UnavailableError, match="closed"):
                await stream.receive()
            with pytest.raises(UnavailableError, match="closed"):
                await transport.open()

    async def test_describe_answers_and_fails_like_a_stream(self):
        async with self.reach(Scripted(echo)) as transport:
            assert await transport.describe() == DESCRIPTION

        def full():
            raise CapacityError("full", retry_after_s=2.0)

        async with self.reach(Scripted(echo, full)) as transport:
            with pytest.raises(CapacityError, match="full") as caught:
                await transport.describe()
            assert caught.value.retry_after_s == 2.0

    async def test_many_streams_at_once_keep_apart(self):
        async def device(transport, epoch):
            stream = await transport.open()
            for number in range(10):
                await stream.send(Draft(epoch, number, 0, 0, ()))
                verdict = await stream.receive()
                assert (verdict.epoch, verdict.round) == (epoch, number)
            await stream.close()

        async with self.reach(Scripted(echo)) as transport:
            await asyncio.gather(*(device(transport, epoch) for epoch in range(40)))

    @pytest.mark.parametrize("error", [SupersededError("another stream has resumed this session"), None], ids=["error", "good end"])
    async def test_a_device_that_goes_on_sending_still_hears_the_last_words_and_how_it_ended(self, error):
        async def end(incoming):
            await anext(incoming)
            for number in range(3):
                yield streamed(number)
            if error:
                raise error

        async def receive_all(stream):
            while (message := await stream.receive()) is not None:
                received.append(message)

        async with self.reach(Scripted(end)) as transport:
            for _ in range(20):
                received: list[Streamed] = []
                stream = await transport.open()
                for _ in range(100):
                    await stream.send(DRAFT)
                    await asyncio.sleep(0)
                if error:
                    with pytest.raises(SupersededError):
                        await receive_all(stream)
                else:
                    await receive_all(stream)
                assert received == [streamed(number) for number in range(3)]


class TestInProcess(TransportContract):
    @asynccontextmanager
    async def reach(self, verifier):
        transport = InProcessTransport(verifier.converse, verifier.describe)
        yield transport
        await transport.close()


class TestInProcessOverALink(TransportContract):
    @asynccontextmanager
    async def reach(self, verifier):
        async def carry(direction, n_bytes):
            await asyncio.sleep(0)

        transport = InProcessTransport(verifier.converse, verifier.describe, carry)
        yield transport
        await transport.close()


class TestGrpc(TransportContract):
    @asynccontextmanager
    async def reach(self, verifier):
        server = Server(verifier, ServerSettings(port=0))
        transport = GrpcTransport(f"127.0.0.1:{await server.start()}")
        try:
            yield transport
        finally:
            await transport.close()
            await server.stop()
