"""What kustomize makes of the base and the overlays, checked as a cluster would."""

from __future__ import annotations

import os
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
import yaml

from common.schemas.events import EVALUATION_COMPLETED, EVALUATION_REQUESTED, PING, RUN_ADVANCE
from common.settings import FUNCTIONS, Settings
from functions.tasks.dispatch import MAX_ITEMS
from tests.manifests.kustomize import KNATIVE, Manifest, build, container_of, env_of, of_kind, pod_of

if TYPE_CHECKING:
    from collections.abc import Iterator

SERVICE = "serving.knative.dev/v1/Service"
TRIGGER = "eventing.knative.dev/v1/Trigger"
BROKER = "eventing.knative.dev/v1/Broker"
WORKLOADS = ("Service", "Deployment", "StatefulSet")
ELSEWHERE = {"kafka-broker-config"}  # installed with Knative's Kafka broker
SECRETS = {"knudge-redis", "knudge-providers"}  # made by whoever deploys, never committed
PROBE_THREADS = 2
SHARE = 0.7  # of a target, at which pods are added
CALLS_IN_FLIGHT = 1000  # that one process of evaluate was measured with (docs/deploy.md)
MIB_EACH = {"evaluate": 10, "completions": 7.2}  # of a request with 1 MiB of text, at most
MIB_IDLE = 80


@cache
def schemas() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((Path(__file__).parent / "schemas.yaml").read_text())
    jsonschema.Draft202012Validator.check_schema(loaded)
    return loaded


def complaints(manifest: Manifest) -> list[str]:
    kind = f"{manifest['apiVersion']}/{manifest['kind']}".replace("/", "~1")
    schema = {**schemas(), "$ref": f"#/$defs/{kind}"}
    return [f"{error.json_path}: {error.message}" for error in jsonschema.Draft202012Validator(schema).iter_errors(manifest)]


def workloads(manifests: tuple[Manifest, ...]) -> Iterator[Manifest]:
    return (each for each in manifests if each["kind"] in WORKLOADS and "template" in each["spec"])


def references(node: Any) -> Iterator[tuple[str, str, str]]:
    """Every ``ref`` and ``config`` in a manifest as (apiVersion, kind, name)."""
    if isinstance(node, dict):
        if {"apiVersion", "kind", "name"} <= set(node):
            yield node["apiVersion"], node["kind"], node["name"]
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def test_every_manifest_is_valid(built: tuple[Manifest, ...]) -> None:
    """Every object has only fields that its API knows, with values it takes."""
    assert {f"{each['kind']}/{each['metadata']['name']}": found for each in built if (found := complaints(each))} == {}


def test_the_schemas_are_strict(local: tuple[Manifest, ...]) -> None:
    """A misspelt field, a pod-level security context and an alpha field are found, so silence means something."""
    service = next(each for each in local if each["apiVersion"] == "serving.knative.dev/v1")
    trigger = next(each for each in local if each["kind"] == "Trigger")
    spec = service["spec"]["template"]["spec"]
    for changed in ({**spec, "securityContext": {"runAsNonRoot": True}}, {**spec, "contanerConcurrency": 1}):
        assert complaints({**service, "spec": {"template": {**service["spec"]["template"], "spec": changed}}})
    delivery = {**trigger["spec"]["delivery"], "retryAfterMax": "PT30S"}
    assert complaints({**trigger, "spec": {**trigger["spec"], "delivery": delivery}})


def test_the_five_functions_are_there(built: tuple[Manifest, ...]) -> None:
    """One Knative Service a function, named as its folder, its target and its source."""
    services = of_kind(built, SERVICE)
    assert set(services) == set(FUNCTIONS)
    for name, service in services.items():
        env = env_of(service)
        assert (env["FUNCTION_TARGET"], env["FUNCTION_SOURCE"]) == (name, f"functions/{name}/main.py")


def test_every_reference_resolves(built: tuple[Manifest, ...]) -> None:
    """Triggers, dead-letter sinks, clock, binding and broker config name objects of the same build."""
    there = {(each["apiVersion"], each["kind"], each["metadata"]["name"]) for each in built}
    for manifest in built:
        for reference in references(manifest.get("spec", {})):
            assert reference in there or reference[2] in ELSEWHERE, (manifest["metadata"]["name"], reference)
    brokers = set(of_kind(built, BROKER))
    assert {trigger["spec"]["broker"] for trigger in of_kind(built, TRIGGER).values()} == brokers == {"knudge"}


def test_events_reach_their_function(built: tuple[Manifest, ...]) -> None:
    """Each type has one Trigger, with retries, growing waits, a timeout and the dead-letter sink at tasks."""
    routes = {}
    for trigger in of_kind(built, TRIGGER).values():
        spec = trigger["spec"]
        routes[spec["filter"]["attributes"]["type"]] = spec["subscriber"]["ref"]["name"]
        assert spec["delivery"]["retry"] >= 1
        assert spec["delivery"]["backoffPolicy"] == "exponential"
        sink = spec["delivery"]["deadLetterSink"]
        assert (sink["ref"]["name"], sink["uri"]) == ("tasks", "/dead-letters")
    assert routes == {
        EVALUATION_REQUESTED: "evaluate",
        EVALUATION_COMPLETED: "aggregate",
        RUN_ADVANCE: "tasks",
        PING: "tasks",
    }


def test_publishers_are_bound_to_the_broker(built: tuple[Manifest, ...]) -> None:
    """The functions that publish carry the label by which the SinkBinding gives them K_SINK; the others do not."""
    (binding,) = of_kind(built, "sources.knative.dev/v1/SinkBinding").values()
    wanted = binding["spec"]["subject"]["selector"]["matchLabels"].items()
    bound = {name for name, each in of_kind(built, SERVICE).items() if wanted <= each["metadata"]["labels"].items()}
    assert bound == {"tasks", "aggregate"}
    assert binding["spec"]["sink"]["ref"]["kind"] == "Broker"


def test_configuration_is_mounted_and_read(built: tuple[Manifest, ...]) -> None:
    """ConfigMaps that functions take settings and files from exist under exactly the (hashed) name that is used."""
    there = set(of_kind(built, "v1/ConfigMap"))
    for manifest in workloads(built):
        pod, container = pod_of(manifest), container_of(manifest)
        used = {each["configMapRef"]["name"] for each in container.get("envFrom", []) if "configMapRef" in each}
        used |= {volume["configMap"]["name"] for volume in pod.get("volumes", []) if "configMap" in volume}
        assert used <= there, manifest["metadata"]["name"]
        claims = {claim["metadata"]["name"] for claim in manifest["spec"].get("volumeClaimTemplates", [])}
        volumes = {volume["name"]: volume for volume in pod.get("volumes", [])}
        assert {mount["name"] for mount in container["volumeMounts"]} == set(volumes) | claims
        for mount in container["volumeMounts"]:
            assert mount.get("readOnly", False) is ("configMap" in volumes.get(mount["name"], {}))


def test_secrets_are_named_never_kept(built: tuple[Manifest, ...]) -> None:
    """Manifests hold no Secret, only the names of two; the providers' keys reach only those who call providers."""
    assert of_kind(built, "v1/Secret") == {}
    takers: dict[str, set[str]] = {}
    for name, service in of_kind(built, SERVICE).items():
        for source in container_of(service)["envFrom"]:
            if "secretRef" in source:
                takers.setdefault(source["secretRef"]["name"], set()).add(name)
    assert set(takers) == SECRETS
    assert takers["knudge-providers"] == {"evaluate", "completions"}
    assert takers["knudge-redis"] == set(FUNCTIONS)


def test_probes(built: tuple[Manifest, ...]) -> None:
    """Every function is probed where it says ready and alive, with the function's own port."""
    for service in of_kind(built, SERVICE).values():
        container = container_of(service)
        assert container["readinessProbe"]["httpGet"] == {"path": "/readyz"}
        assert container["livenessProbe"]["httpGet"] == {"path": "/livez"}


def test_one_pod_holds_what_it_is_given(built: tuple[Manifest, ...]) -> None:
    """Concurrency, threads and timeouts of a function agree, with two threads to spare for probes."""
    for name, service in of_kind(built, SERVICE).items():
        pod, env = pod_of(service), env_of(service)
        assert int(env["CLOUD_RUN_TIMEOUT_SECONDS"]) == pod["timeoutSeconds"]
        if "THREADS" in env:
            assert int(env["THREADS"]) == pod["containerConcurrency"] + PROBE_THREADS, name
        else:
            assert Settings.from_env(env).max_concurrency == pod["containerConcurrency"], name


def test_a_pod_has_memory_for_what_it_holds(built: tuple[Manifest, ...]) -> None:
    """As many requests of 1 MB as a pod is sent at once fit its limit; so does what it has when idle its request."""
    services = of_kind(built, SERVICE)
    for name, each_mib in MIB_EACH.items():
        resources = container_of(services[name])["resources"]
        held = pod_of(services[name])["containerConcurrency"]
        assert MIB_IDLE + held * each_mib <= _mib(resources["limits"]["memory"]), name
        assert _mib(resources["requests"]["memory"]) >= MIB_IDLE, name


def _mib(quantity: str) -> int:
    return int(quantity[:-2]) * {"Mi": 1, "Gi": 1024}[quantity[-2:]]


def test_scaling(overlay: tuple[Manifest, ...]) -> None:
    """Bounds are in order, a target stays within what one pod holds, and evaluate scales on concurrency from zero."""
    for service in of_kind(overlay, SERVICE).values():
        scaling = service["spec"]["template"]["metadata"]["annotations"]
        low, high = (int(scaling[f"autoscaling.knative.dev/{bound}-scale"]) for bound in ("min", "max"))
        assert 0 <= low <= high
        concurrency = pod_of(service)["containerConcurrency"]
        assert float(scaling.get("autoscaling.knative.dev/target", concurrency)) <= concurrency
    evaluate = of_kind(overlay, SERVICE)["evaluate"]["spec"]["template"]["metadata"]["annotations"]
    assert evaluate["autoscaling.knative.dev/metric"] == "concurrency"
    assert evaluate["autoscaling.knative.dev/min-scale"] == "0"


def test_only_what_users_call_is_public(built: tuple[Manifest, ...]) -> None:
    """Functions that nothing outside calls are reachable inside the cluster only."""
    inside = {
        name
        for name, service in of_kind(built, SERVICE).items()
        if service["metadata"]["labels"].get("networking.knative.dev/visibility") == "cluster-local"
    }
    assert inside == {"evaluate", "health"}


@pytest.mark.parametrize("name", ["local", "production"])
def test_settings_are_ones_we_read(name: str, tmp_path: Path) -> None:
    """The ConfigMaps hold settings that parse, addresses in the overlay's own namespace, and a valid gateway file."""
    manifests = build(KNATIVE / "overlays" / name)
    maps = of_kind(manifests, "v1/ConfigMap")
    (config,) = (each for key, each in maps.items() if key.startswith("knudge-config-"))
    (gateway,) = (each for key, each in maps.items() if key.startswith("knudge-gateway-"))
    path = tmp_path / "gateway.yaml"
    path.write_text(gateway["data"]["gateway.yaml"])
    settings = Settings.from_env({**config["data"], "KNUDGE_CONFIG": str(path)})
    assert settings.gateway_config().providers
    assert settings.auth
    (namespace,) = of_kind(manifests, "v1/Namespace")
    assert {each["metadata"].get("namespace", namespace) for each in manifests} == {namespace}
    for value in config["data"].values():
        for inside in re.findall(r"//[a-z]+\.([a-z-]+)\.svc", value):
            assert inside == namespace


def test_one_image_everywhere(overlay: tuple[Manifest, ...]) -> None:
    """All workloads of an overlay run the same image, which is not pulled again where it is."""
    containers = [container_of(manifest) for manifest in workloads(overlay)]
    assert len({container["image"] for container in containers}) == 1
    assert {container["imagePullPolicy"] for container in containers} == {"IfNotPresent"}


def test_the_local_overlay_needs_nothing_from_outside(local: tuple[Manifest, ...]) -> None:
    """In-memory broker that lets publishers go, store and simulator of our own image, no volume claims, no storage class."""
    broker = of_kind(local, BROKER)["knudge"]
    assert broker["metadata"]["annotations"]["eventing.knative.dev/broker.class"] == "MTChannelBasedBroker"
    channel = of_kind(local, "v1/ConfigMap")[broker["spec"]["config"]["name"]]["data"]["channel-template-spec"]
    assert yaml.safe_load(channel) == {"apiVersion": "messaging.knative.dev/v1", "kind": "InMemoryChannel"}
    assert {container_of(each)["image"] for each in workloads(local)} == {"dev.local/knudge:latest"}
    redis = of_kind(local, "apps/v1/StatefulSet")["redis"]
    assert "volumeClaimTemplates" not in redis["spec"]
    assert {volume["name"] for volume in pod_of(redis)["volumes"]} == {"data", "tmp"}


def test_the_local_namespace_is_restricted(overlay: tuple[Manifest, ...]) -> None:
    """The namespace enforces Kubernetes' strictest pod security standard."""
    (namespace,) = of_kind(overlay, "v1/Namespace").values()
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_production(production: tuple[Manifest, ...]) -> None:
    """Kafka's broker with its config, Redis by Secret or not at all, HTTPS for users, warm pods where people wait."""
    broker = of_kind(production, BROKER)["knudge"]
    assert broker["metadata"]["annotations"] == {"eventing.knative.dev/broker.class": "Kafka"}
    assert broker["spec"]["config"]["name"] in ELSEWHERE
    assert not any(each["kind"] in {"StatefulSet", "Deployment"} for each in production)
    services = of_kind(production, SERVICE)
    for service in services.values():
        (redis,) = (each["secretRef"] for each in container_of(service)["envFrom"] if "redis" in str(each))
        assert redis == {"name": "knudge-redis", "optional": False}
    for name in ("tasks", "aggregate", "completions"):
        assert services[name]["metadata"]["annotations"]["networking.knative.dev/http-protocol"] == "redirected"
        assert services[name]["spec"]["template"]["metadata"]["annotations"]["autoscaling.knative.dev/min-scale"] == "1"
    scaling = services["evaluate"]["spec"]["template"]["metadata"]["annotations"]
    aimed_at = float(scaling["autoscaling.knative.dev/target"]) * SHARE
    assert aimed_at * MAX_ITEMS <= CALLS_IN_FLIGHT


def test_the_store_component_keeps_its_data(tmp_path: Path) -> None:
    """The Redis component alone claims a volume, and its address reaches every function."""
    manifests = build(_over(tmp_path, components=["components/redis"]))
    redis = of_kind(manifests, "apps/v1/StatefulSet")["redis"]
    assert [claim["metadata"]["name"] for claim in redis["spec"]["volumeClaimTemplates"]] == ["data"]
    (config,) = (each for key, each in of_kind(manifests, "v1/ConfigMap").items() if key.startswith("knudge-config-"))
    assert config["data"]["KNUDGE_REDIS_URL"] == "redis://redis:6379/0"
    assert not [found for each in manifests for found in complaints(each)]


def test_names_are_rewritten_wherever_they_stand(tmp_path: Path) -> None:
    """With a prefix, Triggers, sinks, clock and binding follow their targets: the name references we ship are complete."""
    manifests = build(_over(tmp_path, prefix="staging-"))
    there = {(each["apiVersion"], each["kind"], each["metadata"]["name"]) for each in manifests}
    assert all(name.startswith("staging-") for *_, name in there)
    found = [reference for each in manifests for reference in references(each.get("spec", {}))]
    assert len(found) >= 10
    assert set(found) <= there
    assert {trigger["spec"]["broker"] for trigger in of_kind(manifests, TRIGGER).values()} == {"staging-knudge"}


def _over(folder: Path, *, components: list[str] | None = None, prefix: str = "") -> Path:
    """A kustomization in `folder` over the base."""
    relative = os.path.relpath(KNATIVE, folder)
    kustomization: dict[str, Any] = {"resources": [f"{relative}/base"]}
    if components:
        kustomization["components"] = [f"{relative}/{component}" for component in components]
    if prefix:
        kustomization["namePrefix"] = prefix
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    return folder
