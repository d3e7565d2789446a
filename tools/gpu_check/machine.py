"""What is on this machine: its card, and the libraries that a bundle leaves to it."""

import os
import pathlib
import shutil
import site
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
FACTS = ("commit", "changed_files", "compiler", "cuda")  # of a checkout


def parse_card(line):
    """One line of nvidia-smi --query-gpu=name,driver_version,compute_cap,memory.total --format=csv,noheader,nounits."""
    name, driver, capability, mebibytes = [part.strip() for part in line.split(",")]
    return {"device": name, "driver": driver, "compute_capability": capability, "memory_mib": int(mebibytes)}


def find_card():
    """(the card's facts or None, why there is none)"""
    if not shutil.which("nvidia-smi"):
        return None, "there is no nvidia-smi"
    query = ["nvidia-smi", "--query-gpu=name,driver_version,compute_cap,memory.total", "--format=csv,noheader,nounits"]
    answer = subprocess.run(query, capture_output=True, text=True)
    lines = answer.stdout.strip().splitlines()
    if answer.returncode != 0 or not lines:
        return None, "nvidia-smi finds none" + (
            ": " + answer.stderr.strip().splitlines()[0] if answer.stderr.strip() else ""
        )
    return parse_card(lines[0]), ""


def facts_of_checkout():
    def said(*command):
        try:
            return subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout.strip()
        except OSError:
            return ""

    nvcc = said(str(toolkit_folder() / "bin/nvcc"), "--version").splitlines()
    facts = (
        said("git", "rev-parse", "HEAD") or None,
        bool(said("git", "status", "--porcelain")),
        (said("c++", "--version").splitlines() or [None])[0],
        nvcc[-1] if nvcc else None,
    )
    return dict(zip(FACTS, facts))


def wheel_folders():
    folders = [
        *site.getsitepackages(),
        site.getusersitepackages(),
        *(path for path in sys.path if path.endswith("-packages")),
    ]
    return [folder for folder in dict.fromkeys(map(pathlib.Path, folders)) if folder.is_dir()]


def toolkit_folder():
    return pathlib.Path(shutil.which("nvcc") or "/usr/local/cuda/bin/nvcc").resolve().parent.parent


def cuda_library_folders():
    """Where cuBLASLt and cuDNN lie: in the toolkit, or in Python wheels."""
    found = []
    for name in ("libcublasLt.so.*", "libcudnn.so.*"):
        of_toolkit = [path for path in toolkit_folder().glob(f"targets/*/lib/{name}") if "stubs" not in path.parts]
        of_wheels = [path for folder in wheel_folders() for path in folder.glob(f"nvidia/*/lib/{name}")]
        found += [path.parent for path in (of_toolkit + of_wheels)[:1]]
    return list(dict.fromkeys(found))


def run_environment(bundle, libraries):
    """The environment in which a bundle's programs find its libraries, which lie unpacked in a folder, and this
    machine's."""
    environment = dict(os.environ)
    folders = [libraries, *cuda_library_folders()]
    environment["LD_LIBRARY_PATH"] = ":".join(
        [str(folder) for folder in folders if folder.is_dir()] + [environment.get("LD_LIBRARY_PATH", "")]
    ).strip(":")
    if (bundle / "golden").is_dir():
        environment["IDEM_GOLDEN_DIR"] = str(bundle / "golden")
    environment["PATH"] += os.pathsep + str(toolkit_folder() / "bin")
    return environment
