"""The generated notebook in a real Jupyter kernel, against a real coordinator that dies, drains and comes back.

Runs in the Python of build/python-notebooks, which has no Potluck installed and is started outside the repository.
"""

import json
import os
import queue
import signal
import sys
import tempfile
import threading
import unittest

import harness
from harness import wait_until

try:
    import jupyter_client
    import nbclient
    import nbformat
except ImportError as missing:
    print(f"skipped: {missing}; deploy/setup.sh --ci makes build/python-notebooks, which has it")
    sys.exit(harness.SKIPPED)

QUEENS = {16: "14772512", 18: "666090624"}


class Kernel:
    """A kernel by hand: what nbclient does not offer, to interrupt and to kill."""

    def __init__(self, home, join):
        # An absolute path: the kernel runs in another folder. Nobody else can listen or speak.
        sockets = tempfile.mkdtemp(prefix="kernel-", dir=home)
        self.manager = jupyter_client.KernelManager(kernel_name="python3", transport="ipc", ip=f"{sockets}/ipc")
        self.variables = kernel_environment(home, join)
        self.manager.start_kernel(env=self.variables, cwd=str(home))
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=harness.PATIENCE)
        self.text = ""
        self.over = threading.Event()
        self.reader = None

    def run(self, code):
        """Starts the code; what it writes is collected in `text`."""
        request = self.client.execute(code, allow_stdin=False)
        self.over.clear()
        self.reader = threading.Thread(target=self._read, args=(request,), daemon=True)
        self.reader.start()

    def _read(self, request):
        while not self.over.is_set():
            try:
                message = self.client.get_iopub_msg(timeout=0.2)
            except queue.Empty:
                continue
            if message["parent_header"].get("msg_id") != request:
                continue
            if message["msg_type"] == "stream":
                self.text += message["content"]["text"]
            elif message["msg_type"] == "error":
                self.text += "\n".join(message["content"]["traceback"])
            elif message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
                self.over.set()

    def wait_for(self, text):
        wait_until(f"{text!r} in what the cell says: {self.text}", lambda: text in self.text)

    def wait_for_end(self):
        if not self.over.wait(harness.PATIENCE):
            raise AssertionError(f"the cell did not end: {self.text}")

    def interrupt(self):
        self.manager.interrupt_kernel()

    def close(self, kill=False):
        self.over.set()
        if self.reader is not None:
            self.reader.join()
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=kill)


def kernel_environment(home, join):
    """No repository, no Potluck: nothing but this Python."""
    return harness.environment(
        home,
        POTLUCK_JOIN=join,
        PATH=os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]]),
        IPYTHONDIR=home / "ipython",
        JUPYTER_DATA_DIR=home / "jupyter",
        JUPYTER_RUNTIME_DIR=home / "runtime",
    )


class NotebookTest(harness.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        home = cls.scratch / "jupyter"
        home.mkdir()
        for name in ("IPYTHONDIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR"):
            os.environ[name] = str(home / name.lower())

    def setUp(self):
        self.home = self.new_home()
        self.addCleanup(self.end_workers)
        self.addCleanup(self.end_jobs)

    def end_jobs(self):
        """Those of a test that failed would keep the next one's worker busy."""
        for job in self.coordinator.ask("jobs", "list")["jobs"]:
            if job["state"] == "running":
                self.coordinator.ask("jobs", "cancel", str(job["job"]))

    def count(self, n, *flags):
        client = self.coordinator.count(n, *flags)
        self.addCleanup(client.stdout.close)
        self.addCleanup(client.wait)
        self.addCleanup(client.kill)
        return client

    def end_workers(self):
        for process in harness.programs_in(self.home):
            os.kill(process, signal.SIGKILL)

    def notebook(self, *flags):
        file = self.home / "worker.ipynb"
        self.coordinator.cell("--platform", "jupyter", *flags, "-o", file)
        notebook = nbformat.read(file, as_version=4)
        nbformat.validate(notebook)
        return notebook

    def execute(self, notebook):
        """Executes it with nbclient; all that its cells wrote."""
        nbclient.NotebookClient(
            notebook, timeout=harness.PATIENCE, kernel_name="python3", resources={"metadata": {"path": str(self.home)}}
        ).execute(env=kernel_environment(self.home, self.coordinator.join))
        self.assert_no_secret(nbformat.writes(notebook))
        return "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", []))

    def kernel(self):
        kernel = Kernel(self.home, self.coordinator.join)
        self.addCleanup(kernel.close, True)
        return kernel

    def last_job(self):
        return self.coordinator.ask("jobs", "list")["jobs"][-1]

    def committed(self):
        job = self.last_job()
        return job["committed"] if job["state"] == "running" else 0

    def finish(self, client, n):
        output, _ = client.communicate(timeout=harness.PATIENCE)
        result = json.loads(output)
        self.assertEqual(result["solutions"], QUEENS[n])
        return result

    def test_executed_by_nbclient_it_joins_computes_and_leaves(self):
        client = self.count(16)
        output = self.execute(self.notebook("--exit-when-idle", "2"))
        result = self.finish(client, 16)
        self.assertIn("downloading potluck-", output)
        self.assertRegex(output, r"potluck: .*join", output)
        self.assertEqual(len(result["contributions"]), 1, result)
        self.assertEqual(harness.programs_in(self.home), [])

    def test_it_outlives_the_death_of_the_coordinator(self):
        client = self.count(18, "--algorithm", "backtracking")
        texts = []
        notebook = self.notebook("--exit-when-idle", "5")
        runner = threading.Thread(target=lambda: texts.append(self.execute(notebook)))
        runner.start()
        wait_until("the notebook's worker has handed something in", self.committed)
        self.coordinator.kill()
        self.coordinator.start()
        self.assertEqual(self.last_job()["state"], "running", "it was over before the coordinator died")
        self.finish(client, 18)
        runner.join(harness.PATIENCE)
        self.assertTrue(texts, "the notebook did not end")

    def test_an_interrupt_drains(self):
        client = self.count(18, "--algorithm", "backtracking")
        kernel = self.kernel()
        kernel.run(self.coordinator.cell())
        wait_until("the notebook's worker has handed something in", self.committed)
        kernel.interrupt()
        kernel.wait_for_end()
        self.assertIn("leaving once what is being computed is handed in", kernel.text)
        self.assertNotIn("Traceback", kernel.text)
        self.assert_no_secret(kernel.text)
        self.assertEqual(harness.programs_in(self.home), [])
        self.assertEqual([worker for worker in self.coordinator.workers() if worker["leases"] > 0], [])
        self.assertEqual(self.last_job()["state"], "running", "it was over before the interrupt")
        kernel.run(self.coordinator.cell("--exit-when-idle", "2"))  # And it may come back.
        self.finish(client, 18)
        kernel.wait_for_end()

    def test_a_restarted_kernel_makes_no_second_worker(self):
        client = self.count(18, "--algorithm", "backtracking")
        first = self.kernel()
        first.run(self.coordinator.cell())
        wait_until("the notebook's worker has handed something in", self.committed)
        (old,) = harness.programs_in(self.home)
        first.close(kill=True)
        second = self.kernel()
        second.run(self.coordinator.cell("--exit-when-idle", "2"))
        wait_until(
            "a new worker, and no other, runs",
            lambda: harness.programs_in(self.home) and old not in harness.programs_in(self.home),
        )
        self.assertEqual(len(harness.programs_in(self.home)), 1)
        result = self.finish(client, 18)
        second.wait_for_end()
        self.assertEqual(len(result["contributions"]), 1, result)  # One installation, whichever process.

    def test_a_second_notebook_takes_the_place_of_the_first(self):
        client = self.count(18, "--algorithm", "backtracking")
        first, second = self.kernel(), self.kernel()
        first.run(self.coordinator.cell())
        wait_until("the notebook's worker has handed something in", self.committed)
        (old,) = harness.programs_in(self.home)
        second.run(self.coordinator.cell("--exit-when-idle", "2"))
        first.wait_for_end()
        wait_until("only the new worker runs", lambda: old not in harness.programs_in(self.home))
        self.finish(client, 18)
        second.wait_for_end()
        self.assertNotIn("Traceback", first.text + second.text)


if __name__ == "__main__":
    unittest.main()
