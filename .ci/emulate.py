#!/usr/bin/env python3
"""Invokes the artifact of `sam build` with every sample event, under AWS's Lambda Runtime Interface Emulator and with
the DynamoDB of `unitctl local`. Compares the answers with those that the tests expect.

An artifact for another processor than this machine's runs under qemu-user, with that processor's C library from
Debian's package libc6-arm64-cross. `--qemu` runs it so in any case. Another argument is another file than the artifact.

The Python that runs this must have aws-sam-cli, because the emulator is in its package."""

import json
import os
import pathlib
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request

import samcli
from artifact import architecture

ROOT = pathlib.Path(__file__).resolve().parent.parent
HOST = {"aarch64": "arm64", "x86_64": "x86_64"}[platform.machine()]
EMULATOR = pathlib.Path(samcli.__file__).parent / f"local/rapid/aws-lambda-rie-{HOST}"
FILES = [argument for argument in sys.argv[1:] if not argument.startswith("--")]
BOOTSTRAP = pathlib.Path(FILES[0]).resolve() if FILES else ROOT / ".aws-sam/build/Function/bootstrap"
# The names of a processor in qemu's programs and in the folder of its C library.
QEMU = {"arm64": ("aarch64", "/usr/aarch64-linux-gnu"), "x86_64": ("x86_64", "/")}
API_PORT, DYNAMODB_PORT, INVOKE_PORT, RUNTIME_PORT = 13000, 18000, 18080, 19001
TIME = re.compile(r'"_updatedAt":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"')


def wait_for(log, text, process):
    for _ in range(1200):
        if text in pathlib.Path(log.name).read_text():
            return
        if process.poll() is not None:
            sys.exit(f"ended early:\n{pathlib.Path(log.name).read_text()}")
        time.sleep(0.05)
    sys.exit(f"did not say '{text}':\n{pathlib.Path(log.name).read_text()}")


def emulated(folder):
    """The file that Lambda's emulator starts: the artifact, or a script that runs it under qemu."""
    found = architecture(BOOTSTRAP)
    if found == HOST and "--qemu" not in sys.argv:
        return BOOTSTRAP
    name, library = QEMU[found]
    qemu = shutil.which(f"qemu-{name}-static") or shutil.which(f"qemu-{name}")
    if not qemu:
        sys.exit(f"the artifact is for {found}, and there is no qemu-{name}")
    print(f"{found} under {pathlib.Path(qemu).name}")
    script = pathlib.Path(folder) / "bootstrap"
    script.write_text(f'#!/bin/sh\nexec {qemu} -L {library} {BOOTSTRAP} "$@"\n')
    script.chmod(0o755)
    return script


def invoke(event):
    url = f"http://127.0.0.1:{INVOKE_PORT}/2015-03-31/functions/function/invocations"
    for attempt in range(50):
        try:
            with urllib.request.urlopen(url, json.dumps(event).encode(), timeout=30) as response:
                return json.load(response)
        except urllib.error.URLError:
            if attempt == 49:
                raise
            time.sleep(0.1)


def run(bootstrap, names, level):
    """The answers to these events and the function's output, with `level` as the template's LogLevel."""
    variables = {
        "TOKENS_TABLE": "local-tokens",
        "LIVECHAT_TABLE": "local-livechat",
        "AWS_ENDPOINT_URL_DYNAMODB": f"http://127.0.0.1:{DYNAMODB_PORT}",
        "AWS_REGION": "eu-west-1",
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_LAMBDA_FUNCTION_NAME": "emulated",
        "AWS_LAMBDA_FUNCTION_VERSION": "7",
        "AWS_LAMBDA_FUNCTION_TIMEOUT": "29",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256",
        # What Lambda sets for the template's ApplicationLogLevel.
        "AWS_LAMBDA_LOG_LEVEL": "INFO",
        "RUST_LOG": level,
    }
    emulator = [
        EMULATOR,
        "--runtime-interface-emulator-address", f"127.0.0.1:{INVOKE_PORT}",
        "--runtime-api-address", f"127.0.0.1:{RUNTIME_PORT}",
        bootstrap,
    ]
    local = [ROOT / "target/debug/unitctl", "local", "--port", str(API_PORT), "--dynamodb-port", str(DYNAMODB_PORT)]
    with tempfile.NamedTemporaryFile() as local_log, tempfile.NamedTemporaryFile() as log:
        data = subprocess.Popen(local, stdout=local_log, stderr=subprocess.STDOUT)
        try:
            wait_for(local_log, "Ctrl-C stops", data)
            function = subprocess.Popen(emulator, env=variables, stdout=log, stderr=subprocess.STDOUT)
            try:
                answers = {name: invoke(json.loads((ROOT / "events" / name).read_text())) for name in names}
            finally:
                function.terminate()
                function.wait()
        finally:
            data.terminate()
            data.wait()
        return answers, pathlib.Path(log.name).read_text()


def main():
    expected = {path.name: json.loads(path.read_text()) for path in (ROOT / "tests/expected").glob("*.json")}
    failures = 0
    os.chmod(EMULATOR, 0o755)
    with tempfile.TemporaryDirectory() as folder:
        bootstrap = emulated(folder)
        answers, printed = run(bootstrap, sorted(expected), "TRACE")
        _, quiet = run(bootstrap, ["success.json", "token-unknown.json"], "WARN")

    for name, answer in answers.items():
        if "body" in answer:
            answer["body"] = TIME.sub('"_updatedAt":"<now>"', answer["body"])
        if answer != expected[name]:
            failures += 1
            print(f"{name}\n  answered {json.dumps(answer)}\n  expected {json.dumps(expected[name])}")
    metrics = [json.loads(line) for line in printed.splitlines() if line.startswith('{"_aws"')]
    if len(metrics) != len(expected) or sum(line["ColdStarts"] for line in metrics) != 1:
        failures += 1
        print(f"{len(metrics)} lines of metrics, {len(expected)} events:\n{printed}")
    requests = [json.loads(line) for line in printed.splitlines() if '"message":"request"' in line]
    if len(requests) != len(expected):
        failures += 1
        print(f"{len(requests)} request lines, {len(expected)} events:\n{printed}")
    versions = {line.get("Version") for line in metrics} | {line.get("version") for line in requests}
    if versions != {"7"}:
        failures += 1
        print(f"the lines have the versions {versions}")
    # These are the function's own lines. The emulator prints nothing of the events.
    if "RScctEHSmLGZGywfIhWyRpyofhKOiMoUIpimhvheU3f" in printed:
        failures += 1
        print("a token is in the log")
    # With LogLevel=WARN there are no lines for requests. The lines of metrics are still there. They have no level, so Lambda
    # treats them as INFO and does not drop them.
    metrics = [json.loads(line) for line in quiet.splitlines() if line.startswith('{"_aws"')]
    if len(metrics) != 2 or any("level" in line for line in metrics) or '"message":"request"' in quiet:
        failures += 1
        print(f"at WARN the function printed:\n{quiet}")
    print(f"{len(expected)} events, {failures} failures")
    sys.exit(failures != 0)


main()
