"""Golden values bind every platform to the same noise; the rest shows that it is the noise it claims to be."""

from decimal import Decimal, localcontext

import numpy as np
import pytest
from scipy import stats

from airdraft import noise
from airdraft.errors import InternalError
from airdraft.noise import Purpose

UNIT = 2.0**noise.RESOLUTION_BITS


def words(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.uint64)


def ids(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


def real_gumbel(bits: int) -> Decimal:
    with localcontext(prec=70):
        return -(-(Decimal(2 * bits + 1) / Decimal(2) ** 65).ln()).ln()


@pytest.mark.parametrize(
    ("seed", "position", "purpose", "expected"),
    [
        (0, 0, Purpose.TARGET, 0xCB65974158A9100C),
        (0, 0, Purpose.BONUS, 0x6532AEA00F0CA99A),
        (2**64 - 1, 2**64 - 1, Purpose.RESIDUAL, 0x957B96053AE14641),
        (42, 1000, Purpose.DRAFT, 0x2349E3F92765B2EF),
        (42, 1000, Purpose.ACCEPT, 0x9DD21799BFA0F1DE),
    ],
)
def test_keys_are_the_golden_ones(seed, position, purpose, expected):
    assert noise.key(seed, position, purpose) == expected


def test_bits_and_gumbel_values_are_the_golden_ones():
    bits = noise.bits(noise.key(42, 1000, Purpose.TARGET), ids(0, 1, 2, 151935, 2**31 - 1))
    assert bits.tolist() == [0xFB140F2CBDAB5856, 0x38A2101FDF5766A4, 0x48EC7CDB08DF6ACD, 0xF00EE47B0ADFB954, 0x35410DEE7051EE5]
    assert (noise.gumbel(bits) * UNIT).tolist() == [277382643567588, -28933645423328, -16025994699878, 193109804587257, -103336093093806]


def test_gumbel_values_at_the_edges_are_the_golden_ones():
    edges = words(0, 1, 2**63 - 1, 2**63, 2**64 - 2**58 - 1, 2**64 - 2**58, 2**64 - 2, 2**64 - 1)
    assert (noise.gumbel(edges) * UNIT).tolist() == [
        -267955335947564, -266218195392700, 25791053946220, 25791053946220,
        292102010880094, 292102010880101, 3093125313617247, 3170433280708971,
    ]  # fmt: skip


def test_bits_are_those_of_splitmix64():
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821]  # seed 1234567
    assert noise.bits(1234567, ids(0, 1, 2, 3, 4)).tolist() == published


def test_bits_of_a_token_do_not_depend_on_its_neighbours():
    size = 20_000
    whole = noise.vocabulary_bits(987654321, size)
    chosen = ids(19_999, 0, 8191, 8192, 5)
    assert noise.bits(987654321, chosen).tolist() == whole[chosen].tolist()
    assert noise.bits(987654321, np.arange(size)).tolist() == whole.tolist()


def test_no_tokens_need_no_noise():
    assert noise.gumbel(noise.bits(1, ids())).size == 0


@pytest.mark.parametrize(("seed", "position"), [(-1, 0), (0, -1), (2**64, 0), (0, 2**64)])
def test_a_key_outside_64_bits_is_refused(seed, position):
    with pytest.raises(InternalError, match="64 bits"):
        noise.key(seed, position, Purpose.TARGET)


def edge_bits() -> list[int]:
    near_powers = {2**power + offset for power in range(65) for offset in (-3, -2, -1, 0, 1, 2)}
    mirrored = {2**64 - 1 - value for value in near_powers}
    branch = {2**64 - 2**58 + offset for offset in range(-4, 5)}
    return sorted(value for value in near_powers | mirrored | branch if 0 <= value < 2**64)


def spread_bits() -> list[int]:
    generator = np.random.default_rng(11)
    values = generator.integers(0, 2**64, 1500, dtype=np.uint64).tolist()
    small = [value >> shift for value, shift in zip(values[:500], generator.integers(0, 64, 500).tolist(), strict=True)]
    return values + small + [2**64 - 1 - value for value in small]


@pytest.mark.parametrize("bits", [edge_bits(), spread_bits()], ids=["edges", "spread"])
def test_gumbel_values_are_within_the_stated_error(bits):
    computed = noise.gumbel(words(*bits)).tolist()
    errors = [abs(Decimal(value) - real_gumbel(b)) for value, b in zip(computed, bits, strict=True)]
    assert max(errors) < Decimal(noise.GUMBEL_ERROR) < Decimal("1e-9")


def test_gumbel_values_stay_within_their_range_and_resolution():
    values = noise.gumbel(words(*edge_bits()))
    assert values.min() > noise.LOWEST_GUMBEL and values.max() < noise.HIGHEST_GUMBEL
    assert np.array_equal(values * UNIT, np.rint(values * UNIT))


def test_gumbel_does_not_depend_on_what_else_is_in_the_call():
    bits = words(*edge_bits())
    assert noise.gumbel(bits).tolist() == [float(noise.gumbel(words(b))[0]) for b in bits.tolist()]


def test_gumbel_values_follow_the_gumbel_distribution():
    """Over many keys: if each key's values follow it, the p-values of their tests are uniform."""
    keys = [noise.key(3, position, Purpose.TARGET) for position in range(60)]
    found = [stats.kstest(noise.gumbel(noise.vocabulary_bits(key, 20_000)), stats.gumbel_r.cdf).pvalue for key in keys]
    assert stats.kstest(found, stats.uniform.cdf).pvalue > 0.01


def test_the_noise_of_one_token_follows_the_distribution_over_positions():
    values = np.concatenate([noise.gumbel(noise.bits(noise.key(3, position, Purpose.TARGET), ids(7))) for position in range(5000)])
    assert stats.kstest(values, stats.gumbel_r.cdf).pvalue > 0.01
    assert abs(np.corrcoef(values[:-1], values[1:])[0, 1]) < 0.05


def test_uniform_is_the_upper_53_bits():
    assert noise.uniform(0) == 0.0
    assert noise.uniform(2**64 - 1) == 1 - 2.0**-53
    assert noise.uniform(2**63) == 0.5


@pytest.mark.parametrize("purpose", list(Purpose))
def test_uniform_numbers_are_uniform_over_positions(purpose):
    values = [noise.uniform(noise.key(5, position, purpose)) for position in range(5000)]
    assert stats.kstest(values, stats.uniform.cdf).pvalue > 0.01


def test_purposes_are_independent():
    columns = [[noise.uniform(noise.key(5, position, purpose)) for position in range(5000)] for purpose in Purpose]
    correlations = np.corrcoef(columns) - np.eye(len(Purpose))
    assert np.abs(correlations).max() < 0.05
