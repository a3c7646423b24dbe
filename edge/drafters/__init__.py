"""Drafters by name: what proposes tokens, one file each. Only the kinds that need a model import its framework."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from airdraft.errors import SettingsError
from airdraft.settings import unknown
from edge.drafters.prompt_lookup import PromptLookup
from edge.drafters.random_tokens import RandomTokens
from edge.seams import Drafter
from edge.settings import DrafterSettings


def _causal_model(settings: DrafterSettings, model: Any) -> Drafter:
    from edge.drafters.causal_model import CausalModel  # here, so that a device which drafts by lookup never loads torch

    if model is None:
        raise SettingsError("the drafter kind 'model' needs a loaded model; set drafter.model, or choose another kind.")
    return CausalModel(model)


DRAFTERS: dict[str, Callable[[DrafterSettings, Any], Drafter]] = {
    "model": _causal_model,
    "lookup": lambda settings, model: PromptLookup(settings.max_ngram),
    "random": lambda settings, model: RandomTokens(settings.seed),
}


def build(settings: DrafterSettings, model: Any = None) -> Drafter:
    """The drafter that the settings name; `model` is a loaded transformers model, for the kinds that draft with one.

    Raises SettingsError for an unknown kind or a model that is missing.
    """
    if settings.kind not in DRAFTERS:
        raise SettingsError(unknown("drafter", settings.kind, list(DRAFTERS)))
    return DRAFTERS[settings.kind](settings, model)
