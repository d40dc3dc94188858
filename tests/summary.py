"""Adds up the results of ./test: usage summary.py FOLDER. The last line is "N passed, N failed, N skipped".

FOLDER holds ctest.xml (one case a test binary), test_NAME.xml of each binary that wrote one, and checks.xml. A binary
counts by its cases; one that failed without a failed case (a crash, a time-out) counts as one failure more.
"""

import pathlib
import sys
import xml.etree.ElementTree as xml


def outcome(case):
    if case.find("failure") is not None or case.find("error") is not None or case.get("status") == "fail":
        return "failed"
    if case.find("skipped") is not None or case.get("status") in ("notrun", "disabled"):
        return "skipped"
    return "passed"


def cases(path):
    """(name, outcome) of each case of a JUnit file; None where there is no complete file."""
    try:
        root = xml.parse(path).getroot()
    except (OSError, xml.ParseError):
        return None
    return [(f"{case.get('classname') or ''}.{case.get('name')}".lstrip("."), outcome(case))
            for case in root.iter("testcase")]


def collect(folder):
    """Every case as (name, outcome), a missing result as a failure."""
    found = []
    binaries = cases(folder / "ctest.xml")
    if binaries is None:
        found.append(("ctest wrote no result", "failed"))
    for name, result in binaries or []:
        name = name.rpartition(".")[2]
        inner = cases(folder / f"test_{name}.xml")
        if inner is None:
            found.append((name, result))
            continue
        found += inner
        if result == "failed" and all(inner_result != "failed" for _, inner_result in inner):
            found.append((f"{name} ended badly", "failed"))
    checks = cases(folder / "checks.xml")
    found += checks if checks is not None else [("the checks in Python wrote no result", "failed")]
    return found


def main():
    found = collect(pathlib.Path(sys.argv[1]))
    for name, result in found:
        if result != "passed":
            print(f"{result}: {name}")
    counts = {kind: sum(result == kind for _, result in found) for kind in ("passed", "failed", "skipped")}
    print(f"{counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped")
    sys.exit(counts["failed"] > 0 or counts["passed"] == 0)


if __name__ == "__main__":
    main()
