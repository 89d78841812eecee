"""A program that stands in for `potluck`: FAKE_POTLUCK says what it does, FAKE_POTLUCK_LOG is told of every call."""

import json
import os
import signal
import sys
import time

NQUEENS = {
    "n": 8,
    "algorithm": "backtracking",
    "solutions": "92",
    "nodes": "2056",
    "seconds": 0.25,
    "workers": 1,
    "verified": True,
    "unique": "12",
    "job": 1,
    "visited": "1028",
    "checksum": "18446744073709551615",
    "nodes_per_second": 8224.0,
    "solutions_per_second": 368.0,
    "disagreements": 0,
    "verify": 0,
    "verified_share": 0,
    "verified_slices": 0,
    "contributions": [{"worker": "local-1", "slices": 2, "cost": 10.0, "percent": 100.0, "busy_seconds": 0.2}],
    "added_later": "is ignored",
}
TRAIN = {
    "model": "mnist-cnn",
    "parameters": 1199882,
    "method": "synchronous, batch 128",
    "test_accuracy": 0.98,
    "test_loss": None,
    "train_accuracy": 0.97,
    "train_loss": 0.1,
    "epochs": 1,
    "steps": 469,
    "images": 60000,
    "stopped_by": "",
    "seconds": 60.5,
    "images_per_second": 991.7,
    "bytes_sent": 1,
    "bytes_received": 2,
    "workers": 1,
    "job": 3,
    "message": "",
    "history": [
        {
            "epoch": 1,
            "step": 469,
            "train_loss": 0.1,
            "train_accuracy": 0.97,
            "test_loss": None,
            "test_accuracy": 0.98,
            "learning_rate": 1.0,
            "seconds": 60.0,
        }
    ],
    "contributions": [],
    "model_sha256": "ab",
    "files": ["model.safetensors"],
}


def note():
    environment = {name: os.environ[name] for name in ("POTLUCK_JOIN", "POTLUCK_OWNER") if name in os.environ}
    call = {"args": sys.argv[1:], "environment": environment, "stdin": sys.stdin.read()}
    with open(os.environ["FAKE_POTLUCK_LOG"], "a") as log:
        log.write(json.dumps(call) + "\n")


def say(text):
    sys.stderr.write(text)
    sys.stderr.flush()


def until_signalled(code):
    """Says that it can be interrupted, and leaves with the first signal."""
    say("potluck: running\n")
    got = signal.sigwait({signal.SIGINT, signal.SIGTERM})
    say(f"potluck: left at signal {got}\n")
    sys.exit(code)


def main():
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    note()
    behaviour = os.environ.get("FAKE_POTLUCK", "")
    if behaviour == "fail":
        say("potluck: first one thing\npotluck: N is 99; allowed is a whole number from 1 to 32\n")
        sys.exit(2)
    if behaviour == "loader":
        say(f"{sys.argv[0]}: /lib/x86_64-linux-gnu/libc.so.6: version `GLIBC_2.34' not found (required by potluck)\n")
        sys.exit(1)
    if behaviour == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(60)
    if behaviour == "garbage":
        print("no JSON")
        return
    if behaviour == "wait":
        until_signalled(130)
    if behaviour == "drain":
        until_signalled(0)
    if behaviour == "progress":
        say("\r1 % done\x1b[K\r50 % done\x1b[K\r\x1b[Kpotluck: half of it\n\r99 % done\x1b[K\r\x1b[K")
    command = sys.argv[1] if len(sys.argv) > 1 else ""
    if command == "nqueens":
        print(json.dumps(NQUEENS))
    elif command == "train":
        print(json.dumps(TRAIN))
    elif command == "--version":
        print("potluck 1.2.3")
    elif command == "serve":
        state = next(arg.partition("=")[2] for arg in sys.argv if arg.startswith("--state="))
        for name in ("worker.join", "admin.join"):
            with open(os.path.join(state, name), "w") as file:
                file.write("potluck://127.0.0.1:1#" + name)
        print("potluck://127.0.0.1:1#secret", flush=True)
        until_signalled(0)


main()
