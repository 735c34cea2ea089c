"""Runs the contract suite on a Ray cluster of two nodes on this machine, and ends nodes under it."""
import os
import subprocess
import unittest

from mobula_program import BIN, BUILD
from ray_cluster import Cluster, end_session, require_ray


def setUpModule():
    require_ray(BUILD)


class ContractOnRay(unittest.TestCase):
    def test_every_test_of_the_suite(self):
        with Cluster(cpus=1) as cluster:
            spare = cluster.add_node(cpus=2, resources={"spare": 2})
            environment = {**cluster.environment, "MOBULA_CONTRACT_RAY": f"ray://{cluster.address}"}
            for name in (name for name in ("MOBULA_ENGINE", "MOBULA_ISOLATION") if name in environment):
                del environment[name]
            command = [str(BIN / "test_contract"), "--gtest_filter=" + os.environ.get("MOBULA_CONTRACT_FILTER", "*/ray")]
            output = []
            with open(cluster.folder / "stderr.txt", "w+b") as errors:
                with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
                                      text=True, errors="replace") as suite:
                    for line in suite.stdout:
                        output.append(line)
                        if line.strip() == "REPLACE NODE":
                            end_session(spare)
                            cluster.processes.remove(spare)
                            spare = cluster.add_node(cpus=2, resources={"spare": 2})
                            suite.stdin.write("\n")
                            suite.stdin.flush()
                errors.seek(0)
                text = "".join(output)
                print(text)
                self.assertEqual(suite.returncode, 0, text[-6000:] + errors.read().decode(errors="replace")[-4000:])
            self.assertRegex(text, r"\[  PASSED  \] \d\d tests")


if __name__ == "__main__":
    unittest.main()
