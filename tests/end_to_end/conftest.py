"""What tests of several files here share."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tests.bystander import SERVED
from tests.worlds import VerifierProcess


@pytest.fixture(scope="session")
def port() -> Iterator[int]:
    """One server for whatever goes wrong elsewhere: whatever they do to it, it has to serve the next."""
    process = VerifierProcess(SERVED)
    asyncio.run(process.start())
    yield process.port
    process.kill()
    asyncio.run(process.buried())
