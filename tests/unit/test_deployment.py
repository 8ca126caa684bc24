"""What `deploy/` names is there: settings, commands, routes, variables; and its files agree with each other."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

import springtide
from springtide.api.routes import ROUTES
from springtide.app.home import read_settings
from springtide.cli.main import group
from springtide.settings.words import Sandbox, Settings

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE = (DEPLOY / "compose.yaml").read_text(encoding="utf-8")
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE)["services"]
CONTAINERFILE = (DEPLOY / "Containerfile").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
OURS = {name: one for name, one in SERVICES.items() if one["image"].startswith("springtide:")}
VARIABLE = re.compile(r"\$\{(\w+)(:?[-?])?([^}]*)\}")
SECRETS = {"POSTGRES_PASSWORD", "S3_ACCESS_KEY", "S3_SECRET_KEY", "JOBS_SECRET"}
WORD = "0123456789abcdef"  # stands for every secret


def manifests() -> list[dict[str, Any]]:
    """Every object of the Kubernetes manifests, the example of the secret among them."""
    folder = DEPLOY / "kubernetes"
    files = [path for path in sorted(folder.glob("*.yaml")) if path.name != "secret.yaml"]  # a real one is private
    texts = [path.read_text(encoding="utf-8") for path in [*files, folder / "secret.yaml.example"]]
    return [one for text in texts for one in yaml.safe_load_all(text)]


MANIFESTS = manifests()
WORKLOADS = {one["metadata"]["name"]: one for one in MANIFESTS if one["kind"] in ("Deployment", "StatefulSet")}


def named(kind: str, name: str = "springtide") -> dict[str, Any]:
    [found] = [one for one in MANIFESTS if (one["kind"], one["metadata"]["name"]) == (kind, name)]
    return found


def pod(workload: str) -> dict[str, Any]:
    found: dict[str, Any] = WORKLOADS[workload]["spec"]["template"]["spec"]
    return found


def container(workload: str) -> dict[str, Any]:
    [found] = pod(workload)["containers"]
    return dict(found)


COMMANDS = {f"compose: {name}": one["command"] for name, one in OURS.items()}
COMMANDS |= {f"kubernetes: {name}": container(name)["args"] for name in WORKLOADS}


def grace_of(command: list[str]) -> float:
    """What `--grace` is given in a worker's command."""
    return float(command[command.index("--grace") + 1])


def filled(text: str) -> str:
    """Compose's variables, with their defaults or a word."""
    return VARIABLE.sub(lambda found: found[3] if found[2] == ":-" else WORD, text)


def settings_of_compose(folder: Path) -> Settings:
    (folder / "springtide.toml").write_text((DEPLOY / "springtide.toml").read_text(encoding="utf-8"))
    environ = {name: filled(value) for name, value in OURS["server"]["environment"].items()}
    return read_settings(folder / "springtide.toml", environ=environ)


def settings_of_kubernetes(folder: Path) -> Settings:
    (folder / "springtide.toml").write_text(named("ConfigMap")["data"]["springtide.toml"])
    secrets = dict.fromkeys(named("Secret")["stringData"], WORD)
    environ = secrets | {"SPRINGTIDE_HOME__DATABASE": "postgresql://springtide:word@db.example/springtide"}
    return read_settings(folder / "springtide.toml", environ=environ)


@pytest.mark.parametrize("settings_of", [settings_of_compose, settings_of_kubernetes])
def test_the_settings_are_read_and_reach_beyond_one_machine(settings_of: Any, tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    assert settings.home.store.startswith("s3://")
    assert settings.home.database.startswith("postgresql://")
    assert settings.streams.url is not None
    assert settings.serve.host == "0.0.0.0"
    assert settings.jobs.secret is not None


@pytest.mark.parametrize("command", COMMANDS.values(), ids=list(COMMANDS))
def test_every_command_and_option_exists(command: list[str]) -> None:
    with group.make_context("springtide", list(command)) as above:
        name, found, arguments = group.resolve_command(above, list(command))
        assert found is not None
        found.make_context(name, arguments, parent=above).close()


def test_the_parts_are_the_same_in_both() -> None:
    assert {f"springtide-{name}" for name in OURS} == set(WORKLOADS)
    assert WORKLOADS["springtide-worker"]["spec"]["replicas"] == OURS["worker"]["deploy"]["replicas"] == 2


def test_all_run_the_image_of_this_version() -> None:
    images = {one["image"] for one in OURS.values()} | {container(name)["image"] for name in WORKLOADS}
    assert images == {f"springtide:{springtide.__version__}"}
    assert f"springtide:{springtide.__version__}" in CONTAINERFILE


def test_no_other_image_comes_without_a_version() -> None:
    assert all(re.search(r":\d", one["image"]) for one in SERVICES.values())


def test_the_image_holds_what_the_project_asks_for() -> None:
    assert f"torch=={pinned('torch')}" in CONTAINERFILE
    [extras] = re.findall(r"'\.\[([\w,]+)\]'", CONTAINERFILE)
    assert set(extras.split(",")) == {"postgres", "streams", "notify"} <= set(PROJECT["optional-dependencies"])
    assert f"ARG BASE={Sandbox().base_image}\n" in CONTAINERFILE
    assert 'ENTRYPOINT ["tini", "--", "springtide"]' in CONTAINERFILE


def pinned(package: str) -> str:
    [version] = [one.split("==")[1] for one in PROJECT["dependencies"] if one.startswith(f"{package}==")]
    return str(version)


def test_ports_agree(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    port = settings_of_compose(tmp_path).serve.port
    assert settings_of_kubernetes(tmp_path / "other").serve.port == port
    assert f"EXPOSE {port}\n" in CONTAINERFILE
    [published] = OURS["server"]["ports"]
    assert filled(published) == f"127.0.0.1:{port}:{port}"
    [listening] = container("springtide-server")["ports"]
    assert listening == {"name": "http", "containerPort": port}
    for name in ("springtide", "springtide-intake"):
        assert [one["targetPort"] for one in named("Service", name)["spec"]["ports"]] == ["http"]


def test_what_compose_connects_to_is_there(tmp_path: Path) -> None:
    settings = settings_of_compose(tmp_path)
    assert settings.streams.url is not None
    broker = urlsplit(settings.streams.url.get_secret_value()).netloc
    listeners = SERVICES["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"]
    assert f"INSIDE://{broker}" in listeners.split(",")
    store = urlsplit(OURS["worker"]["environment"]["AWS_ENDPOINT_URL"])
    assert store.hostname in SERVICES
    assert f":{store.port}/" in SERVICES["store"]["healthcheck"]["test"][-1]
    assert urlsplit(settings.home.store).netloc == SERVICES["store"]["environment"]["S3_BUCKET"]
    database = urlsplit(settings.home.database)
    given = SERVICES["postgres"]["environment"]
    assert database.hostname in SERVICES
    assert (database.username, database.path) == (given["POSTGRES_USER"], f"/{given['POSTGRES_DB']}")


def test_every_probe_asks_a_route_that_exists(tmp_path: Path) -> None:
    routes = {path for route in ROUTES for path in getattr(route, "paths", ())}
    probes = [value for key, value in container("springtide-server").items() if key.endswith("Probe")]
    assert {probe["httpGet"]["path"] for probe in probes} == {"/healthz", "/readyz"} <= routes
    assert {probe["httpGet"]["port"] for probe in probes} == {"http"}
    [asked] = re.findall(r"http://127\.0\.0\.1:(\d+)(/\w+)", str(OURS["server"]["healthcheck"]["test"]))
    assert asked == (str(settings_of_compose(tmp_path).serve.port), "/healthz")


def test_a_worker_is_left_more_time_than_it_leaves_its_run() -> None:
    assert OURS["worker"]["stop_grace_period"].endswith("s")
    assert float(OURS["worker"]["stop_grace_period"][:-1]) > grace_of(OURS["worker"]["command"]) + 5
    worker = container("springtide-worker")
    assert pod("springtide-worker")["terminationGracePeriodSeconds"] > grace_of(worker["args"]) + 5


def test_workers_have_hosts_of_their_own() -> None:
    assert not {"hostname", "network_mode", "container_name"} & OURS["worker"].keys()
    assert "hostNetwork" not in pod("springtide-worker")


def test_the_example_names_every_variable_and_no_secret() -> None:
    lines = (DEPLOY / "example.env").read_text(encoding="utf-8").splitlines()
    example = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    used = VARIABLE.findall(COMPOSE)
    assert example.keys() == {name for name, _, _ in used}
    assert {name for name, kind, _ in used if kind == ":?"} == SECRETS
    assert {name for name, value in example.items() if not value} == SECRETS
    assert {(name, default) for name, kind, default in used if kind == ":-"} <= example.items()
    assert set(named("Secret")["stringData"].values()) == {""}


@pytest.mark.parametrize("secret", ["deploy/.env", "deploy/kubernetes/secret.yaml"])
def test_a_filled_in_secret_does_not_get_into_git(secret: str) -> None:
    assert f"/{secret}" in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()


def test_nothing_of_ours_is_root_or_can_change_its_image() -> None:
    [user] = re.findall(r"^USER (\d+):\1$", CONTAINERFILE, re.MULTILINE)
    for name in WORKLOADS:
        around, within = pod(name)["securityContext"], container(name)["securityContext"]
        assert around["runAsNonRoot"] is True
        assert around["runAsUser"] == around["fsGroup"] == int(user)
        assert within["readOnlyRootFilesystem"] is True
        assert within["allowPrivilegeEscalation"] is False
        assert within["capabilities"] == {"drop": ["ALL"]}
    for one in OURS.values():
        assert one["read_only"] is True
        assert one["cap_drop"] == ["ALL"]
        assert "no-new-privileges:true" in one["security_opt"]


def test_only_workers_are_without_a_filter_of_system_calls() -> None:
    loose = {name for name, one in OURS.items() if "seccomp=unconfined" in one["security_opt"]}
    assert loose == {"worker"}
    kinds = {name: pod(name)["securityContext"]["seccompProfile"]["type"] for name in WORKLOADS}
    assert {name for name, kind in kinds.items() if kind != "RuntimeDefault"} == {"springtide-worker"}


def test_objects_of_kubernetes_find_each_other() -> None:
    assert {one["metadata"].get("namespace") for one in MANIFESTS if one["kind"] != "Namespace"} == {"springtide"}
    labels = [one["spec"]["template"]["metadata"]["labels"] for one in WORKLOADS.values()]
    for one in MANIFESTS:
        selector = one.get("spec", {}).get("selector")
        if selector is not None:
            assert selector.get("matchLabels", selector) in labels
    for name, one in WORKLOADS.items():
        referred = {next(iter(source.values()))["name"] for source in container(name)["envFrom"]}
        assert referred == {
            named("Secret")["metadata"]["name"],
            named("ConfigMap", "springtide-store")["metadata"]["name"],
        }
        volumes = {volume["name"] for volume in pod(name)["volumes"]}
        volumes |= {claim["metadata"]["name"] for claim in one["spec"].get("volumeClaimTemplates", [])}
        assert {mount["name"] for mount in container(name)["volumeMounts"]} == volumes
        [settings] = [volume["configMap"]["name"] for volume in pod(name)["volumes"] if "configMap" in volume]
        assert "springtide.toml" in named("ConfigMap", settings)["data"]


def test_settings_are_looked_for_where_they_are_mounted() -> None:
    [looked_for] = re.findall(r"SPRINGTIDE_CONFIG=(\S+)", CONTAINERFILE)
    for one in OURS.values():
        assert [config["target"] for config in one["configs"]] == [looked_for]
    for name in WORKLOADS:
        mounted = {mount["name"]: mount["mountPath"] for mount in container(name)["volumeMounts"]}
        assert f"{mounted['settings']}/springtide.toml" == looked_for
