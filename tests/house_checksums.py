#!/usr/bin/env python3
"""house_checksums.py IDEM [--out FILE.json] [--against FILE.json] [--only TEXT]: what every shipped configuration
gives, trained briefly on the CPU, as checksums of values: the net under a change that must change no number.

IDEM is the program. Every study of configs/ runs with two seeds, one split, 2 epochs or 20 steps, few draws of the
marginal likelihood and at most two recordings, simulated, of 3000 bins. Printed, and with --out written: for each run
one checksum for every array of its latents, one of its parameters, and the numbers of its metrics and log without
times, versions and names of formats. With --against the differences to an older list are printed too, and the exit
code is 1 where there is one; keys that the older list lacks are new and no difference.

Checksums hold on one machine alone: other processors multiply matrices in another order.
"""
import argparse
import json
import pathlib
import struct
import subprocess
import sys
import tempfile
import zipfile
import zlib

ROOT = pathlib.Path(__file__).resolve().parent.parent
OF_THE_DAY = {"version", "device", "fleet_seconds", "crc32", "time", "threads", "seconds", "schema"}


def briefly(study):
    """The same study with two seeds, one split and little training."""
    study = json.loads(json.dumps(study))
    study["seeds"] = [1, 2]
    recordings = study["recording"] if isinstance(study["recording"], list) else [study["recording"]]
    study["recording"] = recordings[:2]
    for recording in study["recording"]:
        recording["simulate"]["n_times"] = 3000
    if study.get("splits", {}).get("kind", "auto") in ("auto", "three-fold-trials"):
        study.setdefault("splits", {})["folds"] = [0]
    study.setdefault("evaluation", {})["marginal_draws"] = 8
    study.setdefault("training", {})["epochs"] = 2
    for model in [study, study.setdefault("model", {}), *study.get("models", [])]:
        schedule = model.get("training", {}).get("schedule", {})
        if schedule.get("warmup_epochs", 0) > 1:
            schedule["warmup_epochs"] = 1
        if model is not study:
            model.get("training", {}).pop("epochs", None)
        if "contrastive" in model or model.get("preset", "").startswith("cebra"):
            model["contrastive"] = {**model.get("contrastive", {}), "steps": 20}
    return study


def tensor_bytes(folder):
    """The values of a run's model file, without its header."""
    safetensors = folder / "model.safetensors"
    if safetensors.exists():
        content = safetensors.read_bytes()
        (n_header,) = struct.unpack_from("<Q", content)
        return content[8 + n_header :]
    content = (folder / "model.idem").read_bytes()
    (n_header,) = struct.unpack_from("<I", content, 12)
    return content[16 + n_header : -4]


def flattened(value, path=""):
    """(path, leaf) of everything that is not of the day."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key not in OF_THE_DAY:
                yield from flattened(inner, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            yield from flattened(inner, f"{path}[{place}]")
    else:
        yield path, value


def values_of(out):
    """What a finished study says, by names that a listing can be compared by."""
    values = {}
    for folder in sorted((out / "runs").iterdir()):
        if not (folder / "latents.npz").exists():
            continue
        with zipfile.ZipFile(folder / "latents.npz") as arrays:
            for name in sorted(arrays.namelist()):
                values[f"{folder.name}/latents/{name}"] = f"{zlib.crc32(arrays.read(name)):08x}"
        values[f"{folder.name}/parameters"] = f"{zlib.crc32(tensor_bytes(folder)):08x}"
    values.update((f"metrics/{path}", leaf) for path, leaf in flattened(json.loads((out / "metrics.json").read_text())))
    records = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    values.update((f"log/{path}", leaf) for path, leaf in flattened(records))
    return values


def run(idem, path, folder):
    config = folder / path.name
    config.write_text(json.dumps(briefly(json.loads(path.read_text()))))
    out = folder / path.stem
    command = [str(word) for word in (idem, "run", config, "--out", out, "--device", "cpu", "--quiet")]
    finished = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if finished.returncode:
        sys.exit(f"house_checksums: {path.name} failed: {finished.stderr.strip()}")
    return values_of(out)


def differences(before, after):
    for study, old in before.items():
        for name, value in old.items():
            if after.get(study, {}).get(name) != value:
                yield f"{study}: {name}: {value} before, {after.get(study, {}).get(name, 'nothing')} now"


def main():
    arguments = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    arguments.add_argument("idem", type=pathlib.Path)
    arguments.add_argument("--out", type=pathlib.Path)
    arguments.add_argument("--against", type=pathlib.Path)
    arguments.add_argument("--only", default="", help="studies whose name holds this")
    chosen = arguments.parse_args()
    lists = {}
    with tempfile.TemporaryDirectory() as folder:
        for path in sorted((ROOT / "configs").glob("*.json")):
            if path.name == "idem.schema.json" or chosen.only not in path.stem:
                continue
            lists[path.stem] = run(chosen.idem.resolve(), path, pathlib.Path(folder))
            text = json.dumps(lists[path.stem], sort_keys=True)
            print(f"{path.stem:26} {len(lists[path.stem]):6} values {zlib.crc32(text.encode()):08x}", flush=True)
    if chosen.out:
        chosen.out.write_text(json.dumps(lists, indent=0))
    if not chosen.against:
        return 0
    before = {study: old for study, old in json.loads(chosen.against.read_text()).items() if chosen.only in study}
    found = list(differences(before, lists))
    print("\n".join(found[:40]))
    print(f"{len(found)} of {sum(map(len, before.values()))} values differ")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
