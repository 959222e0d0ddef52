#!/usr/bin/env python3
"""Checks the artifact of `sam build`: its processor, and that Amazon Linux 2023 has the glibc that it needs.

.ci/artifact.py arm64|x86_64 [FILE]"""

import pathlib
import re
import struct
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
# e_machine of an ELF header ("ELF for the Arm 64-bit Architecture", "System V ABI, AMD64 supplement").
MACHINES = {183: "arm64", 62: "x86_64"}
# Amazon Linux 2023's ("Release notes: glibc").
GLIBC = (2, 34)


def architecture(path):
    header = path.read_bytes()[:20]
    if header[:4] != b"\x7fELF":
        sys.exit(f"{path} is no ELF file")
    return MACHINES.get(struct.unpack_from("<H", header, 18)[0], "unknown")


def glibc(path):
    """The newest version of glibc's symbols that the file needs. readelf reads other processors' files as well."""
    needed = subprocess.run(["readelf", "--wide", "--version-info", path], check=True, capture_output=True, text=True)
    return max(tuple(map(int, version.split("."))) for version in re.findall(r"GLIBC_([0-9.]+)", needed.stdout))


def main():
    wanted = sys.argv[1]
    path = pathlib.Path(sys.argv[2]) if len(sys.argv) > 2 else ROOT / ".aws-sam/build/Function/bootstrap"
    found, version = architecture(path), glibc(path)
    print(f"{path.name}: {found}, glibc {'.'.join(map(str, version))}")
    if found != wanted:
        sys.exit(f"it should be {wanted}")
    if version > GLIBC:
        sys.exit(f"Lambda has glibc {'.'.join(map(str, GLIBC))}")


if __name__ == "__main__":
    main()
