from edge.statistics import ResponseStatistics
from orchestration.cli import comparison


def streamed(token_s: float = 0.2) -> ResponseStatistics:
    bursts = [(token_s * (index + 1), 1) for index in range(12)]
    return ResponseStatistics(bursts=bursts, target_s=12 * token_s, forward_s=12 * token_s)


def drafted(round_s: float) -> ResponseStatistics:
    """Four rounds of three tokens; two of two drafted accepted in each."""
    bursts = [(round_s * (index + 1), 3) for index in range(4)]
    return ResponseStatistics(
        bursts=bursts, rounds=4, drafted=8, accepted=8, judged_at=[4, 4], accepted_at=[4, 4], from_verdicts=12,
        draft_s=0.08 * 4, draft_steps=8, target_s=0.84, forward_s=0.84,
    )  # fmt: skip


def test_the_faster_one_wins_and_the_figures_say_why() -> None:
    told = " ".join(comparison.sentences(streamed(), drafted(0.31), 0.02))
    assert "Drafting won: 1.2 s drafted, 2.4 s streamed, for the same 12 tokens (48% less with drafting)." in told
    assert "80 ms drafting" in told and "210 ms verifying" in told and "brought 3.0 tokens" in told
    assert "0.070 s of the target per token with drafting, 0.200 s streaming: 65% less" in told
    assert "this link: 20 ms" in told


def test_streaming_may_win_and_then_that_is_said() -> None:
    told = " ".join(comparison.sentences(streamed(0.05), drafted(0.31), None))
    assert "Streaming won: 1.2 s drafted, 0.6 s streamed" in told and "more with drafting" in told
    assert "this link" not in told


def test_a_small_difference_is_a_draw() -> None:
    assert comparison.sentences(streamed(), drafted(0.59), None)[0].startswith("A draw")


def test_without_drafts_nothing_is_made_up_about_them() -> None:
    told = comparison.sentences(streamed(), streamed(), 0.02)
    assert len(told) == 2 and not any("cost model" in line or "Why" in line for line in told)


def test_the_first_difference_is_found_and_equal_texts_have_none() -> None:
    assert comparison.first_difference([1, 2, 3], [1, 2, 3]) is None
    assert comparison.first_difference([1, 2, 3], [1, 5, 3]) == 1
    assert comparison.first_difference([1, 2], [1, 2, 3]) == 2
