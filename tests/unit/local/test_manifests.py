from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import InvalidInput
from common.schemas.events import EVALUATION_COMPLETED, EVALUATION_REQUESTED, PING, RUN_ADVANCE
from common.settings import FUNCTIONS, Settings
from local.manifests import BASE, Delivery, Destination, duration_s, read_wiring

if TYPE_CHECKING:
    from decimal import Decimal
    from pathlib import Path


def test_every_event_has_its_subscriber() -> None:
    """The base sends each of our events to the function that handles it, and every dead letter to tasks."""
    wiring = read_wiring()
    by_type = {trigger.attributes["type"]: trigger for trigger in wiring.triggers}
    assert {kind: trigger.subscriber.function for kind, trigger in by_type.items()} == {
        EVALUATION_REQUESTED: "evaluate",
        EVALUATION_COMPLETED: "aggregate",
        RUN_ADVANCE: "tasks",
        PING: "tasks",
    }
    assert {trigger.delivery.dead_letter for trigger in wiring.triggers} == {Destination("tasks", "/dead-letters")}


def test_deliveries_end_before_leases() -> None:
    """A delivery of items is given up before the reconciler may issue them again."""
    wiring = read_wiring()
    requested = next(trigger for trigger in wiring.triggers if trigger.attributes["type"] == EVALUATION_REQUESTED)
    lease_s = Settings.from_env(wiring.settings).lease_s
    assert requested.delivery.timeout_s is not None
    assert requested.delivery.timeout_s < lease_s


def test_every_function_is_there() -> None:
    """The base holds one Service for each function, with its source and target."""
    wiring = read_wiring()
    assert set(wiring.functions) == set(FUNCTIONS)
    for name, service in wiring.functions.items():
        assert service.env["FUNCTION_TARGET"] == name
        assert (BASE.parent.parent / service.env["FUNCTION_SOURCE"]).parent.name == name
        assert service.concurrency > 0


def test_reconciler_ticks_every_ten_seconds() -> None:
    """The reconciler's clock is read from the PingSource."""
    (tick,) = read_wiring().ticks
    assert tick.schedule.seconds == {0, 10, 20, 30, 40, 50}
    assert tick.data == b"{}"


@pytest.mark.parametrize(
    ("text", "seconds"), [("PT1S", 1), ("PT0.2S", 0.2), ("PT1M30S", 90), ("P1DT2H", 93600), ("PT10M", 600)]
)
def test_durations(text: str, seconds: float) -> None:
    """ISO 8601 durations become seconds."""
    assert duration_s(text) == pytest.approx(seconds)


@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 90), st.decimals(0, 90, places=2))
def test_durations_add_up(days: int, hours: int, minutes: int, seconds: Decimal) -> None:
    """A duration is the sum of its parts."""
    expected = days * 86400 + hours * 3600 + minutes * 60 + float(seconds)
    assert duration_s(f"P{days}DT{hours}H{minutes}M{seconds}S") == pytest.approx(expected)


@pytest.mark.parametrize("text", ["", "P", "PT", "1S", "PT٣S", "PT1", "PT-1S", "P1M"])
def test_refused_durations(text: str) -> None:
    """Empty, negative and calendar durations are errors."""
    with pytest.raises(InvalidInput):
        duration_s(text)


def test_waits_double_or_grow_evenly() -> None:
    """Exponential waits are delay * 2^attempt, linear ones delay * attempt, as in Knative."""
    assert [Delivery(backoff_delay_s=0.5).wait_s(n) for n in range(4)] == [0.5, 1, 2, 4]
    assert [Delivery(backoff_policy="linear", backoff_delay_s=0.5).wait_s(n) for n in range(4)] == [0, 0.5, 1, 1.5]


def _base(folder: Path, trigger: str, service: str = "evaluate") -> Path:
    (folder / "kustomization.yaml").write_text("resources: [all.yaml]\n")
    (folder / "all.yaml").write_text(
        "apiVersion: eventing.knative.dev/v1\nkind: Broker\nmetadata: {name: b}\n"
        "spec: {delivery: {retry: 3, backoffDelay: PT2S}}\n---\n"
        "apiVersion: serving.knative.dev/v1\nkind: Service\n"
        f"metadata: {{name: {service}}}\nspec: {{template: {{spec: {{containers: [{{image: x}}]}}}}}}\n---\n" + trigger
    )
    return folder


TRIGGER = """apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata: {name: t}
spec: {broker: b, subscriber: {ref: {name: evaluate}, uri: /events}}
"""


def test_a_trigger_without_delivery_has_the_brokers(tmp_path: Path) -> None:
    """A Trigger that says nothing about delivery falls back to its Broker, and matches every event without a filter."""
    (trigger,) = read_wiring(_base(tmp_path, TRIGGER)).triggers
    assert trigger.delivery == Delivery(retry=3, backoff_delay_s=2.0)
    assert trigger.subscriber == Destination("evaluate", "/events")
    assert trigger.matches({"type": "whatever"})


@pytest.mark.parametrize(
    ("trigger", "service", "named"),
    [
        (TRIGGER, "other", "evaluate"),
        ("kind: Trigger\napiVersion: eventing.knative.dev/v1\n", "evaluate", "spec"),
        (": :", "x", "YAML"),
    ],
)
def test_broken_manifests_say_where(tmp_path: Path, trigger: str, service: str, named: str) -> None:
    """A dangling reference, a missing field and broken YAML are errors that name the place."""
    with pytest.raises(InvalidInput, match=named):
        read_wiring(_base(tmp_path, trigger, service))


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    """Manifests that are not there are an error with their path."""
    with pytest.raises(InvalidInput, match=r"kustomization\.yaml"):
        read_wiring(tmp_path / "nowhere")
