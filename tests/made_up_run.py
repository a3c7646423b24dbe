"""A run's directory with made-up figures, which no simulation had to find."""

import json

from airdraft.journal import Header, ResponseRecord, RoundRecord, write_journal
from airdraft.messages import ChannelState, Finish, Outcome, Timings
from orchestration.prediction import mark_best
from orchestration.summary import RESPONSES, RESPONSES_FILE, SUMMARY, SUMMARY_FILE, write_rows

DIGEST = "ab" * 32
MEASURED = {
    "tpot_s": 0.05,
    "rounds_per_response": 40.0,
    "bytes_up_per_token": 11.0,
    "bytes_down_per_token": 9.0,
    "target_s_per_token": 0.02,
}


def row(cell, environment, kind, **changes):
    """One row of the summary; its intervals are 2 % to each side."""
    values = {column.name: None for column in SUMMARY} | {
        "cell": cell,
        "environment": environment,
        "linkless": "all",
        "kind": kind,
        "policy": kind if changes.get("draft_length") is None else f"{kind} k={changes['draft_length']}",
        "simulated": True,
        "version": "0.1.0",
        "link": "5g",
        "channel": "constant",
        "round_trip_ms": 30.0,
        "target_token_s": 0.06,
        "draft_step_s": 0.01,
        "device_machine": "board",
        "device_source": "measured",
        "verifier_source": "assumed",
        "drafter": "recording",
        "temperature": 0.0,
        "recording": "made_up.msgpack.z",
        "recording_digest": DIGEST,
        "task": "easy+hard",
        "devices": 1,
        "seed": 7,
        "responses": 4,
        "failed": 0,
        "axes": "{}",
        "settings": "{}",
        "wire_bytes_up_per_token": 36.0,
        "wire_bytes_down_per_token": 34.0,
    }
    values |= MEASURED | changes
    for name in MEASURED:
        values[f"{name}_low"], values[f"{name}_high"] = 0.98 * values[name], 1.02 * values[name]
    return values


def drafts(cell, environment, length, tpot_s, **changes):
    """A sequential row with drafts of one length."""
    judged = [1000 - 50 * place for place in range(length)]
    given = {"acceptance_by_position": [0.9] * length, "judged_by_position": judged, "predicted_tpot_s": 1.05 * tpot_s}
    return row(cell, environment, "sequential", draft_length=length, tpot_s=tpot_s, **given | {"predicted_best_draft_length": 4} | changes)


def two_places():
    """Drafting wins at 5 ms of round trip and loses at 200."""
    near, far = ({"round_trip_ms": trip, "axes": json.dumps({"link.round_trip_ms": trip})} for trip in (5.0, 200.0))
    return [
        row("s5", "near", "stream", tpot_s=0.060, predicted_tpot_s=0.060, **near),
        *(drafts(f"d5-{k}", "near", k, 0.070 - 0.010 * k, **near) for k in range(1, 5)),
        row("s200", "far", "stream", tpot_s=0.060, predicted_tpot_s=0.060, **far),
        *(drafts(f"d200-{k}", "far", k, 0.170 - 0.010 * k, **far) for k in range(1, 9)),
        row("local", "none", "local", draft_length=4, tpot_s=0.025, link="none", round_trip_ms=None),
    ]


def responses(rows):
    """Two easy and two hard ones of every row of drafts."""
    shared = {"rounds": 10, "drafted": 40, "failure": None, "tokens": 40}
    return [
        shared | {"cell": one["cell"], "environment": one["environment"], "name": f"p{number}", "task": task, "accepted": accepted}
        for one in rows
        if one["kind"] == "sequential"
        for number, (task, accepted) in enumerate((("easy", 34), ("easy", 30), ("hard", 12), ("hard", 10)))
    ]


def written_run(folder, rows=None, **changes):
    """The directory; `changes` are of run.json."""
    listed = two_places() if rows is None else rows
    mark_best(listed)
    about = {
        "format": "airdraft-run",
        "name": "made_up",
        "simulated": True,
        "version": "0.1.0",
        "versions": {"python": "3.11", "numpy": "2"},
        "digests": {"made_up": DIGEST},
        "seeds": [7],
        "cells": [one["cell"] for one in listed],
        "settings": {"name": "made_up"},
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "run.json").write_text(json.dumps(about | changes))
    write_rows(folder / SUMMARY_FILE, SUMMARY, listed)
    write_rows(folder / RESPONSES_FILE, RESPONSES, responses(listed))
    return folder


def written_journal(folder, cell, told=True, digest=DIGEST):
    """A cell's journal: one response of twenty rounds over a channel that fades."""
    rounds = tuple(_round(number, ChannelState(snr_db=20.0 - number) if told else None) for number in range(20))
    response = ResponseRecord("p0", "0", 5, (1, 2, 3), Finish.LENGTH, 0.0, ((0.2, 3),), rounds=rounds)
    write_journal(folder / "journals" / f"{cell}.msgpack", Header(True, digests={"made_up": digest}), [response])


def _round(number, channel):
    drafted, timings = (1, 2, 3, 4), Timings()
    sent_s = 0.2 * number
    return RoundRecord(
        "draft", number, 0, 5, sent_s, sent_s + 0.1, 0.04, drafted, number % 5, (1,), Outcome.JUDGED, 40, 30, channel, timings
    )
