"""The steps one after the other, each with a time that it gets in any case; what each found is written when it ends."""

import json
import pathlib
import time
from dataclasses import dataclass, field

from gpu_check import commands, machine
from gpu_check.bundle import unpack
from gpu_check.tables import step_line, whole

# Seconds of each step, in their order: 540 in all. What a step leaves of its time, the next ones may take.
BUDGETS = {
    "limits": 10,
    "tests": 35,
    "repeatability": 15,
    "bench in fp32": 60,
    "bench in tf32": 45,
    "bench in bf16": 45,
    "peers": 130,
    "ncu": 60,
    "sanitizers": 60,
    "study": 50,
    "operations": 30,
}


@dataclass(frozen=True)
class Settings:
    """What the steps are done with: a GPU, or in rehearsals the CPU in its place."""

    device: str = "cuda"
    tests: str = "tests/idem_cuda_tests"
    test_filter: str = "*"
    precisions: tuple = ("fp32", "tf32", "bf16")
    steps: str = "step/"  # that are benched
    profiled: str = r"step/(pi-vae-60|ci-ivae-60|conv-ci-ivae-32|cebra-offset10-512)/132$"
    once: tuple = ("step/pi-vae-60/132", "step/cebra-offset10-512/132")  # what ncu looks into
    repetitions: int = 3
    members: tuple = (1, 16, 132)
    peers: str = (
        r"^(?!step/cebra\S*-of-)(?!.* cebra$)"  # not CEBRA's own program, nor the recordings that only it is timed on
    )
    peer_seconds: float = 0.7
    study: tuple = ()  # further arguments of idem run
    repeated: tuple = ("--set", "training.epochs=3", "--set", "splits.folds=[0]")  # of the one that runs twice
    budgets: dict = field(default_factory=lambda: BUDGETS)


GPU = Settings()
# Everything that can go wrong without a GPU, and numbers that mean nothing.
REHEARSAL = Settings(
    device="cpu",
    tests="tests/idem_emulated_device_tests",
    test_filter="FleetSlot*:Parity*:*Golden*",
    precisions=("fp32",),
    steps=r"step/(pi-vae-60|ci-ivae-60|cebra-offset10-512)/[12]$",
    profiled=r"step/(pi-vae-60|cebra-offset10-512)/[12]$",
    once=("step/pi-vae-60/2", "step/cebra-offset10-512/2"),
    repetitions=1,
    members=(1, 2),
    peer_seconds=0.2,
    study=("--set", "training.epochs=10", "--set", "splits.folds=[0]"),
)
SMALLEST = ("--set", "training.epochs=3", "--set", "splits.folds=[0]", "--set", "seeds=[1]")
SHORT = Settings(
    **{
        **REHEARSAL.__dict__,
        "test_filter": "FleetSlot*",
        "steps": r"step/pi-vae-60/1$",
        "profiled": r"step/pi-vae-60/1$",
        "once": ("step/pi-vae-60/2",),
        "members": (1,),
        "peers": r"step/pi-vae-60/1 torch eager$",
        "study": SMALLEST,
        "repeated": SMALLEST,
        "budgets": {name: 4 * seconds for name, seconds in BUDGETS.items()},
    }
)  # of a machine that does other things beside


LOGS_OF_A_STEP = 8  # at most, whose ends are kept when it did not pass


def tails(ended):
    """{log: the end of it} of those programs of a step that did not do what they should; of all where none failed."""
    spoke = [(log, of) for log, of in ended if of.tail()]
    failed = [(log, of) for log, of in spoke if of.code != 0]
    return {log: of.tail() for log, of in (failed or spoke)[:LOGS_OF_A_STEP]}


class Check:
    """bundle: programs and what they read; out: gets results, two files of them, and nothing else; scratch: whatever
    is written on the way."""

    def __init__(self, bundle: pathlib.Path, out: pathlib.Path, scratch: pathlib.Path, settings: Settings, facts):
        self.bundle, self.out, self.scratch = bundle, out, scratch
        self.settings, self.facts, self.steps = settings, facts, []
        self.end = time.monotonic() + sum(settings.budgets.values())
        self.step_end = time.monotonic()
        self.ended = []  # (log, how it ended) of each program of the step
        self.environment = machine.run_environment(bundle, unpack(bundle, scratch / "lib"))

    def end_of(self, name, began):
        """When a step has to end: with its own time, and what the steps before left of theirs."""
        names = list(self.settings.budgets)
        later = sum(self.settings.budgets[name] for name in names[names.index(name) + 1 :])
        return max(began + self.settings.budgets[name], self.end - later)

    def step(self, name, work):
        began = time.monotonic()
        self.step_end = self.end_of(name, began)
        self.ended = []
        try:
            status, figures = work(self)
        # A fault of these scripts, or output that they can't read: the other steps' figures are still to come home.
        except Exception as error:
            status, figures = "failed", {"fault": f"{type(error).__name__}: {error}"}
        seconds = time.monotonic() - began
        self.steps.append({"name": name, "status": status, "seconds": round(seconds, 1), "figures": figures})
        if status not in ("passed", "skipped"):
            self.steps[-1]["logs"] = tails(self.ended)
        print(step_line(self.steps[-1]), flush=True)
        self.write()

    def left_s(self):
        return self.step_end - time.monotonic()

    def command(self, arguments, log, at_most=600, **more):
        """Runs with what time its step has left, or at_most seconds of it."""
        ended = commands.run(
            arguments,
            self.scratch / log,
            min(at_most, self.left_s()),
            {**self.environment, **more.pop("variables", {})},
            self.bundle,
            **more,
        )
        self.ended.append((log, ended))
        return ended

    def idem(self, arguments, log, **more):
        return self.command([self.bundle / "idem", *arguments], log, **more)

    def figures(self, name):
        return next((step["figures"] for step in self.steps if step["name"] == name), {})

    def table(self):
        try:
            return whole(self.facts, self.steps)
        except Exception as error:  # a figure that is no number: the others are still to come home
            return f"no table: {type(error).__name__}: {error}"

    def write(self):
        """What there is so far: whoever ends this program early has the steps before."""
        for name, text in (
            ("gpu-check.json", json.dumps({**self.facts, "steps": self.steps}, indent=2)),
            ("table.txt", self.table()),
        ):
            partial = self.out / f"{name}.partial"
            partial.write_text(text + "\n")
            partial.replace(self.out / name)
