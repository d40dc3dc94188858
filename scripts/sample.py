"""Prints a short excerpt of the first plain texts of a file or folder, for ./quickstart to segment."""

import json
import pathlib
import sys

TEXTS = 4
CHARACTERS = 300


def texts(path):
    """The beginnings of up to TEXTS texts: one a file, or one a record of a .jsonl file."""
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    for file in [file for file in files if file.suffix != ".zst"][:TEXTS]:
        with file.open(encoding="utf-8", errors="ignore") as lines:
            if file.suffix == ".jsonl":
                yield str(json.loads(lines.readline()).get("text", ""))[:CHARACTERS]
            else:
                yield lines.read(CHARACTERS)


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: sample.py PATH")
    found = [text.strip() for text in texts(pathlib.Path(sys.argv[1])) if text.strip()]
    # A folder of compressed texts has no excerpt to show: dlcm's own description stands in.
    print("\n\n".join(found or [pathlib.Path("README.md").read_text(encoding="utf-8")[:CHARACTERS]]))


if __name__ == "__main__":
    main()
