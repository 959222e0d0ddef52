#!/usr/bin/env python3
"""Invokes the artifact of `sam build` with every sample event, under AWS's Lambda Runtime Interface Emulator and with
the DynamoDB of `unitctl local`. Compares the answers with those that the tests expect.

The Python that runs this must have aws-sam-cli, because the emulator is in its package."""

import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import urllib.request

import samcli

ROOT = pathlib.Path(__file__).resolve().parent.parent
EMULATOR = pathlib.Path(samcli.__file__).parent / "local/rapid/aws-lambda-rie-x86_64"
BOOTSTRAP = ROOT / ".aws-sam/build/Function/bootstrap"
API_PORT, DYNAMODB_PORT, INVOKE_PORT, RUNTIME_PORT = 13000, 18000, 18080, 19001
TIME = re.compile(r'"_updatedAt":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"')


def wait_for(log, text, process):
    for _ in range(200):
        if text in pathlib.Path(log.name).read_text():
            return
        if process.poll() is not None:
            sys.exit(f"ended early:\n{pathlib.Path(log.name).read_text()}")
        time.sleep(0.05)
    sys.exit(f"did not say '{text}':\n{pathlib.Path(log.name).read_text()}")


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


def main():
    expected = {path.name: json.loads(path.read_text()) for path in (ROOT / "tests/expected").glob("*.json")}
    variables = {
        "TOKENS_TABLE": "local-tokens",
        "LIVECHAT_TABLE": "local-livechat",
        "AWS_ENDPOINT_URL_DYNAMODB": f"http://127.0.0.1:{DYNAMODB_PORT}",
        "AWS_REGION": "eu-west-1",
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_LAMBDA_FUNCTION_NAME": "emulated",
        "AWS_LAMBDA_FUNCTION_TIMEOUT": "15",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256",
        "AWS_LAMBDA_LOG_LEVEL": "TRACE",
    }
    emulator = [
        EMULATOR,
        "--runtime-interface-emulator-address", f"127.0.0.1:{INVOKE_PORT}",
        "--runtime-api-address", f"127.0.0.1:{RUNTIME_PORT}",
        BOOTSTRAP,
    ]
    local = [ROOT / "target/debug/unitctl", "local", "--port", str(API_PORT), "--dynamodb-port", str(DYNAMODB_PORT)]
    failures = 0
    with tempfile.NamedTemporaryFile() as local_log, tempfile.NamedTemporaryFile() as log:
        data = subprocess.Popen(local, stdout=local_log, stderr=subprocess.STDOUT)
        wait_for(local_log, "Ctrl-C stops", data)
        os.chmod(EMULATOR, 0o755)
        function = subprocess.Popen(emulator, env=variables, stdout=log, stderr=subprocess.STDOUT)
        try:
            for name in sorted(expected):
                answer = invoke(json.loads((ROOT / "events" / name).read_text()))
                if "body" in answer:
                    answer["body"] = TIME.sub('"_updatedAt":"<now>"', answer["body"])
                if answer != expected[name]:
                    failures += 1
                    print(f"{name}\n  answered {json.dumps(answer)}\n  expected {json.dumps(expected[name])}")
        finally:
            function.terminate()
            data.terminate()
            function.wait()
            data.wait()
        printed = pathlib.Path(log.name).read_text()

    metrics = [json.loads(line) for line in printed.splitlines() if line.startswith('{"_aws"')]
    if len(metrics) != len(expected) or sum(line["ColdStarts"] for line in metrics) != 1:
        failures += 1
        print(f"{len(metrics)} lines of metrics, {len(expected)} events:\n{printed}")
    requests = [line for line in printed.splitlines() if '"message":"request"' in line]
    if len(requests) != len(expected):
        failures += 1
        print(f"{len(requests)} request lines, {len(expected)} events:\n{printed}")
    # These are the function's own lines. The emulator prints nothing of the events.
    if "RScctEHSmLGZGywfIhWyRpyofhKOiMoUIpimhvheU3f" in printed:
        failures += 1
        print("a token is in the log")
    print(f"{len(expected)} events, {failures} failures")
    sys.exit(failures != 0)


main()
