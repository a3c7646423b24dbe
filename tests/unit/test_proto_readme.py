"""The protocol's document states what the code does, wherever that can be checked."""

from __future__ import annotations

import re
from pathlib import Path

import airdraft
from airdraft.messages import DeviceMessage, VerifierMessage
from airdraft.prefix import EMPTY_DIGEST
from airdraft.wire import bounds, methods, status

TEXT = (Path(airdraft.__file__).parents[1] / "README.md").read_text()


def rows(section: str) -> list[list[str]]:
    body = TEXT.split(f"\n## {section}\n")[1].split("\n## ")[0]
    lines = [line for line in body.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines[2:]]


def test_the_error_table_is_the_one_in_the_code():
    stated = {(name, code, state) for name, code, state in rows("Errors")}
    assert stated == {(f"`{kind.__name__}`", f"`{kind.code}`", state.name) for kind, state in status.STATUS_OF.items()}
    assert len(rows("Errors")) == len(stated)


def test_the_message_table_names_every_message_and_who_sends_it():
    stated = {(row[0].strip("`"), row[1]) for row in rows("The messages")}
    of_device = {(kind.__name__, "device") for kind in DeviceMessage.__args__}
    of_verifier = {(kind.__name__, "verifier") for kind in VerifierMessage.__args__}
    assert stated == of_device | of_verifier | {("Description", "verifier")}


def test_the_bounds_and_names_are_those_of_the_code():
    for bound in (bounds.MAX_TEXT_TOKENS, bounds.MAX_DRAFT_TOKENS, bounds.MAX_ROW_ENTRIES, bounds.TOKEN_LIMIT, bounds.MAX_MESSAGE_BYTES):
        assert str(bound) in TEXT
    for name in (status.ERROR_KEY, status.RETRY_KEY, status.PEERS_KEY, methods.PROTOCOL_KEY):
        assert f"`{name}`" in TEXT
    assert f"digest(0) = {EMPTY_DIGEST}" in TEXT
