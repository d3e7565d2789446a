"""The folder that goes to a GPU machine: programs, the libraries they need, configurations, the peers' scripts, floors.

Built for one architecture, stripped, with the lines of kernels for profilers; the libraries are packed, OpenBLAS alone
is else half of all. What a machine with a GPU has itself stays out: the C library, cuBLASLt, cuDNN.
"""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile

from gpu_check import machine
from gpu_check.machine import ROOT

LIMIT_MIB = 58  # a machine takes 64 of bundle and checkout together, of which the checkout is 4.5
ARCHITECTURE = "90-real"
PROGRAMS = ("idem", "tests/idem_cuda_tests")
PACKED = "libraries.tar.xz"
COPIED = {"configs": "configs", "peers": "tools/bench/peers", "golden": "tests/golden"}  # from the checkout
OF_THE_MACHINE = re.compile(
    r"(libc|libm|libdl|libpthread|librt|ld-linux-x86-64|libcublasLt|libcublas|libcudnn\w*|libcuda)\.so"
)


class BundleError(Exception):
    pass


def parse_needed(text):
    """Names of the libraries that readelf -d says are needed."""
    return re.findall(r"\(NEEDED\).*\[(.+)\]", text)


def parse_found(text):
    """{name: path or None} of what ldd finds."""
    return {
        name: None if path == "not found" else path
        for name, path in re.findall(r"^\s*(\S+) => (not found|\S+)", text, re.MULTILINE)
    }


def output_of(command, what, environment=None):
    run = subprocess.run([str(word) for word in command], capture_output=True, text=True, env=environment)
    if run.returncode != 0:
        raise BundleError(
            f"{what} failed: {(run.stderr or run.stdout).strip().splitlines()[-1:]}; {' '.join(map(str, command))}"
        )
    return run.stdout


def build(folder, options):
    configure = [
        "cmake",
        "-S",
        ROOT,
        "-B",
        folder,
        "-G",
        "Ninja",
        "-DCMAKE_BUILD_TYPE=Release",
        "-DCUDA_BACKEND=ON",
        f"-DCMAKE_CUDA_ARCHITECTURES={ARCHITECTURE}",
        *options,
    ]
    output_of(configure, "configuring")
    output_of(["cmake", "--build", folder, "--target", "idem", "idem_cuda_tests"], "building")


def copy_programs(build_folder, bundle):
    for program in PROGRAMS:
        (bundle / program).parent.mkdir(parents=True, exist_ok=True)
        output_of(["strip", "-o", bundle / program, build_folder / program], "stripping")


def loaded_libraries(build_folder):
    """{name: path} of those that the programs load by themselves, from where CMake found them: OpenBLAS, and CUPTI
    where there is one."""
    found = dict(
        re.findall(r"^(OPENBLAS|CUPTI)_LIBRARY:\w+=(.+)$", (build_folder / "CMakeCache.txt").read_text(), re.MULTILINE)
    )
    libraries = {"libopenblas.so.0": pathlib.Path(found["OPENBLAS"]).resolve()}
    if not found.get("CUPTI", "NOTFOUND").endswith("NOTFOUND"):
        path = pathlib.Path(found["CUPTI"]).resolve()
        libraries[re.search(r"SONAME.*\[(.+)\]", output_of(["readelf", "-d", path], "readelf")).group(1)] = path
    return libraries


def copy_libraries(build_folder, libraries):
    """All that the programs need, also through other libraries, but for what the machine has."""
    loaded = loaded_libraries(build_folder)
    for program in [*(build_folder / program for program in PROGRAMS), *loaded.values()]:
        for name, path in parse_found(
            output_of(["ldd", program], "ldd", machine.run_environment(build_folder, libraries))
        ).items():
            if OF_THE_MACHINE.match(name):
                continue
            if path is None:
                raise BundleError(
                    f"{program.name} needs {name}, which was not found here; install what holds it and bundle again"
                )
            output_of(["strip", "--strip-unneeded", "-o", libraries / name, path], "stripping")
    for name, path in loaded.items():
        output_of(["strip", "--strip-unneeded", "-o", libraries / name, path], "stripping")


def check_libraries(bundle, libraries):
    """Every library that something in the bundle names is in it, or is the machine's."""
    for path in sorted([*(bundle / program for program in PROGRAMS), *libraries.iterdir()]):
        for name in parse_needed(output_of(["readelf", "-d", path], "readelf")):
            if not (libraries / name).exists() and not OF_THE_MACHINE.match(name):
                raise BundleError(
                    f"{path.name} needs {name}, which is neither in the bundle nor on every "
                    "machine; add it to copy_libraries in "
                    "tools/gpu_check/bundle.py"
                )


def pack(bundle, libraries):
    with tarfile.open(bundle / PACKED, "w:xz") as archive:
        for path in sorted(libraries.iterdir()):
            archive.add(path, path.name)


def unpack(bundle, libraries):
    """Where the bundle's libraries lie then; a folder that nothing has packed for has none."""
    if (bundle / PACKED).exists():
        libraries.mkdir(parents=True, exist_ok=True)
        with tarfile.open(bundle / PACKED) as archive:
            archive.extractall(libraries)
    return libraries


def size_mib(bundle):
    return sum(path.stat().st_size for path in bundle.rglob("*") if path.is_file()) / 2**20


def check_size(bundle, limit_mib=LIMIT_MIB):
    mebibytes = size_mib(bundle)
    if mebibytes > limit_mib:
        largest = max((path for path in bundle.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
        raise BundleError(
            f"the bundle holds {mebibytes:.1f} MiB, {limit_mib} are the limit; "
            f"its largest file is {largest.relative_to(bundle)} of "
            f"{largest.stat().st_size / 2 ** 20:.1f} MiB"
        )
    return mebibytes


def count_products(bundle, libraries):
    """Floors: what each step multiplies, counted once here on the CPU."""
    output_of(
        [
            bundle / "idem",
            "bench",
            "--device",
            "cpu",
            "--filter",
            "step/.*/1$",
            "--repetitions",
            "1",
            "--out",
            bundle / "floors.json",
        ],
        "counting the products of steps",
        machine.run_environment(bundle, libraries),
    )


def holds():
    """What lies in a bundle, and what running the peers leaves there."""
    names = {*PROGRAMS, "tests", PACKED, "facts.json", "floors.json", *COPIED, "peers/__pycache__"}
    for name, source in COPIED.items():
        names |= {f"{name}/{path.relative_to(ROOT / source).as_posix()}" for path in (ROOT / source).rglob("*")}
    return names


def is_bundle(folder):
    """Whether that is an earlier bundle, and nothing beside."""
    try:
        facts = json.loads((folder / "facts.json").read_text())
    except (OSError, ValueError):
        return False
    inside, names = [*folder.rglob("*")], holds()
    return (
        isinstance(facts, dict)
        and set(facts) == set(machine.FACTS)
        and (folder / "idem").is_file()
        and not any(path.is_symlink() for path in inside)
        and all(path.suffix == ".pyc" or path.relative_to(folder).as_posix() in names for path in inside)
    )


def check_target(bundle, build_folder):
    """Raises BundleError where no bundle may be made: what lies there might be all that there is of it."""
    if bundle == build_folder:
        raise BundleError(f"--bundle {bundle}: programs are built there; name another folder")
    if bundle.exists() and not bundle.is_dir():
        raise BundleError(f"--bundle {bundle}: is no folder; name another")
    if bundle.exists() and any(bundle.iterdir()) and not is_bundle(bundle):
        raise BundleError(
            f"--bundle {bundle}: is neither empty nor an earlier bundle and nothing else; name a new folder"
        )
    if os.path.ismount(bundle):
        raise BundleError(f"--bundle {bundle}: cannot be exchanged as a whole; name a folder in it")


def exchange(made, bundle, aside):
    """Puts what is made in the bundle's place, and what was there aside."""
    was_there = bundle.exists()
    if was_there:
        bundle.rename(aside)
    try:
        made.rename(bundle)
    except OSError:
        if was_there:
            aside.rename(bundle)
        raise


def fill(bundle, build_folder, libraries):
    copy_programs(build_folder, bundle)
    copy_libraries(build_folder, libraries)
    check_libraries(bundle, libraries)
    pack(bundle, libraries)
    for name, source in COPIED.items():
        ignored = shutil.ignore_patterns("__pycache__", *(("*.json",) if name == "golden" else ()))
        shutil.copytree(ROOT / source, bundle / name, ignore=ignored)
    (bundle / "facts.json").write_text(json.dumps(machine.facts_of_checkout(), indent=2) + "\n")
    count_products(bundle, libraries)


def folder_beside(bundle):
    """A temporary one, on the same disk; shows too that a bundle can be made there."""
    try:
        bundle.parent.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryDirectory(prefix=f".{bundle.name}-", dir=bundle.parent)
    except OSError as error:
        raise BundleError(f"--bundle {bundle}: cannot be made ({error.strerror}); name another folder") from error


def make(bundle, build_folder, options):
    """Returns the exit code. The folder is as it was until the bundle is complete."""
    try:
        check_target(bundle, build_folder)
        with folder_beside(bundle) as beside, tempfile.TemporaryDirectory() as libraries:
            print(f"gpu-check: building in {build_folder} ...", file=sys.stderr, flush=True)
            build(build_folder, options)
            made = pathlib.Path(beside) / "made"
            made.mkdir()
            fill(made, build_folder, pathlib.Path(libraries))
            mebibytes = check_size(made)
            check_target(bundle, build_folder)  # building took minutes
            exchange(made, bundle, pathlib.Path(beside) / "earlier")
    except (BundleError, OSError) as error:
        print(f"gpu-check: {error}", file=sys.stderr)
        return 1
    print(
        f"{bundle}: {mebibytes:.1f} MiB of at most {LIMIT_MIB}; "
        f"run tools/gpu-check --build {bundle} --out DIR beside a GPU"
    )
    return 0
