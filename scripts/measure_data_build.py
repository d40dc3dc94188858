#!/usr/bin/env python3
"""Measures `dlcm data build`: speed and largest memory of an undisturbed build, then builds that are killed with -9 at a
random time, run again until they are done, and compared with it file by file.

    scripts/measure_data_build.py --dlcm DLCM --tokenizer FILE --output DIR [--kills N] [--options "..."] INPUT...

Each build is one JSON line on stdout; DIR must not be there."""

import argparse
import hashlib
import json
import os
import random
import shlex
import shutil
import signal
import subprocess
import time


def start(arguments, output):
    command = [arguments.dlcm, "data", "build", "--tokenizer", arguments.tokenizer, "--output", output, "--json"]
    command += shlex.split(arguments.options) + ["--input", *arguments.inputs]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


def finish(process):
    """Exit status, what it printed, and its largest resident memory in MB."""
    text = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, text, usage.ru_maxrss / 1024


def digest(folder):
    """One hash of all files, names and bytes."""
    total = hashlib.sha256()
    for name in sorted(os.listdir(folder)):
        with open(os.path.join(folder, name), "rb") as file:
            total.update(f"{name} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return total.hexdigest()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dlcm", required=True)
    parser.add_argument("--tokenizer", required=True)
    parser.add_argument("--output", required=True)
    parser.add_argument("--kills", type=int, default=0, help="builds to kill")
    parser.add_argument("--options", default="", help="more options of data build")
    parser.add_argument("inputs", nargs="+", metavar="INPUT")
    arguments = parser.parse_args()
    os.makedirs(arguments.output)

    whole = os.path.join(arguments.output, "whole")
    begin = time.monotonic()
    status, text, memory = finish(start(arguments, whole))
    seconds = time.monotonic() - begin
    if status != 0:
        raise SystemExit(f"the build failed with status {status}")
    result = json.loads(text)
    tokens = result["train"]["tokens"] + result["valid"]["tokens"]
    size = result["train"]["bytes"] + result["valid"]["bytes"]
    print(json.dumps({"seconds": round(seconds, 1), "documents": result["train"]["documents"] + result["valid"]["documents"],
                      "tokens": tokens, "text_bytes": size, "tokens_per_second": round(tokens / seconds),
                      "text_mb_per_second": round(size / seconds / 1e6, 2), "peak_memory_mb": round(memory, 1),
                      "duplicates": result["documents_duplicate"]}), flush=True)
    expected = digest(whole)
    for kill in range(arguments.kills):
        output = os.path.join(arguments.output, f"killed-{kill}")
        process = start(arguments, output)
        killed_after = random.uniform(0.1, 0.5) * seconds
        time.sleep(killed_after)
        os.kill(process.pid, signal.SIGKILL)  # Popen's own would first collect a process that has ended
        killed = finish(process)[0] == -signal.SIGKILL
        begin = time.monotonic()
        status, _, memory = finish(start(arguments, output))
        print(json.dumps({"killed_after_seconds": round(killed_after, 1), "killed": killed, "status": status,
                          "seconds_of_second_run": round(time.monotonic() - begin, 1), "peak_memory_mb": round(memory, 1),
                          "same_files": digest(output) == expected}), flush=True)
        shutil.rmtree(output)


if __name__ == "__main__":
    main()
