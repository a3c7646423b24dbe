"""What an operator may set about a verifier: its model, its limits, its patience. Addresses and certificates belong to the server."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from airdraft.settings import ModelSettings, Settings

PREFILL_FLOOR = 8  # rows of every forward kept for prompts while one waits, so that a full house cannot starve it


class VerifierSettings(Settings):
    """Everything has a default that suits one machine; the model is stated by whoever loads it."""

    model: ModelSettings | None = Field(default=None, description="what to serve; left out when the target is handed over ready-made")

    sessions: int = Field(default=64, ge=1, le=100_000, description="unfinished responses at once, connected or not")
    slots: int = Field(default=8, ge=1, le=4096, description="sequences whose keys and values are kept at once")
    context: int = Field(default=4096, ge=2, description="prompt and response tokens of one session")
    max_draft: int = Field(default=16, ge=1, le=1024, description="draft tokens granted when the verifier is idle")
    share_prefixes: bool = Field(default=True, description="let a session start from what a free slot already holds of its prompt")

    max_rows: int = Field(default=256, ge=16, le=512, description="rows of one forward")
    prefill_rows: int = Field(default=64, ge=8, description="prompt rows of a forward while other sessions are active")
    queue_rows: int = Field(default=8192, ge=64, description="rows that may wait for a forward before new ones are refused")
    batch_wait_s: float = Field(default=0.002, ge=0, le=1, description="longest wait for other sessions' blocks that are due")

    lease_s: float = Field(default=120.0, gt=0, description="how long an unfinished session outlives its connection")
    protected_s: float = Field(default=15.0, ge=0, description="how much of that is certain when others ask for the place")
    finished_lease_s: float = Field(default=30.0, gt=0, description="how long a finished session can still be asked for its end")
    idle_s: float = Field(default=60.0, gt=0, description="longest silence of a connected device, reading and writing alike")
    slot_wait_s: float = Field(default=20.0, gt=0, description="longest wait for a slot while all are computing")

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        needed = self.max_draft + 1 + PREFILL_FLOOR
        if needed > self.max_rows:
            raise ValueError(f"max_draft {self.max_draft} needs forwards of {needed} rows; raise max_rows ({self.max_rows}) or lower it")
        if self.prefill_rows > self.max_rows:
            raise ValueError(f"prefill_rows {self.prefill_rows} does not fit into max_rows {self.max_rows}; lower it")
        return self
