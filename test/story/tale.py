"""What the scripts of this folder have in common: how they talk to the test, wait and compare."""

import json
import subprocess
import sys
import time

PATIENCE = 60  # seconds to wait for what has to come

device = {}  # what the test has told of it: bus, files (URL), smmd, smmctl, config, broker (a socket to make)


def hear():
    line = sys.stdin.readline()
    if not line:
        fail("the test has gone")
    device.update(json.loads(line))


def fail(text):
    print("FAILED", text, file=sys.stderr, flush=True)
    sys.exit(1)


def step(text):
    print("ok step", text, flush=True)


def same(what, got, want):
    if got != want:
        fail(f"{what}:\n  got    {got!r}\n  wanted {want!r}")


def holds(what, condition, seen):
    if not condition:
        fail(f"not so: {what}; seen {seen!r}")


def end_agent(how):
    """Has the agent ended and started again: restart, kill or reboot."""
    print("?", how, flush=True)
    hear()


def until(what, look, good, rest):
    """Looks until what is seen is good, with a rest between two looks, and returns it."""
    deadline = time.monotonic() + PATIENCE
    while True:
        seen = look()
        if good(seen):
            return seen
        if time.monotonic() > deadline:
            fail(f"waited in vain until {what}; seen at last {seen!r}")
        rest()


def file(name):
    return device["files"] + "/" + name


def smmctl(*args):
    """Runs smmctl and returns its exit status, what it printed, and its complaint."""
    p = subprocess.run([device["smmctl"], "--bus", device["bus"], "--json", *args],
                       stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=2 * PATIENCE, check=False)
    return p.returncode, json.loads(p.stdout) if p.returncode == 0 else None, p.stderr
