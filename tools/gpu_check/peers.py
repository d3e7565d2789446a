"""The same steps by other programs: all in one process of the Python that is installed here."""

import json
import os
import sys

from gpu_check.commands import Ended

OVERRUN = 75  # measure.py had to end itself, and goes on from its lines


def parse_lines(text):
    """Lines of JSON, of which the last may be cut off."""
    found = []
    for line in text.splitlines():
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return found


def measure(check, call, known):
    command = [
        sys.executable,
        check.bundle / "peers/measure.py",
        "--device",
        check.settings.device,
        "--seconds",
        check.settings.peer_seconds,
        "--threads",
        "2" if check.settings.device == "cpu" else "8",
        "--filter",
        check.settings.peers,
        "--members",
        *check.settings.members,
    ]
    lines = check.scratch / "peers-known.jsonl"
    lines.write_text("".join(json.dumps(line) + "\n" for line in known))
    # Not the bundle's libraries: torch brings its own.
    return check.command(
        [*command, "--after", lines],
        f"peers-{call}.log",
        stderr_log=check.scratch / f"peers-{call}.err",
        variables={
            "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
            "LD_LIBRARY_PATH": os.environ.get("LD_LIBRARY_PATH", ""),
            "PYTHONDONTWRITEBYTECODE": "1",
        },
    )


def peers(check):
    known, ended, call = [], Ended(OVERRUN, ""), 0
    while ended.code == OVERRUN and check.left_s() > 5:
        ended = measure(check, call, known)
        known += parse_lines(ended.output)
        call += 1
    measured = sum("step_s" in line for line in known)
    figures = {"measured": measured, "left out": len(known) - measured, "lines": known}
    if measured == 0 and known and all("skipped" in line for line in known):
        return "skipped", {"reason": known[0]["skipped"], **figures}
    if ended.code is None:
        figures["the last one"] = "ran out of time"
    # Out of time, or with a peer missing, what was measured still counts.
    return ("passed" if measured else "out of time" if ended.code is None else "failed"), figures
