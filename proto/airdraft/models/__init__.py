"""Models: which are known, where they come from, and how a folder of weights becomes a model and a tokenizer.

Importing this package is cheap; torch and transformers are imported when a model is loaded or converted.
"""

from airdraft.models.catalogue import KnownModel, known_models
from airdraft.models.configuration import vocabulary_size
from airdraft.models.library import Entry, ensure, fetch, listing, locate, verify
from airdraft.models.loading import load_model
from airdraft.models.pair import check_pair
from airdraft.models.progress import Progress, Silent
from airdraft.models.tokenizer import chat_prompt, load_tokenizer, stop_tokens, tokenizer_digest

__all__ = [
    "Entry",
    "KnownModel",
    "Progress",
    "Silent",
    "chat_prompt",
    "check_pair",
    "ensure",
    "fetch",
    "known_models",
    "listing",
    "load_model",
    "load_tokenizer",
    "locate",
    "stop_tokens",
    "tokenizer_digest",
    "verify",
    "vocabulary_size",
]
