"""Programs run with a time limit, which ends them and all that they started."""

import contextlib
import os
import pathlib
import re
import signal
import subprocess
import time
from dataclasses import dataclass


@dataclass
class Ended:
    code: int | None  # None: it ran out of time
    output: str
    refused: str = ""  # the line by which it was seen to refuse
    errors: str = ""  # standard error where it was kept apart

    @property
    def why(self):
        """Figures of a step that it ended: what it said last."""
        lines = self.output.strip().splitlines()
        return {"last line": lines[-1]} if lines else {}

    def tail(self, n_lines=40, n_characters=4000):
        """The end of all it said."""
        lines = (self.output + self.errors).rstrip().splitlines()
        return "\n".join(lines[-n_lines:])[-n_characters:]


def status_of(code):
    return {None: "out of time", 0: "passed", 77: "skipped"}.get(code, "failed")


def worst(statuses):
    """The status of a step of several parts, of which some may be skipped."""
    return next((status for status in ("failed", "out of time", "passed") if status in statuses), "skipped")


def end_group(process):
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def run(arguments, log: pathlib.Path, seconds, environment=None, folder=None, refusal=None, stderr_log=None):
    """Output goes to the log, of which a last line is there even if the program is ended. refusal: a regular
    expression; once a line of the output matches, the program is ended: it will not do what it was started for."""
    if seconds <= 0:
        return Ended(None, "")
    with open(log, "w") as file, open(stderr_log or os.devnull, "w") as errors:
        process = subprocess.Popen(
            [str(word) for word in arguments],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=errors if stderr_log else subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code, refused = wait(process, log, time.monotonic() + seconds, refusal)
        finally:
            end_group(process)
    said = stderr_log.read_text(errors="replace") if stderr_log else ""
    return Ended(code, log.read_text(errors="replace"), refused, said)


def wait(process, log, end, refusal):
    """(exit code or None when it ran out of time, the line of a refusal or "")"""
    while True:
        try:
            code = process.wait(timeout=max(0, min(0.2 if refusal else 60, end - time.monotonic())))
        except subprocess.TimeoutExpired:
            code = None
        found = re.search(f"^.*(?:{refusal}).*$", log.read_text(errors="replace"), re.MULTILINE) if refusal else None
        if found:
            return code, found.group(0).strip()
        if code is not None or time.monotonic() >= end:
            return code, ""
