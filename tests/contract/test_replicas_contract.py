"""A transport over several verifiers is a transport like any other."""

from __future__ import annotations

from contextlib import asynccontextmanager

from airdraft.in_process import InProcessTransport
from edge.replicas import Replicas
from tests.contract.test_transport_contract import TransportContract


class TestReplicas(TransportContract):
    @asynccontextmanager
    async def reach(self, verifier):
        replicas = Replicas(("here:1",), lambda address: InProcessTransport(verifier.converse, verifier.describe))
        yield replicas
        await replicas.close()
