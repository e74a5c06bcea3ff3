"""The recipes are what the schemas of their systems and our command line take; none of them was run on a cluster."""

import re
import shlex
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from cavga.cli.main import parse
from cavga.cli.outcome import BAD_DATA, IN_PART
from cavga.errors import UsageError
from cavga.scale.work_list import shard_of

RECIPES = Path(__file__).parents[2] / "recipes"
MANIFESTS = sorted(RECIPES.glob("kubernetes/*.yaml"))


def documents(path: Path) -> list[dict]:
    return list(yaml.safe_load_all(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_manifests_are_what_kubernetes_takes(path):
    for document in documents(path):
        kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)


def test_a_wrong_manifest_would_be_noticed():
    (job,) = documents(RECIPES / "kubernetes/score-job.yaml")
    job["spec"]["completions"] = "many"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(job, kubernetes_validate.latest_version(), strict=True)


def test_the_job_tries_again_what_can_end_otherwise():
    (job,) = documents(RECIPES / "kubernetes/score-job.yaml")
    rules = job["spec"]["podFailurePolicy"]["rules"]
    assert rules[0]["onExitCodes"]["values"] == [UsageError.exit_code, BAD_DATA, IN_PART]
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert rules[0]["onExitCodes"]["containerName"] == container["name"]
    line = container["args"][0].removeprefix("exec ").replace("$JOB_COMPLETION_INDEX", "7")
    args = parse(shlex.split(line)[1:])
    assert shard_of(args.shard).count == job["spec"]["completions"]
    assert args.max_bad_share == 0.001


def test_the_deployments_command_and_probes_are_the_servers():
    deployment = documents(RECIPES / "kubernetes/serve-deployment.yaml")[0]
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert parse(container["command"][1:]).run
    routes = "".join(path.read_text(encoding="utf-8") for path in (RECIPES.parent / "src/cavga/service").glob("*.py"))
    for probe in ("readinessProbe", "livenessProbe"):
        assert f'"{container[probe]["httpGet"]["path"]}"' in routes


def test_the_array_has_as_many_tasks_as_shards():
    script = (RECIPES / "slurm/score.sbatch").read_text(encoding="utf-8")
    command = re.search(r"exec (cavga .*)", script.replace("\\\n", ""))
    assert command is not None
    args = parse(shlex.split(command[1].replace("$SLURM_ARRAY_TASK_ID", "99").replace("$SLURM_CPUS_PER_TASK", "1"))[1:])
    assert shard_of(args.shard).count == 100
    assert "--array=0-99%" in script


def test_the_image_runs_as_nobody_in_particular():
    lines = (RECIPES / "docker/Dockerfile").read_text(encoding="utf-8").splitlines()
    users = [line.split()[1] for line in lines if line.startswith("USER ")]
    assert users == ["10001"]
    assert not any("[train" in line for line in lines)
