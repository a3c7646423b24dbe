import numpy as np
import pytest
import torch

from airdraft import sampling
from airdraft.errors import ModelError
from airdraft.messages import Contract, RuleChoice
from airdraft.quantised_row import SCALE
from airdraft.settings import Sampling
from edge.drafters.causal_model import CausalModel
from edge.drafters.prompt_lookup import PromptLookup
from edge.drafters.random_tokens import RandomTokens
from edge.drafters.rolling_cache import FIRST_CAPACITY
from tests.tiny_models import VOCABULARY, tiny_llama, tiny_qwen

PROMPT = tuple(range(10, 30))
EXACT = RuleChoice()


def contract(prompt=PROMPT, temperature: float = 0.0, vocabulary: int = VOCABULARY, rule: RuleChoice = EXACT) -> Contract:
    return Contract(1, "", b"", vocabulary, tuple(prompt), Sampling(temperature=temperature, seed=7), rule)


def causal(model=None, **terms) -> CausalModel:
    drafter = CausalModel(model or tiny_llama())
    drafter.begin(contract(**terms), False)
    return drafter


def tokens(drafter, count: int) -> list[int]:
    return [drafter.step().token for _ in range(count)]


# --- the causal model


class Watched(torch.nn.Module):
    """A model that notes how many tokens each forward was fed."""

    def __init__(self, model) -> None:
        super().__init__()
        self.model = model
        self.config = model.config
        self.fed: list[int] = []

    def forward(self, input_ids, cache=None, use_cache=None, logits_to_keep=0, return_dict=None):
        self.fed.append(input_ids.shape[1])
        return self.model(input_ids=input_ids, cache=cache, use_cache=use_cache, logits_to_keep=logits_to_keep)


@pytest.mark.parametrize("build", [tiny_llama, tiny_qwen])
def test_greedy_proposals_are_what_the_model_itself_generates(build):
    model = build()
    expected = model.generate(torch.tensor([PROMPT]), max_new_tokens=40, do_sample=False, use_cache=True)[0, len(PROMPT) :]
    assert tokens(causal(model), 40) == expected.tolist()


def test_proposals_are_the_same_across_growth_of_the_cache():
    model = tiny_llama()
    prompt = tuple(index % VOCABULARY for index in range(FIRST_CAPACITY - 5))
    expected = model.generate(torch.tensor([prompt]), max_new_tokens=12, do_sample=False)[0, len(prompt) :]
    assert tokens(causal(model, prompt=prompt), 12) == expected.tolist()


def test_after_a_draft_accepted_whole_two_tokens_are_fed_else_one():
    model = Watched(tiny_llama())
    drafter = causal(model)
    tokens(drafter, 4)
    assert model.fed == [20, 1, 1, 1] and drafter.forward_calls == 4
    drafter.extend([3])  # all accepted, and the bonus
    assert drafter.pending == 2
    tokens(drafter, 4)
    assert model.fed[4:] == [2, 1, 1, 1]
    drafter.roll_back(drafter.length - 2)  # two accepted
    drafter.extend([4])
    assert drafter.pending == 1
    tokens(drafter, 2)
    assert model.fed[8:] == [1, 1] and drafter.forward_calls == 10


def test_all_rejected_feeds_only_the_correction():
    model = Watched(tiny_llama())
    drafter = causal(model)
    tokens(drafter, 4)
    drafter.roll_back(len(PROMPT))
    drafter.extend([4])
    tokens(drafter, 1)
    assert model.fed == [20, 1, 1, 1, 1]


def test_conversation_feeds_only_what_is_new():
    model = Watched(tiny_llama())
    drafter = causal(model)
    said = tokens(drafter, 4)
    drafter.begin(contract(prompt=(*PROMPT, *said, 1, 2, 3)), False)
    assert drafter.pending == 4  # the last proposal had not been fed
    tokens(drafter, 1)
    assert model.fed[-1] == 4


def test_same_prompt_again_feeds_its_last_token_only():
    model = Watched(tiny_llama())
    drafter = causal(model)
    first = tokens(drafter, 3)
    drafter.begin(contract(), False)
    assert tokens(drafter, 3) == first and model.fed[3] == 1


def test_draws_with_the_targets_own_noise():
    drafter = causal(temperature=0.8)
    for _ in range(20):
        step = drafter.step()
        assert step.token == sampling.token(step.logits, Sampling(temperature=0.8, seed=7), step.position)
        assert step.logits.shape == (VOCABULARY,) and step.logits.dtype == np.float32


def test_logits_of_a_step_stay_as_they_were():
    drafter = causal()
    first = drafter.step()
    before = first.logits.copy()
    tokens(drafter, 5)
    assert np.array_equal(first.logits, before)


def test_padded_vocabulary_is_never_proposed():
    drafter = causal(vocabulary=20, prompt=(1, 2, 3), temperature=5.0)
    assert max(tokens(drafter, 50)) < 20


def test_greedy_rows_are_certain():
    drafter = CausalModel(tiny_llama())
    drafter.begin(contract(rule=RuleChoice("speculative_sampling")), True)
    step = drafter.step()
    assert step.row.tokens == (step.token,) and step.row.weights == (SCALE,)


def test_bfloat16_models_give_float32_logits():
    assert causal(tiny_llama(dtype=torch.bfloat16)).step().logits.dtype == np.float32


def test_nothing_is_proposed_without_context_or_past_the_models_positions():
    assert causal(prompt=()).step() is None
    model = tiny_llama()
    model.config.max_position_embeddings = 22
    drafter = causal(model)
    assert [drafter.step() is None for _ in range(3)] == [False, False, True]


def test_recurrent_layers_are_refused():
    model = tiny_llama()
    model.config.layer_types = ["full_attention", "linear_attention"]
    with pytest.raises(ModelError, match="linear_attention"):
        CausalModel(model)


def test_sliding_window_models_draft_and_roll_back():
    from transformers import MistralConfig, MistralForCausalLM

    torch.manual_seed(0)
    config = MistralConfig(
        vocab_size=VOCABULARY, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, sliding_window=8, bos_token_id=None, eos_token_id=None, pad_token_id=None,
    )  # fmt: skip
    model = MistralForCausalLM(config).eval()
    expected = model.generate(torch.tensor([PROMPT]), max_new_tokens=20, do_sample=False)[0, len(PROMPT) :].tolist()
    drafter = causal(model)
    assert tokens(drafter, 20) == expected
    drafter.roll_back(len(PROMPT) + 5)
    assert tokens(drafter, 15) == expected[5:]


# --- the lookup


def lookup(*prompt: int, max_ngram: int = 4) -> PromptLookup:
    drafter = PromptLookup(max_ngram)
    drafter.begin(contract(prompt=prompt), False)
    return drafter


def test_lookup_proposes_what_followed():
    assert tokens(lookup(1, 2, 3, 4, 5, 9, 1, 2, 3), 3) == [4, 5, 9]


def test_lookup_prefers_the_longest_run():
    assert tokens(lookup(1, 2, 3, 7, 2, 3, 8, 1, 2, 3), 1) == [7]


def test_lookup_prefers_the_most_recent_of_equals():
    assert tokens(lookup(2, 3, 7, 2, 3, 8, 2, 3), 1) == [8]


def test_lookup_falls_back_to_a_single_token():
    assert tokens(lookup(5, 1, 2, 3, 9, 5), 2) == [1, 2]


def test_lookup_does_not_look_at_longer_runs_than_asked():
    assert tokens(lookup(1, 2, 3, 7, 9, 2, 3, 8, 1, 2, 3, max_ngram=1), 1) == [8]


def test_lookup_continues_a_repetition_for_ever():
    assert tokens(lookup(1, 2, 1), 6) == [2, 1, 2, 1, 2, 1]


def test_lookup_proposes_nothing_for_a_new_token():
    drafter = lookup(1, 2, 3)
    assert drafter.step() is None and drafter.length == 3
    assert lookup().step() is None


def test_lookup_forgets_what_was_rolled_back():
    drafter = lookup(1, 2, 3)
    drafter.extend([1, 2])
    drafter.roll_back(3)
    drafter.extend([2])
    assert tokens(drafter, 1) == [3]
    drafter.roll_back(3)
    assert drafter.step() is None


# --- random tokens


def test_random_tokens_differ_by_seed_and_spread_over_the_vocabulary():
    drafted = []
    for seed in (1, 2):
        drafter = RandomTokens(seed)
        drafter.begin(contract(), False)
        drafted.append(tokens(drafter, 2000))
    assert drafted[0] != drafted[1]
    counts = np.bincount(drafted[0], minlength=VOCABULARY)
    assert counts.min() > 0 and counts.max() < 50
