"""The model of a cluster, against closed forms, the service's own rules, and what was measured."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.capacity.check import KNOWN, Measured, compare, measured_in
from bench.capacity.constants import Constants, Cost, measured
from bench.capacity.scenarios import MOVES, local, scenarios
from bench.capacity.simulation import TICK_S, Scaler, simulate
from bench.capacity.system import Pods, Scenario, System
from bench.capacity.text import amount, duration
from bench.capacity.waves import going_round

DEMANDS = st.dictionaries(st.sampled_from("abcdef"), st.floats(1e-4, 10), min_size=1)
ALL = {each.key: each for each in scenarios()}
KNOWN_NOW = Constants()


@given(DEMANDS, st.floats(0, 100))
def test_one_wave_waits_for_nobody(demands: dict[str, float], delay_s: float) -> None:
    """Alone, a wave takes what it needs, and no more."""
    assert going_round(demands, delay_s, 1).per_s == pytest.approx(1 / (delay_s + sum(demands.values())))


@given(DEMANDS, st.floats(0, 5))
def test_many_waves_go_as_fast_as_the_slowest_station(demands: dict[str, float], delay_s: float) -> None:
    """Throughput tends to the smallest of the stations' rates, and never exceeds it."""
    slowest = 1 / max(demands.values())
    many = going_round(demands, delay_s, 2000).per_s
    assert many <= slowest * (1 + 1e-9)
    assert many >= 0.98 * min(slowest, 2000 / (delay_s + sum(demands.values())))


@given(DEMANDS, st.floats(0, 100), st.integers(1, 60))
def test_littles_law_holds(demands: dict[str, float], delay_s: float, waves: int) -> None:
    """Throughput times the time of a round is the number of waves; no queue is longer than that."""
    found = going_round(demands, delay_s, waves)
    assert found.per_s * (delay_s + sum(found.residence_s.values())) == pytest.approx(waves)
    assert found.per_s <= min(1 / max(demands.values()), waves / (delay_s + sum(demands.values()))) * (1 + 1e-9)


def test_two_equal_stations_are_a_textbook_example() -> None:
    """Two waves over two equal stations: each is busy two thirds of the time."""
    assert going_round({"a": 1.0, "b": 1.0}, 0.0, 2).per_s == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("scenario", "items"),
    [
        (Scenario("", "", 100_000), 32),
        (Scenario("", "", 100_000, calls=1), 16),
        (Scenario("", "", 100_000, batch=10), 10),
        (Scenario("", "", 100_000, window=20_000), 50),
        (Scenario("", "", 300), 1),
        (Scenario("", "", 100_000, row_bytes=1_000_000), 4),
        (Scenario("", "", 100_000, window=20_000, runs=10), 50),
    ],
)
def test_events_are_as_large_as_the_service_makes_them(scenario: Scenario, items: int) -> None:
    """By the run's size, its share of the window, the setting, and the bytes of its rows."""
    assert System(scenario, KNOWN_NOW, 1, 1).event_items == items


@pytest.mark.parametrize("key", list(ALL))
def test_nothing_is_faster_than_what_it_goes_through(key: str) -> None:
    """No station is busy for more than all of the time, a model's limit holds, and a wave never exceeds the window."""
    found = simulate(ALL[key], KNOWN_NOW)
    assert max(found.system.utilisation().values()) <= 1 + 1e-9
    assert found.scenario.items / found.system.items_per_s <= found.wall_s
    if found.scenario.rpm:
        assert found.system.items_per_s * found.scenario.calls <= found.scenario.rpm / 60 * KNOWN_NOW.pace + 1e-6
    under_way = found.system.items_per_s * found.scenario.latency_s * found.scenario.calls
    assert under_way <= found.scenario.window


@pytest.mark.parametrize("known", KNOWN, ids=lambda each: each.name)
def test_measured_runs_come_out(known: Measured) -> None:
    """What was measured on one machine, the model says to within a fifth in time and a quarter in CPU."""
    found = compare(known, KNOWN_NOW)
    assert abs(found.error) < 0.2
    assert abs(found.cpu_error or 0.0) < 0.25


def test_a_bottleneck_is_what_pays_to_double() -> None:
    """With one event an item it is the broker; with few rows under way and slow judges the window; with plenty, the limit."""
    assert simulate(ALL["1m_1"], KNOWN_NOW).system.bottleneck()[0] == "broker"
    assert simulate(ALL["1m_judged_default"], KNOWN_NOW).system.bottleneck()[0] == "window"
    name, gain = simulate(ALL["100m_judged_rpm"], KNOWN_NOW).system.bottleneck()
    assert name == "model's limit"
    twice = simulate(replace(ALL["100m_judged_rpm"], rpm=1_200_000), KNOWN_NOW)
    assert twice.system.items_per_s / 9_900 - 1 == pytest.approx(gain, abs=0.05)
    assert {simulate(each, KNOWN_NOW).system.bottleneck()[0] for each in scenarios()} <= set(MOVES)


def test_a_run_is_four_quarters_of_its_window() -> None:
    """A wave is a quarter of a run's share, as the store asks for more; a slow judge leaves next to nothing of it unused."""
    slow = System(Scenario("", "", 100_000, calls=1, latency_s=10.0), KNOWN_NOW, 1, 1)
    assert slow.wave_items == 128
    assert System(Scenario("", "", 100_000, window=20_000, runs=10), KNOWN_NOW, 1, 1).wave_items == 500
    assert slow.items_per_s * 10.0 == pytest.approx(512, rel=0.05)


def test_one_run_ends_where_a_score_vector_does() -> None:
    """A run of more items than one string has room for cannot end; the same data in several runs can."""
    assert not simulate(ALL["100m_one_run"], KNOWN_NOW).ends
    assert simulate(ALL["100m"], KNOWN_NOW).ends


def test_the_worked_example_comes_out_as_the_page_says() -> None:
    """Two million rows with two judges, a wider window and a lower target: the provider's limit is what is left."""
    pods = replace(ALL["1m"].evaluate, target=14 * 0.7)
    mine = Scenario("", "", 2_000_000, 2, 1.5, 300_000, 8_000, row_bytes=2_000, evaluate=pods, aggregate=ALL["1m"].aggregate)
    found = simulate(mine, KNOWN_NOW)
    assert duration(found.wall_s) == "14 min"
    assert found.system.bottleneck()[0] == "model's limit"
    assert found.system.utilisation()["redis"] == pytest.approx(0.40, abs=0.01)
    assert found.system.evaluate_pods == 17


def test_twice_the_items_are_twice_the_redis() -> None:
    """Commands, bytes and events grow with the items; time too, but for the start."""
    once, twice = (simulate(local("", "", items), KNOWN_NOW) for items in (100_000, 200_000))
    for name in ("events", "redis_commands", "redis_wire_bytes", "redis_kept_bytes"):
        assert getattr(twice, name) == pytest.approx(2 * getattr(once, name))
    assert twice.wall_s == pytest.approx(2 * once.wall_s, rel=0.02)


def test_pods_are_added_as_requests_come() -> None:
    """The first pod is there after its start, as many follow as the target asks for, never more than there may be."""
    scaler = Scaler(Pods(holds=10, target=5, most=3), start_s=1.2)
    assert scaler.at(0.0) == 0
    scaler.tick(0.0, 4)
    assert scaler.at(1.0) == 0
    assert scaler.at(TICK_S) == 1
    scaler.tick(TICK_S, 100)
    assert scaler.at(2 * TICK_S) == 3
    scaler.tick(2 * TICK_S, 0)
    assert scaler.at(100.0) == 3


def test_measured_figures_replace_constants() -> None:
    """Two sizes of events give the cost of an item and of an event; one size scales what is known."""
    fitted = measured(KNOWN_NOW, {"event_cpu_ms_evaluate_1": 1.02, "event_cpu_ms_evaluate_50": 0.04})
    assert fitted.evaluate_ms.event == pytest.approx(1.0)
    assert fitted.evaluate_ms.item == pytest.approx(0.02)
    judged = measured(KNOWN_NOW, {f"event{of}_cpu_ms_evaluate_{n}": 1.0 + bool(of) for of in ("", "_model") for n in (1, 50)})
    assert judged.evaluate_ms.call == pytest.approx(1.0)
    now = KNOWN_NOW.redis_ms.of(items=1, events=1 / 32, waves=1 / 128, calls=0)
    halved = measured(KNOWN_NOW, {"cpu_ms_per_item_redis": now / 2, "bytes_per_result": 50.0})
    assert halved.redis_ms == KNOWN_NOW.redis_ms.scaled(0.5)
    assert halved.result_bytes == Cost(50.0, call=KNOWN_NOW.result_bytes.call)
    assert measured(KNOWN_NOW, {}) == KNOWN_NOW


def test_every_constant_says_where_it_is_from() -> None:
    """No number without what it is and its source."""
    assert all(each.metadata["what"] and each.metadata["source"] for each in fields(Constants))
    assert len(KNOWN_NOW.table()) == len(fields(Constants))


def test_runs_are_found_in_a_benchs_figures() -> None:
    """The largest run, the smaller ones, the one with two processes of evaluate, and the judged one."""
    figures = {"seconds": 20.0, "items_per_s": 500.0, "cpu_ms_per_item": 0.3, "seconds_1000": 3.0, "seconds_10000": 20.0}
    figures |= {"cpu_ms_per_item_1000": 0.4, "cpu_ms_per_item_10000": 0.3, "items_per_s_evaluate_2": 1000.0}
    figures |= {"model_seconds": 2.0, "model_items_per_s": 1000.0}
    figures |= {"model_cpu_ms_per_item": 1.3, "model_cpu_ms_per_item_simulator": 0.1}
    found = measured_in(figures)
    assert [each.name for each in found] == ["1k", "10k", "10k_2", "2k_judged"]
    assert found[-1].cpu_ms == pytest.approx(1.2)
    assert Measured(20_000, 5.0, 0.3, judged=True, latency_s=1.0, window=2048).name == "20k_judged_1s_window_2048"


@pytest.mark.parametrize(("seconds", "said"), [(46.4, "46 s"), (700, "12 min"), (40_000, "11.1 h")])
def test_durations_are_said_shortly(seconds: float, said: str) -> None:
    """In the unit that fits."""
    assert duration(seconds) == said


@pytest.mark.parametrize(("number", "said"), [(960.4, "960"), (1549, "1.5 k"), (228e6, "230 M"), (2.8e9, "2.8 G")])
def test_amounts_are_said_shortly(number: float, said: str) -> None:
    """To two digits, with a unit."""
    assert amount(number) == said
