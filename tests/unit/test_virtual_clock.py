"""A simulated machine: what it charges, in which order, and what becomes of work that nobody waits for."""

import asyncio

import pytest

from airdraft.clock import Work
from airdraft.errors import SettingsError
from orchestration.simulation import Cost, MachineProfile, VirtualClock, run

MACHINE = MachineProfile(
    name="one", verify=Cost(source="assumed", text="made up for tests", fixed_s=1.0, per_token_s=0.1, per_sequence_s=0.01)
)


def test_a_computation_takes_what_the_profile_says_and_really_happens() -> None:
    async def main() -> tuple[str, float, float]:
        clock = VirtualClock(MACHINE)
        answer = await clock.compute(Work("verify", tokens=5, sequences=2), lambda: "rows")
        return answer, clock.now(), clock.busy_s

    answer, now_s, busy_s = run(main())
    assert answer == "rows" and now_s == busy_s == pytest.approx(1.52)


def test_one_at_a_time_in_the_order_of_asking() -> None:
    async def main() -> list[tuple[str, float]]:
        clock, seen = VirtualClock(MACHINE), []

        async def work(name: str) -> None:
            started = await clock.compute(Work("verify", tokens=10), clock.now)
            seen.append((name, round(started, 6)))

        await asyncio.gather(work("a"), work("b"), work("c"))
        return seen

    assert run(main()) == [("a", 0.0), ("b", 2.01), ("c", 4.02)]


def test_two_machines_work_at_once() -> None:
    async def main() -> float:
        one, other = VirtualClock(MACHINE), VirtualClock(MACHINE)
        work = Work("verify", tokens=10)
        await asyncio.gather(one.compute(work, int), other.compute(work, int))
        return one.now()

    assert run(main()) == pytest.approx(2.01)


def test_what_a_computation_raises_comes_out_when_its_time_is_over() -> None:
    async def main() -> float:
        clock = VirtualClock(MACHINE)
        with pytest.raises(ZeroDivisionError):
            await clock.compute(Work("verify", tokens=10), lambda: 1 // 0)
        return clock.now()

    assert run(main()) == pytest.approx(2.01)


def test_a_begun_computation_occupies_the_machine_although_nobody_waits_for_it() -> None:
    async def main() -> tuple[float, float]:
        clock = VirtualClock(MACHINE)
        abandoned = asyncio.create_task(clock.compute(Work("verify", tokens=10), int))
        queued = asyncio.create_task(clock.compute(Work("verify", tokens=10), int))
        await asyncio.sleep(0.5)
        abandoned.cancel()
        queued.cancel()
        await asyncio.wait({abandoned, queued})
        return await clock.compute(Work("verify", tokens=10), clock.now), clock.busy_s

    started_s, busy_s = run(main())
    assert started_s == pytest.approx(2.01) and busy_s == pytest.approx(4.02)


def test_no_tokens_cost_nothing() -> None:
    async def main() -> float:
        clock = VirtualClock(MACHINE)
        await clock.compute(Work("verify", tokens=0), int)
        return clock.now()

    assert run(main()) == 0.0


def test_work_without_figures_is_refused_in_words() -> None:
    async def main() -> None:
        await VirtualClock(MACHINE).compute(Work("draft", tokens=1), int)

    with pytest.raises(SettingsError, match=r"'one' has no figures for 'draft' \(it has: verify\)"):
        run(main())
