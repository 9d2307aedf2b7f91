"""The runs that are asked about, and what moves each bottleneck."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

from bench.capacity.system import Pods, Scenario
from local.manifests import BASE

if TYPE_CHECKING:
    from pathlib import Path

_PRODUCTION = BASE.parent / "overlays" / "production"
_SCALING = "autoscaling.knative.dev/"
_WIDE = 20_000
_RPM = 600_000
_M = 1_000_000
SIMULATOR_S = 0.02  # what the judge of ``bin/bench scale`` takes

MOVES = {
    "tasks": "several runs at once: one process at a time issues a run's items; larger events",
    "evaluate": "more pods: a lower target, a higher max-scale",
    "aggregate": "more pods: a lower target, a higher max-scale; larger events",
    "broker": "larger events; more cores for Knative's data plane or Kafka's dispatcher",
    "redis": "larger events; a faster core; a Redis Cluster, which gives the runs and the gateway a node each",
    "redis: run": "the data in several runs, which lie on different nodes",
    "redis: gateway": "a second installation: all limits and budgets are decided on one node",
    "model's limit": "a higher limit, or a second provider",
    "window": "`KNUDGE_RUN_WINDOW`",
    "cores": "a cluster",
}


def scenarios() -> tuple[Scenario, ...]:
    """Every scenario of the documentation, over the pods of the overlay ``production``."""
    pods: dict[str, Any] = {"evaluate": _pods("evaluate"), "aggregate": _pods("aggregate")}
    wide: dict[str, Any] = {"window": _WIDE, "batch": 50, **pods}
    ten: dict[str, Any] = {**wide, "window": 10 * _WIDE, "runs": 10}
    judged: dict[str, Any] = {"calls": 1}
    return (
        local("10k_local", "10k checks, 2 cores", 10_000),
        local("100k_local", "100k checks, 2 cores", 100_000),
        local("100k_local_2", "the same, 2 processes of `evaluate`", 100_000, evaluate=2),
        Scenario("1m_1", "1M checks, 1 an event", _M, batch=1, **pods),
        Scenario("1m_10", "1M checks, 10 an event", _M, batch=10, **pods),
        Scenario("1m_default", "1M checks, as it comes", _M, **pods),
        Scenario("1m", "1M checks, 50 an event, window 20,000", _M, **wide),
        Scenario("1m_judged_1", "1M judged, 1 an event", _M, batch=1, **judged, **pods),
        Scenario("1m_judged_10", "1M judged, 10 an event", _M, batch=10, **judged, **pods),
        Scenario("1m_judged_default", "1M judged, as it comes", _M, **judged, **pods),
        Scenario("1m_judged", "1M judged, 50 an event, window 20,000", _M, **judged, **wide),
        Scenario("1m_judged_rpm", "the same, 600k rpm", _M, rpm=_RPM, **judged, **wide),
        Scenario("1m_judged_rpm_cluster", "the same, Redis Cluster", _M, rpm=_RPM, redis_nodes=3, **judged, **wide),
        Scenario("100m_one_run", "100M checks, 50, window 20,000", 100 * _M, **wide),
        Scenario("100m", "100M checks, 10 runs, Redis Cluster of 10", 100 * _M, redis_nodes=10, **ten),
        Scenario("100m_judged", "100M judged, 10 runs, Redis Cluster of 11", 100 * _M, redis_nodes=11, **judged, **ten),
        Scenario("100m_judged_rpm", "the same, 600k rpm", 100 * _M, rpm=_RPM, redis_nodes=11, **judged, **ten),
    )


def local(key: str, name: str, items: int, *, evaluate: int = 1, judged: bool = False) -> Scenario:
    """A run of ``bin/bench scale`` on the two cores that its figures in the documentation come from."""
    pods: dict[str, Any] = {"evaluate": _always(evaluate), "aggregate": _always(1)}
    return Scenario(key, name, items, calls=int(judged), latency_s=SIMULATOR_S, cores=2, **pods)


def _always(count: int) -> Pods:
    return Pods(holds=10_000, target=1.0, most=count, least=count)


def _pods(function: str) -> Pods:
    """As the manifests of the base and the overlay have it."""
    template = _read(BASE / f"{function}.yaml")["spec"]["template"]
    over = _read(_PRODUCTION / f"{function}.yaml")["spec"]["template"]
    holds = template["spec"]["containerConcurrency"]
    notes = {**template["metadata"]["annotations"], **over["metadata"]["annotations"]}
    share = float(notes[f"{_SCALING}target-utilization-percentage"]) / 100
    least, most = (int(notes[f"{_SCALING}{bound}-scale"]) for bound in ("min", "max"))
    return Pods(holds, float(notes.get(f"{_SCALING}target", holds)) * share, most, least)


def _read(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))
