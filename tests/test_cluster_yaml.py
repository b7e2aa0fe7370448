"""The cluster file: Ray accepts it, nobody gets in without the token, and nothing of it is open to the world."""

from __future__ import annotations

import copy
import json
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

import ingest.cluster  # noqa: F401  it settles the token before Ray is imported, in whatever order tests are collected

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "ray_cluster.yaml").read_text(encoding="utf-8")
SECRETS = "/home/firstlook/secrets"
STARTS = ("head_start_ray_commands", "worker_start_ray_commands")


@pytest.fixture
def asked() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(TEXT)
    return loaded


@pytest.fixture
def prepared(asked: dict[str, Any]) -> dict[str, Any]:
    """As `ray up` sees it: what the file leaves out is filled from Ray's defaults."""
    from ray.autoscaler._private.util import prepare_config

    filled: dict[str, Any] = prepare_config(copy.deepcopy(asked))
    return filled


def validate(config: dict[str, Any]) -> None:
    from ray.autoscaler._private.util import validate_config

    validate_config(config)


def start_of(config: dict[str, Any], which: str) -> tuple[dict[str, str], list[str]]:
    """The variables and the words of the one command that starts Ray."""
    (command,) = [shlex.split(one) for one in config[which] if "ray start" in one]
    first = next(place for place, word in enumerate(command) if "=" not in word)
    return dict(word.split("=", 1) for word in command[:first]), command[first:]


def test_ray_accepts_it(prepared: dict[str, Any]) -> None:
    validate(prepared)


def test_ray_would_notice_a_misspelt_key(prepared: dict[str, Any]) -> None:
    prepared["available_node_types"]["cpu_decode"]["max_worker"] = 3
    with pytest.raises(jsonschema.ValidationError, match="max_worker"):
        validate(prepared)


def test_there_are_a_head_a_decode_pool_and_a_gpu_pool(prepared: dict[str, Any]) -> None:
    pools = prepared["available_node_types"]
    assert prepared["head_node_type"] == "head"
    assert pools.keys() == {"head", "cpu_decode", "gpu_encode"}
    assert {name: (pool["min_workers"], pool["max_workers"]) for name, pool in pools.items()} == {
        "head": (0, 0),
        "cpu_decode": (0, 32),
        "gpu_encode": (0, 8),
    }
    assert pools["cpu_decode"]["max_workers"] + pools["gpu_encode"]["max_workers"] <= prepared["max_workers"]
    assert prepared["idle_timeout_minutes"] <= 15, "a pool that nobody uses has to go"


def test_only_the_decode_pool_has_cpus_to_give(prepared: dict[str, Any]) -> None:
    resources = {name: pool["resources"] for name, pool in prepared["available_node_types"].items()}
    assert resources == {"head": {"CPU": 0}, "cpu_decode": {"CPU": 32}, "gpu_encode": {"CPU": 0, "GPU": 1}}
    assert "--num-cpus=0" in start_of(prepared, STARTS[0])[1]


@pytest.mark.parametrize("which", STARTS)
def test_ray_starts_in_token_mode_with_a_token_from_a_mounted_file(prepared: dict[str, Any], which: str) -> None:
    variables, words = start_of(prepared, which)
    assert words[:2] == ["ray", "start"]
    assert variables == {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": f"{SECRETS}/auth_token"}
    assert SECRETS in prepared["file_mounts"]
    assert prepared[which][0] == f"test -s {SECRETS}/auth_token", "without a token nothing may be started"


def test_the_token_and_passwords_are_never_in_the_file() -> None:
    assert not re.search(r"RAY_AUTH_TOKEN\b(?!_PATH)", TEXT)
    assert not re.search(r"\b[0-9a-f]{32,}\b", TEXT)
    assert not re.search(r"://[^/\s]*:[^/\s]*@", TEXT), "a password in a URL"
    assert not re.search(r"AKIA[0-9A-Z]{16}|SECRET_ACCESS_KEY", TEXT)


def test_the_dashboard_answers_on_the_loopback_alone(prepared: dict[str, Any]) -> None:
    words = start_of(prepared, STARTS[0])[1]
    assert "--dashboard-host=127.0.0.1" in words
    assert "--include-dashboard=true" in words, "it takes the jobs"
    assert not any("dashboard" in word for word in start_of(prepared, STARTS[1])[1])


def test_nothing_is_open_to_the_world(prepared: dict[str, Any]) -> None:
    everything = json.dumps(prepared)
    assert "0.0.0.0" not in everything
    assert "::/0" not in everything
    assert prepared["provider"]["use_internal_ips"] is True


def test_ray_never_makes_a_security_group_of_its_own(prepared: dict[str, Any]) -> None:
    """The one it makes takes SSH from everywhere, whatever the file says beside that."""
    for name, pool in prepared["available_node_types"].items():
        assert pool["node_config"]["SecurityGroupIds"], name
        assert pool["node_config"]["SubnetIds"], name
    assert "security_group" not in prepared["provider"]


def test_disks_are_encrypted_and_credentials_take_a_session(prepared: dict[str, Any]) -> None:
    for name, pool in prepared["available_node_types"].items():
        assert all(disk["Ebs"]["Encrypted"] for disk in pool["node_config"]["BlockDeviceMappings"]), name
        assert pool["node_config"]["MetadataOptions"]["HttpTokens"] == "required", name


def test_workers_are_not_told_where_the_ledger_is(asked: dict[str, Any]) -> None:
    docker = asked["docker"]
    assert any("FIRSTLOOK_LEDGER_URL" in option for option in docker["head_run_options"])
    assert not any("FIRSTLOOK" in option for option in docker["run_options"])
    assert "worker_run_options" not in docker


def test_containers_have_no_privileges(asked: dict[str, Any]) -> None:
    assert {"--cap-drop=ALL", "--security-opt=no-new-privileges"} <= set(asked["docker"]["run_options"])


def test_nobody_but_root_could_change_the_image_and_nobody_runs_as_root() -> None:
    steps = [line for line in (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines() if line]
    last = max(place for place, line in enumerate(steps) if line.startswith("FROM"))
    user = next(place for place, line in enumerate(steps) if line == "USER firstlook")
    assert user > last
    assert not any(line.startswith(("USER", "ADD ", "COPY ")) for line in steps[user + 1 :])
    assert any("--uid 1000" in line for line in steps)


def test_the_image_installs_by_hash_only() -> None:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    installs = [part for line in text.splitlines() for part in line.split("&&") if re.search(r"\bpip install\b", part)]
    assert installs
    for one in installs:
        assert "--require-hashes" in one or one.split()[-1] == ".", one


def test_what_builds_packages_is_in_the_lock() -> None:
    wanted = re.search(r"wanted = /\^\(([^)]*)\)==/", (ROOT / "Dockerfile").read_text(encoding="utf-8"))
    assert wanted is not None
    locked = {line.split("==")[0] for line in (ROOT / "requirements.lock").read_text().splitlines() if "==" in line}
    assert set(wanted.group(1).split("|")) <= locked


def test_the_image_takes_in_nothing_but_the_program() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*"
    allowed = {line[1:] for line in lines if line.startswith("!")}
    assert allowed == {
        *("encoders", "index", "ingest", "service"),
        *("pyproject.toml", "requirements.lock", "aws.lock", "README.md", "LICENSE"),
    }


def test_the_shell_understands_every_command(prepared: dict[str, Any]) -> None:
    commands = [*prepared["initialization_commands"], *prepared[STARTS[0]], *prepared[STARTS[1]]]
    for command in commands:
        subprocess.run(["bash", "-n", "-c", command], check=True)
