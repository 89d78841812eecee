"""Measures how soon a pasted cell computes: from its start to the first lease and to the first result.

    POTLUCK_BINARY=build/release/potluck python3 tests/notebooks/first_unit.py [RUNS]

A coordinator on loopback waits with a job of 20 queens; each run has an empty cache, then one run has the last one's.
"""

import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import harness


def measure(coordinator, home):
    """Seconds to the first lease, to the first result of a worker that the cell starts."""
    before = coordinator.ask("jobs", "list")["jobs"][-1]["committed"]
    script = home / "cell.py"
    script.write_text(coordinator.cell())
    start = time.monotonic()
    cell = subprocess.Popen(
        [sys.executable, script],
        env=harness.environment(home, POTLUCK_JOIN=coordinator.join),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    harness.wait_until("a lease", lambda: any(worker["leases"] > 0 for worker in coordinator.workers()))
    leased = time.monotonic() - start
    harness.wait_until("a result", lambda: coordinator.ask("jobs", "list")["jobs"][-1]["committed"] > before)
    done = time.monotonic() - start
    cell.send_signal(signal.SIGINT)
    cell.wait(harness.PATIENCE)
    return leased, done


def main():
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    scratch = pathlib.Path(tempfile.mkdtemp(prefix="potluck-first-unit-"))
    coordinator = harness.Coordinator(scratch, harness.bundle_folder(scratch))
    try:
        coordinator.start()
        client = coordinator.count(20, "--algorithm", "backtracking")
        harness.wait_until("the job is there", lambda: coordinator.ask("jobs", "list")["jobs"])
        wheel = next(pathlib.Path(coordinator.bundle).glob("*.whl"))
        print(f"{wheel.name}: {wheel.stat().st_size / 1e6:.1f} MB")
        for run in range(runs + 1):
            if run < runs:
                home = scratch / f"home-{run}"
                home.mkdir()
            leased, done = measure(coordinator, home)
            cache = "an empty cache" if run < runs else "the last run's cache"
            print(f"{cache}: first lease after {leased:.2f} s, first result after {done:.2f} s", flush=True)
        os.kill(client.pid, signal.SIGKILL)
        client.wait()
        client.stdout.close()
    finally:
        coordinator.stop()
        shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    main()
