"""What a user may set about a device: what drafts, how long, who works when, and what to do when the link is gone."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from airdraft.messages import RuleChoice
from airdraft.settings import ModelSettings, Sampling, Settings


class DrafterSettings(Settings):
    """What proposes tokens. `model` is for the kind "model" alone; the other values belong to the kind that their description names."""

    kind: str = Field(default="model", description="a name from `edge.drafters`: model, lookup, random")
    model: ModelSettings | None = Field(default=None, description="model: which one to load")
    max_ngram: int = Field(default=4, ge=1, le=32, description="lookup: longest run of tokens that is looked for")
    seed: int = Field(default=0, ge=0, lt=2**64, description="random: its seed")


class LinkSettings(Settings):
    """How long one attempt may take, and how long to pause before the next."""

    connect_deadline_s: float = Field(default=10.0, gt=0, le=600, description="to open a stream and hear Opened")
    receive_deadline_s: float = Field(
        default=30.0, gt=0, le=3600, description="silence after which a stream is given up and resumed on a new one"
    )
    back_off_first_s: float = Field(default=0.1, gt=0, le=60, description="upper end of the first random pause; doubles with each attempt")
    back_off_most_s: float = Field(default=5.0, gt=0, le=600, description="upper end that no pause exceeds")
    retry_after_most_s: float = Field(default=30.0, gt=0, le=3600, description="longest pause that a full verifier may ask for")
    seed: int | None = Field(
        default=None, ge=0, lt=2**64, description="of the random pauses; left out, devices differ, which is what the pauses are for"
    )
    first_draft_limit: int = Field(
        default=8, ge=0, le=1024, description="most tokens in a draft sent before the verifier has granted a limit"
    )

    @model_validator(mode="after")
    def _bounds_in_order(self) -> Self:
        if self.back_off_first_s > self.back_off_most_s:
            raise ValueError(f"back_off_first_s {self.back_off_first_s} exceeds back_off_most_s {self.back_off_most_s}; lower it")
        return self


class FallbackSettings(Settings):
    """What to do when the verifier has been silent or out of reach for `deadline_s` while an answer was due."""

    then: Literal["wait", "stop", "alone"] = Field(default="wait", description="keep trying, end the response, or go on unverified")
    deadline_s: float = Field(default=5.0, gt=0, le=3600)
    give_up_s: float = Field(default=120.0, gt=0, le=86_400, description="wait and alone: how long to keep trying at most")


class DeviceSettings(Settings):
    """Everything about a device. The defaults suit one that drafts with a small model over a mobile link."""

    drafter: DrafterSettings = DrafterSettings()
    stopping: str = Field(default="fixed", description="a name from `edge.stopping`")
    draft_length: int = Field(default=4, ge=0, le=1024, description="tokens of a draft, for stopping rules that count")
    schedule: str = Field(default="sequential", description="a name from `edge.schedules`: sequential, stream")
    rule: str = Field(default="exact", description="the acceptance rule asked for")
    rule_parameters: dict[str, float] = Field(default_factory=dict)
    sampling: Sampling = Sampling()
    max_new_tokens: int = Field(default=256, ge=1, le=1_000_000)
    link: LinkSettings = LinkSettings()
    fallback: FallbackSettings = FallbackSettings()

    @property
    def patience_s(self) -> float:
        """How long one answer may be due before the link counts as gone."""
        return self.fallback.give_up_s if self.fallback.then == "wait" else self.fallback.deadline_s

    @property
    def rule_choice(self) -> RuleChoice:
        """The rule as a contract states it."""
        return RuleChoice(self.rule, tuple(sorted(self.rule_parameters.items())))
