"""The command line."""

import argparse
import json
import lzma
import os
import pathlib
import platform
import sys
import tarfile
import tempfile

from gpu_check import benches, bundle, correctness, machine, peers, profilers
from gpu_check.machine import ROOT
from gpu_check.schedule import GPU, REHEARSAL, SHORT, Check

BUILT_IN = ROOT / "build/gpu-check"  # what goes into a bundle
STEPS = {
    "limits": benches.limits,
    "tests": correctness.tests,
    "repeatability": correctness.repeatability,
    "bench in fp32": benches.steps_in("fp32"),
    "bench in tf32": benches.steps_in("tf32"),
    "bench in bf16": benches.steps_in("bf16"),
    "peers": peers.peers,
    "ncu": profilers.ncu,
    "sanitizers": profilers.sanitizers,
    "study": correctness.study,
    "operations": benches.operations,
}


class NotPrepared(Exception):
    """What, where and how to mend, and the exit code."""

    def __init__(self, message, code=1):
        super().__init__(message)
        self.code = code


def facts_of_programs(folder):
    """What a bundle says of where it was built, else this checkout."""
    written = folder / "facts.json"
    if not written.exists():
        return machine.facts_of_checkout()
    try:
        facts = json.loads(written.read_text())
    except (OSError, ValueError):
        facts = None
    if not isinstance(facts, dict) or not set(machine.FACTS) <= set(facts):
        raise NotPrepared(f"{written}: does not say what was built; make a new bundle by tools/gpu-check --bundle DIR")
    return facts


def missing_parts(folder, settings):
    return [name for name in ("idem", settings.tests) if not (folder / name).is_file()]


def how_to_make(given, folder, settings):
    """The commands that make what is missing."""
    if settings.device == "cuda":
        target = given
        try:
            bundle.check_target(folder, BUILT_IN)
        except bundle.BundleError:
            target = "DIR"  # which is new
        return f"make it by tools/gpu-check --bundle {target}" + (f" and name it, --build {target}" * (target != given))
    if platform.machine() not in ("x86_64", "AMD64"):
        return f"rehearsals need an x86-64 processor, this is {platform.machine()}"
    return (
        f"make it by cmake -S {os.path.relpath(ROOT)} -B {given} -DBUILD_TESTING=ON && "
        f"cmake --build {given} --target idem {pathlib.Path(settings.tests).name}"
    )


def check_out(out):
    """Makes the folder, and sees that files can be written there."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as error:
        raise NotPrepared(f"--out {out}: cannot be written ({error.strerror}); name another folder") from error


def rehearsal_folder(folder, scratch):
    """A build folder looks like a bundle once the rest lies beside its programs."""
    staged = scratch / "staged"
    staged.mkdir()
    links = {
        "idem": folder / "idem",
        "tests": folder / "tests",
        "configs": ROOT / "configs",
        "peers": ROOT / "tools/bench/peers",
    }
    for name, target in links.items():
        (staged / name).symlink_to(target)
    return staged


def prepare(arguments, settings, scratch):
    """(folder of the programs, facts of the machine)"""
    folder = arguments.build.resolve()
    missing = missing_parts(folder, settings)
    if missing:
        raise NotPrepared(
            f"{folder} has no {' and no '.join(missing)}; {how_to_make(arguments.build, folder, settings)}"
        )
    facts = facts_of_programs(folder)
    if settings.device == "cpu":
        card = {"device": f"rehearsal on a CPU ({platform.machine()})", "driver": None}
    else:
        card, reason = machine.find_card()
        if not card:
            raise NotPrepared(f"no GPU on this machine ({reason}); run it on one that has a card, or --rehearse", 4)
    check_out(arguments.out)
    return (rehearsal_folder(folder, scratch) if settings.device == "cpu" else folder), {**card, **facts}


def check_all(arguments, settings, scratch):
    prepared = prepare(arguments, settings, scratch)
    check = Check(prepared[0], arguments.out.resolve(), scratch, settings, prepared[1])
    for name, work in STEPS.items():
        check.step(name, work)
    print(f"\n{check.table()}\n\n{check.out / 'gpu-check.json'}")
    return 0 if all(step["status"] in ("passed", "skipped") for step in check.steps) else 1


def main(description):
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--bundle",
        type=pathlib.Path,
        metavar="DIR",
        help="make the folder that goes to a GPU machine, and nothing else",
    )
    parser.add_argument(
        "--options",
        nargs="*",
        default=[],
        metavar="OPTION",
        help="with --bundle: further options of CMake, without their -D",
    )
    parser.add_argument(
        "--build",
        type=pathlib.Path,
        default=ROOT / "build/gpu-bundle",
        metavar="DIR",
        help="that folder; in rehearsals a build folder",
    )
    parser.add_argument("--out", type=pathlib.Path, metavar="DIR", help="folder to write")
    parser.add_argument(
        "--rehearse",
        nargs="?",
        const="whole",
        choices=["whole", "short"],
        help="all steps with the CPU in the GPU's place, at small sizes",
    )
    arguments = parser.parse_args()
    if arguments.bundle and (arguments.out or arguments.rehearse):
        parser.error("--bundle makes the folder and nothing else; leave --out and --rehearse out, or --bundle")
    if arguments.bundle:
        return bundle.make(arguments.bundle.resolve(), BUILT_IN, [f"-D{option}" for option in arguments.options])
    if not arguments.out:
        parser.error("name the folder to write: --out DIR")
    settings = {None: GPU, "whole": REHEARSAL, "short": SHORT}[arguments.rehearse]
    with tempfile.TemporaryDirectory(prefix="gpu-check-", ignore_cleanup_errors=True) as scratch:
        try:
            return check_all(arguments, settings, pathlib.Path(scratch))
        except NotPrepared as error:
            print(f"gpu-check: {error}", file=sys.stderr)
            return error.code
        except (OSError, EOFError, tarfile.TarError, lzma.LZMAError) as error:  # a full disk, a bundle that was cut
            why = str(error).splitlines()[0] if str(error) else type(error).__name__
            print(f"gpu-check: {why}; see whether a disk is full, else make a new bundle", file=sys.stderr)
            return 1
