"""The manifests of deploy/ keep to KubeRay's v1 API, as far as they use it, and name the Ray that is built with."""
import copy
import os
import re
import subprocess
import sys
import unittest

import yaml

from mobula_program import SOURCE

try:
    import jsonschema  # comes with Ray
except ImportError as missing:
    if "ray" not in os.environ.get("MOBULA_TEST_WITHOUT", "").split(","):
        raise
    print("skipped: ray (MOBULA_TEST_WITHOUT)", file=sys.stderr)
    raise unittest.SkipTest("ray (MOBULA_TEST_WITHOUT)") from missing

TEXT = {"type": "string", "minLength": 1}
COUNT = {"type": "integer", "minimum": 0}
QUANTITY = {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?(m|Ki|Mi|Gi|Ti)?$"}


def fields(required=(), **properties):
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


def list_of(items):
    return {"type": "array", "items": items, "minItems": 1}


AMOUNTS = {"type": "object", "additionalProperties": QUANTITY}
PORT = fields(["containerPort"], containerPort={"type": "integer", "minimum": 1, "maximum": 65535}, name=TEXT)
CONTAINER = fields(["name", "image"], name=TEXT, image=TEXT, ports=list_of(PORT),
                   resources=fields(limits=AMOUNTS, requests=AMOUNTS))
TEMPLATE = fields(["spec"], spec=fields(["containers"], containers=list_of(CONTAINER)))
# Ray's own flags, without the dashes; their values are strings.
START = {"type": "object", "additionalProperties": TEXT}
CLUSTER = fields(
    ["rayVersion", "headGroupSpec"], rayVersion=TEXT, authOptions=fields(["mode"], mode={"enum": ["disabled", "token"]}),
    headGroupSpec=fields(["rayStartParams", "template"], rayStartParams=START, template=TEMPLATE),
    workerGroupSpecs=list_of(fields(["groupName", "replicas", "rayStartParams", "template"], groupName=TEXT, replicas=COUNT,
                                    minReplicas=COUNT, maxReplicas=COUNT, rayStartParams=START, template=TEMPLATE)))
JOB = fields(["entrypoint", "rayClusterSpec"], entrypoint=TEXT, shutdownAfterJobFinishes={"type": "boolean"},
             ttlSecondsAfterFinished=COUNT, rayClusterSpec=CLUSTER)
NAME = fields(["name"], name={"type": "string", "pattern": "^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"})
KINDS = {"RayCluster": CLUSTER, "RayJob": JOB}


def check(manifest):
    schema = fields(["apiVersion", "kind", "metadata", "spec"], apiVersion={"const": "ray.io/v1"},
                    kind={"enum": list(KINDS)}, metadata=NAME, spec=KINDS.get(manifest.get("kind"), {}))
    jsonschema.Draft202012Validator(schema).validate(manifest)
    cluster = manifest["spec"].get("rayClusterSpec", manifest["spec"])
    for group in cluster.get("workerGroupSpecs", []):
        if not group.get("minReplicas", 0) <= group["replicas"] <= group.get("maxReplicas", group["replicas"]):
            raise jsonschema.ValidationError(f"{group['groupName']}: replicas lie outside their bounds")
    return cluster


class Manifests(unittest.TestCase):
    def test_keep_to_the_api_and_to_our_version(self):
        version = re.search(r"^ray==([0-9.]+)", (SOURCE / "tools/requirements/ray.txt").read_text(), re.M)[1]
        files = sorted((SOURCE / "deploy").glob("*.yaml"))
        self.assertEqual([file.name for file in files], ["raycluster.yaml", "rayjob.yaml"])
        for file in files:
            with self.subTest(file.name):
                cluster = check(yaml.safe_load(file.read_text()))
                self.assertEqual(cluster["rayVersion"], version)
                self.assertEqual(set(re.findall(r"mobula-ray:(\S+)", file.read_text())), {version})

    def test_the_check_refuses_what_the_api_does(self):
        good = yaml.safe_load((SOURCE / "deploy/raycluster.yaml").read_text())
        check(good)

        def broken(change):
            manifest = copy.deepcopy(good)
            change(manifest)
            with self.assertRaises(jsonschema.ValidationError):
                check(manifest)
        broken(lambda m: m.update(apiVersion="ray.io/v2"))
        broken(lambda m: m["spec"].pop("headGroupSpec"))
        broken(lambda m: m["spec"]["headGroupSpec"]["rayStartParams"].update({"num-cpus": 0}))
        broken(lambda m: m["spec"]["workerGroupSpecs"][0].update(replicas=99))
        broken(lambda m: m["spec"]["workerGroupSpecs"][0].update(relicas=1))

    def test_the_slurm_script_is_one_the_shell_reads(self):
        script = SOURCE / "deploy/slurm.sbatch"
        done = subprocess.run(["bash", "-n", str(script)], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)


if __name__ == "__main__":
    unittest.main()
