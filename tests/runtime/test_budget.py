"""Equal device time as a number of steps."""

from metainit.runtime import budget


def test_steps_are_timed_in_turn_and_the_least_counts(monkeypatch):
    """Seconds by a clock that the steps set themselves."""
    monkeypatch.setattr(budget, "TIMED_STEPS", 4)
    now, calls = [0.0], []
    monkeypatch.setattr(budget.time, "perf_counter", lambda: now[0])

    def step(name, seconds):
        def run():
            calls.append(name)
            now[0] += seconds + 0.2 * (len(calls) == 3)  # something else was running

        return run

    quick, slow = step("quick", 0.25), step("slow", 0.5)
    assert budget.seconds_each(quick, slow) == [0.25, 0.5]
    assert calls[:6] == ["quick", "slow"] * 3
    calls.clear()
    monkeypatch.setattr(budget, "TIMED_SECONDS", 0.0)
    budget.seconds_each(slow)
    assert len(calls) == 1 + 3  # the first one is not timed


def test_the_measured_ratio_is_kept(tmp_path):
    path = tmp_path / "budget.json"
    assert budget.steps_per_iteration(path, 0.4, 0.1, store=False) == 4
    assert not path.exists()
    assert budget.steps_per_iteration(path, 0.4, 0.1, store=True) == 4
    assert budget.steps_per_iteration(path, 0.9, 0.1, store=True) == 4
