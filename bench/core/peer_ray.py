"""The peer of bench_core that needs a cluster: Ray's Python API on one node of this machine, which it starts and ends.

usage: peer_ray.py       prints JSON lines like bench_core --json itself: median and best of a few rounds
"""
import json
import os
import statistics
import time

os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # else Ray warns of a future default
import numpy
import ray

ROUNDS = 5
TASKS = 3000


def emit(metric, values, unit, more_is_better=False):
    best = max(values) if more_is_better else min(values)
    print(json.dumps({"bench": "core", "metric": metric, "value": float(f"{statistics.median(values):.5g}"),
                      "best": float(f"{best:.5g}"), "unit": unit, "peer": "Ray (Python)"}), flush=True)


def seconds(work):
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def rates(work, count):
    work()
    return [count / seconds(work) for _ in range(ROUNDS)]


def round_trips(work, calls=200):
    work()
    return [statistics.median(seconds(work) for _ in range(calls)) * 1e6 for _ in range(ROUNDS)]


def expect(answer, expected):
    if answer != expected:
        raise SystemExit(f"error: Ray answered {answer} where {expected} was expected")


@ray.remote
def one():
    return 1


@ray.remote
def size_of(array):
    return array.nbytes


@ray.remote
class Counter:
    def __init__(self):
        self.n = 0

    def add(self, k):
        self.n += k

    def get(self):
        return self.n


@ray.remote(num_cpus=0)
class Player:
    def meet(self, peer):
        self.peer = peer

    def bounce(self, times):
        return sum(ray.get(self.peer.back.remote(1)) for _ in range(times))

    def back(self, k):
        return k


def memory_of_session():
    """The proportional share of every process of Ray's session, in MB; the driver's own with them."""
    session = ray._private.worker.global_worker.node.get_session_dir_path()
    total = 0
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                command = file.read().decode(errors="replace")
            if session not in command and "ray::" not in command and int(pid) != os.getpid():
                continue
            with open(f"/proc/{pid}/smaps_rollup") as file:
                total += sum(int(line.split()[1]) for line in file if line.startswith("Pss:"))
        except (OSError, ValueError):
            continue
    return total / 1e3


def main():
    begin = time.perf_counter()
    ray.init(num_cpus=2, include_dashboard=False, object_store_memory=600_000_000, logging_level="error", log_to_driver=False)
    expect(ray.get(one.remote()), 1)
    emit("start_to_first_result_us", [(time.perf_counter() - begin) * 1e6], "us")
    emit("idle_memory_mb", [memory_of_session()], "MB")
    expect(sum(ray.get([one.remote() for _ in range(TASKS)])), TASKS)
    emit("process_tasks_per_s", rates(lambda: ray.get([one.remote() for _ in range(TASKS)]), TASKS), "tasks/s", True)
    emit("process_round_trip_us", round_trips(lambda: ray.get(one.remote())), "us")

    def wait_for_each():
        left = [one.remote() for _ in range(1000)]
        while left:
            _, left = ray.wait(left)

    emit("wait_1000_ms", [seconds(wait_for_each) * 1e3 for _ in range(3)], "ms")

    counter = Counter.options(num_cpus=0).remote()

    def count():
        for _ in range(TASKS):
            counter.add.remote(1)
        ray.get(counter.get.remote())

    emit("actor_messages_per_s", rates(count, TASKS), "messages/s", True)
    expect(ray.get(counter.get.remote()), TASKS * (ROUNDS + 1))
    a, b = Player.remote(), Player.remote()
    ray.get(a.meet.remote(b))
    expect(ray.get(a.bounce.remote(10)), 10)
    emit("actor_round_trips_per_s", rates(lambda: ray.get(a.bounce.remote(500)), 500), "round trips/s", True)

    array = numpy.ones(100_000_000, numpy.uint8)
    refs, puts = [], []
    for _ in range(ROUNDS):
        refs.clear()
        puts.append(seconds(lambda: refs.append(ray.put(array))) * 1e3)
    emit("put_100mb_ms", puts, "ms")
    expect(ray.get(size_of.remote(refs[0])), array.nbytes)
    emit("view_100mb_other_process_us", round_trips(lambda: ray.get(size_of.remote(refs[0])), 50), "us")
    ray.shutdown()


if __name__ == "__main__":
    main()
