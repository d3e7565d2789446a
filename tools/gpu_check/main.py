"""The command line."""

import argparse
import json
import pathlib
import platform
import sys
import tempfile

from gpu_check import benches, bundle, correctness, machine, peers, profilers
from gpu_check.machine import ROOT
from gpu_check.schedule import GPU, REHEARSAL, SHORT, Check

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


def facts_of_programs(folder):
    """What a bundle says of where it was built, else this checkout."""
    written = folder / "facts.json"
    return json.loads(written.read_text()) if written.exists() else machine.facts_of_checkout()


def missing_parts(folder, settings):
    return [name for name in ("idem", settings.tests) if not (folder / name).is_file()]


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
    (staged / "floors.json").write_text('{"cases": []}\n')  # counted anew
    return staged


def prepare(arguments, settings, scratch):
    """(folder of the programs, facts of the machine), or an exit code."""
    folder = arguments.build.resolve()
    missing = missing_parts(folder, settings)
    if missing:
        print(
            f"gpu-check: {folder} has no {' and no '.join(missing)}; "
            f"make it by tools/gpu-check --bundle {arguments.build}"
            + (", or name a build folder that has them" if settings.device == "cpu" else ""),
            file=sys.stderr,
        )
        return 1
    if settings.device == "cpu":
        card = {"device": f"rehearsal on a CPU ({platform.machine()})", "driver": None}
    else:
        card, reason = machine.find_card()
        if not card:
            print(
                f"gpu-check: no GPU on this machine ({reason}); run it on one that has a card, or --rehearse",
                file=sys.stderr,
            )
            return 4
    arguments.out.mkdir(parents=True, exist_ok=True)
    return (rehearsal_folder(folder, scratch) if settings.device == "cpu" else folder), {
        **card,
        **facts_of_programs(folder),
    }


def check_all(arguments, settings, scratch):
    prepared = prepare(arguments, settings, scratch)
    if isinstance(prepared, int):
        return prepared
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
    if arguments.bundle:
        return bundle.make(
            arguments.bundle.resolve(), ROOT / "build/gpu-check", [f"-D{option}" for option in arguments.options]
        )
    if not arguments.out:
        parser.error("name the folder to write: --out DIR")
    settings = {None: GPU, "whole": REHEARSAL, "short": SHORT}[arguments.rehearse]
    with tempfile.TemporaryDirectory(prefix="gpu-check-", ignore_cleanup_errors=True) as scratch:
        return check_all(arguments, settings, pathlib.Path(scratch))
