"""The package as pip installed it, with its own program (pip_test.sh). POTLUCK_WHEEL is the wheel that it came from."""

import hashlib
import json
import os
import select
import signal
import subprocess
import sys
import sysconfig
import unittest
import zipfile
from pathlib import Path

import potluck
from potluck import _bundle

WHEEL = Path(os.environ["POTLUCK_WHEEL"])
SCRIPT = Path(sysconfig.get_path("scripts")) / "potluck"


def digest(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


class InstalledTest(unittest.TestCase):
    def test_the_program_is_the_packages_own_and_of_the_wheels_version(self):
        self.assertEqual(Path(potluck.program()).parent.parent.parent, Path(sysconfig.get_path("platlib")))
        self.assertEqual(WHEEL.name.split("-")[1], potluck.version())

    def test_it_counts_on_this_machine(self):
        lines = []
        result = potluck.nqueens(12, local_workers=1, algorithm="backtracking", progress=lines.append)
        self.assertEqual((result.solutions, result.verified, result.nodes), (14200, True, 856188))

    def test_the_console_script_counts(self):
        done = subprocess.run(
            [SCRIPT, "nqueens", "12", "--local-workers", "1", "--json"], stdout=subprocess.PIPE, check=True, timeout=120
        )
        self.assertEqual(json.loads(done.stdout)["solutions"], "14200")

    def test_a_sentence_of_the_program_is_the_exceptions(self):
        with self.assertRaises(potluck.PotluckError) as caught:
            potluck.nqueens(99, progress=False)
        self.assertEqual(str(caught.exception), 'N is "99"; allowed is a whole number from 1 to 32')
        self.assertEqual(caught.exception.code, 2)

    def test_local_workers_and_a_coordinator_exclude_each_other(self):
        with self.assertRaisesRegex(potluck.PotluckError, "--local-workers .* allowed is either it or --coordinator"):
            potluck.nqueens(8, coordinator="admin.join", local_workers=2, progress=False)

    def test_a_coordinator_a_worker_and_a_job(self):
        with potluck.serve() as table:
            environment = {**os.environ, "POTLUCK_JOIN": table.join_string}
            worker = subprocess.Popen([SCRIPT, "join", "--name", "guest"], env=environment, stderr=subprocess.PIPE)
            try:
                result = potluck.nqueens(12, coordinator=table, progress=False)
                self.assertEqual(result.solutions, 14200)
                self.assertEqual([each.worker for each in result.contributions], ["guest"])
            finally:
                worker.send_signal(signal.SIGTERM)
                errors = worker.communicate(timeout=60)[1]
            self.assertEqual(worker.returncode, 0, errors)

    def test_it_trains(self):
        digits, out = Path("digits").absolute(), Path("run").absolute()
        subprocess.run(
            [SCRIPT, "data", "synth", digits, "--samples", "256", "--test", "64"],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        result = potluck.train("mnist-cnn", digits, output=out, local_workers=1, max_steps=2, batch=64, progress=False)
        self.assertEqual(result.steps, 2)
        self.assertEqual(len(result.history), 1)
        self.assertTrue((out / "model.safetensors").is_file())

    def test_the_bundle_made_of_the_installed_files_is_the_wheel_again(self):
        folder = Path(_bundle.folder())
        made = list(folder.iterdir())
        self.assertEqual([path.name for path in made], [WHEEL.name])
        with zipfile.ZipFile(WHEEL) as wheel, zipfile.ZipFile(made[0]) as again:
            self.assertEqual(wheel.namelist(), again.namelist())
            self.assertIsNone(again.testzip())
        self.assertEqual(digest(made[0]), digest(WHEEL))
        self.assertEqual(_bundle.folder(), str(folder))

    def test_a_kernel_that_is_killed_takes_what_it_started_with_it(self):
        code = "import potluck; t = potluck.serve(); print(t._command.process.pid, flush=True); input()"
        owner = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        coordinator = int(owner.stdout.readline())
        watch = os.pidfd_open(coordinator)
        owner.kill()
        owner.communicate()
        signal.alarm(60)  # Not a timed assertion: without it a failure would hang.
        select.select([watch], [], [])
        signal.alarm(0)


if __name__ == "__main__":
    unittest.main()
