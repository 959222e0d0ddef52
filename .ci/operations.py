#!/usr/bin/env python3
"""Checks what operators use: every command in their documents, samconfig.toml, the deployer's and the restorer's policies, and
the smoke request.

Run by the Python that has aws-sam-cli and cfn-lint, with the folder of the AWS CLI's environment as argument. AWS itself is
not called: `.ci/aws.py` answers the AWS CLI, `sam` stops after reading its options, and the smoke request goes to
`unitctl local`."""

import concurrent.futures
import contextlib
import fnmatch
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

os.environ.setdefault("AWS_DEFAULT_REGION", "eu-west-1")
import cfnlint
from samcli.cli.types import CfnParameterOverridesType
from samcli.lib.config.samconfig import SamConfig
from samcli.yamlhelper import yaml_parse

ROOT = pathlib.Path(__file__).resolve().parent.parent
SAM = pathlib.Path(sys.executable).parent
AWS = pathlib.Path(sys.argv[1]).resolve() / "bin"
UNITCTL = ROOT / "target/debug/unitctl"
PORT, DYNAMODB_PORT = 13100, 18100
# The blocks for `sh`. unitctl has no sync here: unitctl/tests/sync/restoring.rs runs the two commands of it in docs/restore.md.
DOCUMENTS = ["docs/deploying.md", "docs/operating.md", "docs/restore.md"]
TEMPLATE = yaml_parse((ROOT / "template.yaml").read_text())
BACKUP = "arn:aws:dynamodb:eu-west-1:123456789012:table/livechat-units-tokens/backup/01764081600000-a1b2c3d4"
REFUSED = '{"status":"error","message":"You must be logged in to do this."} 401'

# Each program is replaced by one that checks the command line and does nothing.
PROGRAMS = {
    "aws": f'exec {AWS}/python {ROOT}/.ci/aws.py "$@"',
    "sam": f'exec {SAM}/sam "$@" --help >/dev/null',
    "unitctl": f'exec {UNITCTL} "$@" --help >/dev/null',
    # The documents' loop ends at once.
    "sleep": "exit 1",
    "curl": f"echo '{REFUSED}'",
    "cargo": "exit 0",
    "pip": "exit 0",
    "rustup": "exit 0",
}
# Permissions that CloudFormation's resource types list for features that the template does not use.
UNUSED = [
    "dynamodb:*Replica", "dynamodb:*Import*", "dynamodb:*Item", "dynamodb:Scan", "dynamodb:Query",
    "dynamodb:*KinesisStreamingDestination", "dynamodb:*ResourcePolicy", "dynamodb:UpdateContributorInsights",
    "ec2:*", "elasticfilesystem:*", "firehose:*", "kinesis:*", "s3files:*", "s3:REST*", "s3:GetObjectMetadata",
    "s3:getObject", "iam:CreateServiceLinkedRole", "iam:*PermissionsBoundary", "lambda:*LayerVersion",
    "lambda:*CodeSigningConfig", "lambda:PutRuntimeManagementConfig", "lambda:PutFunctionRecursionConfig",
    "lambda:PutFunctionScalingConfig", "lambda:PassCapacityProvider", "lambda:AssociateRuntimeAlias",
    "lambda:PutProvisionedConcurrencyConfig", "lambda:DeleteProvisionedConcurrencyConfig",
    "codedeploy:RegisterOnPremisesInstance", "logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents",
    "logs:*DataProtectionPolicy", "logs:*IndexPolicy", "logs:*KmsKey", "logs:*BearerTokenAuthentication",
    "logs:*DeletionProtection", "logs:DeleteResourcePolicy",
]

failures = 0


def check(is_right, message):
    global failures
    if not is_right:
        failures += 1
        print(message)


@contextlib.contextmanager
def programs(scripts):
    """A PATH on which these programs come first."""
    with tempfile.TemporaryDirectory() as folder:
        for name, script in scripts.items():
            path = pathlib.Path(folder) / name
            path.write_text(f'#!/usr/bin/env bash\n{script}\n')
            path.chmod(0o755)
        yield os.environ | {
            "PATH": f"{folder}:{os.environ['PATH']}", "AWS_ACCESS_KEY_ID": "none", "AWS_SECRET_ACCESS_KEY": "none",
            "SAM_CLI_TELEMETRY": "0",
        }


def run(script, environment):
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script], cwd=ROOT, env=environment, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600,
    )


def commands():
    """Runs the commands of each document one after the other, as a reader does."""
    count = 0
    with programs(PROGRAMS) as environment:
        scripts = {}
        for document in DOCUMENTS:
            # A block may be indented, as a part of a list.
            blocks = re.findall(r"^( *)```sh\n(.*?)^ *```$", (ROOT / document).read_text(), re.DOTALL | re.MULTILINE)
            check(len(blocks) > 3, f"{document} has {len(blocks)} blocks of commands")
            scripts[document] = "\n".join(block for _, block in blocks)
            for line in scripts[document].splitlines():
                count += bool(re.match(r" *(aws|sam|unitctl|deploy/smoke) ", line))
        # The documents run side by side, because each command takes a second or two to start.
        with concurrent.futures.ThreadPoolExecutor() as pool:
            for document, done in zip(scripts, pool.map(lambda script: run(script, environment), scripts.values())):
                check(done.returncode == 0, f"{document}:\n{done.stdout}")
        # Some commands stand within a sentence.
        for document in DOCUMENTS:
            for command in re.findall(r"`((?:aws|sam|unitctl) [a-z][^`\n]* --[^`\n]* [^`\n]*)`", (ROOT / document).read_text()):
                count += 1
                command = command.replace('"$RESTORED', '"restored').replace(" ARN", f" {BACKUP}")
                done = run(command, environment)
                check(done.returncode == 0, f"{document}: {command}:\n{done.stdout}")
        count += workflow(environment)
    return count


def workflow(environment):
    """Runs the steps of the sample workflow for each environment that it offers."""
    count = 0
    jobs = yaml_parse((ROOT / "deploy/workflow.yml").read_text())
    offered = jobs["on" if "on" in jobs else True]["workflow_dispatch"]["inputs"]["config-env"]["options"]
    trusted = (ROOT / "deploy/trust-policy.json").read_text()
    for name in offered:
        check(f":environment:{name}\"" in trusted, f"the trust policy does not let the environment {name} use the role")
        # As on GitHub, a step sets a variable for the steps after it.
        given = {"CONFIG_ENV": name}
        for step in jobs["jobs"]["deploy"]["steps"]:
            script = step.get("run", "")
            if "pip install" in script or ".ci/" in script:
                continue
            with tempfile.NamedTemporaryFile() as variables:
                done = run(script, environment | given | {"GITHUB_ENV": variables.name})
                lines = pathlib.Path(variables.name).read_text().splitlines()
            given |= dict(line.split("=", 1) for line in lines)
            count += script.count("aws ") + script.count("sam ")
            check(done.returncode == 0, f"workflow, {name}, {step.get('name')}:\n{done.stdout}")
        stack = SamConfig(str(ROOT), "samconfig.toml").get_all(["deploy"], "parameters", name)["stack_name"]
        check(given.get("STACK") == stack, f"the workflow deploys {given.get('STACK')} instead of {stack}")
        check("PREVIOUS" in given, f"the workflow does not note the version before: {given}")
    return count


def configuration():
    """Each environment of samconfig.toml gives parameters that the template has and allows."""
    config = SamConfig(str(ROOT), "samconfig.toml")
    check({"default", "staging", "production"} <= set(config.document), f"environments {list(config.document)}")
    same = set()
    for name in ("default", "staging", "production"):
        options = config.get_all(["deploy"], "parameters", name)
        overrides = CfnParameterOverridesType().convert(options["parameter_overrides"], None, None)
        for parameter, value in overrides.items():
            allowed = TEMPLATE["Parameters"].get(parameter, {}).get("AllowedValues")
            check(allowed and value in allowed, f"{name}: {parameter}={value}")
        check(overrides["TableRetention"] == ("Delete" if name == "default" else "Retain"), f"{name}: {overrides}")
        same.add((options["capabilities"], options["s3_prefix"], options["resolve_s3"], options["confirm_changeset"]))
    check(len(same) == 1, f"the environments differ in {same}")
    # The deployment after a hotfix has to be gradual again.
    check(overrides["DeploymentType"] == TEMPLATE["Parameters"]["DeploymentType"]["Default"], f"production: {overrides}")


def actions(statements):
    return {action for s in statements for action in (s["Action"] if isinstance(s["Action"], list) else [s["Action"]])}


def json_blocks(document):
    return [json.loads(block) for block in re.findall(r"^```json\n(.*?)^```$", (ROOT / document).read_text(), re.DOTALL | re.MULTILINE)]


def policy():
    """The deployer may do what CloudFormation does for the template's resources, and nothing else."""
    given = actions(json.loads((ROOT / "deploy/deployer-policy.json").read_text())["Statement"])
    # SAM makes resources of these types from the function.
    kinds = {resource["Type"] for resource in TEMPLATE["Resources"].values() if "Serverless" not in resource["Type"]} | {
        "AWS::ApiGatewayV2::Api", "AWS::ApiGatewayV2::Stage", "AWS::CodeDeploy::Application",
        "AWS::CodeDeploy::DeploymentGroup", "AWS::IAM::Role", "AWS::Lambda::Alias", "AWS::Lambda::Function",
        "AWS::Lambda::Permission", "AWS::Lambda::Version",
    }
    needed, of_key, seen = set(), set(), set()
    for path in (pathlib.Path(cfnlint.__file__).parent / "data/schemas/resources").glob("*.json"):
        schema = json.loads(path.read_text())
        if schema.get("typeName") in kinds and schema["typeName"] not in seen:
            seen.add(schema["typeName"])
            for name, handler in schema.get("handlers", {}).items():
                if name != "list":
                    of_kms = {action for action in handler["permissions"] if action.startswith("kms:")}
                    needed.update(set(handler["permissions"]) - of_kms)
                    # Only the tables can have a key.
                    if schema["typeName"] == "AWS::DynamoDB::Table":
                        of_key.update(of_kms)
    check(seen == kinds, f"no list of permissions for {kinds - seen}")
    missing = {action for action in needed - given if not any(fnmatch.fnmatchcase(action, unused) for unused in UNUSED)}
    check(not missing, f"the deployer may not {sorted(missing)}")
    with_key = [actions(block) for block in json_blocks("docs/deploying.md") if isinstance(block, list)]
    check(with_key == [of_key], f"with a key, the deployer may {with_key} instead of {sorted(of_key)}")
    # These are for SAM, the access log, the smoke request and moving the alias back. CloudFormation does not need them.
    others = ["cloudformation:*", "s3:*", "iam:SimulatePrincipalPolicy", "logs:*LogDelivery", "logs:ListLogDeliveries",
              "lambda:ListTags", "lambda:GetPolicy", "cloudwatch:ListTagsForResource", "dynamodb:Describe*",
              "dynamodb:GetResourcePolicy", "codedeploy:GetApplicationRevision"]
    more = {action for action in given - needed if not any(fnmatch.fnmatchcase(action, other) for other in others)}
    check(not more, f"the deployer may {sorted(more)} for no reason")


def restorer():
    """The policy in docs/restore.md allows what the commands of that page call, and what DynamoDB does for a restore."""
    needed = {"dynamodb:DescribeTable"}
    # "Using IAM with DynamoDB backup and restore", Amazon DynamoDB Developer Guide.
    for action in ("BatchWriteItem", "DeleteItem", "GetItem", "PutItem", "Query", "Scan", "UpdateItem"):
        needed.add(f"dynamodb:{action}")
    for service, command in re.findall(r"\baws (dynamodb|lambda) ([a-z-]+)", (ROOT / "docs/restore.md").read_text()):
        if command != "wait":
            needed.add(f"{service}:{command.title().replace('-', '')}")
    [policy] = json_blocks("docs/restore.md")
    given = actions(policy["Statement"])
    check(given == needed, f"the restorer's policy and the commands differ by {sorted(given ^ needed)}")


def smoke():
    """deploy/smoke succeeds for a function that works, and fails for one that does not work or may not write."""
    outputs = {"ApiUrl": f"http://127.0.0.1:{PORT}", "FunctionRoleArn": "arn:aws:iam::123456789012:role/r",
               "LivechatTableArn": "arn:aws:dynamodb:eu-west-1:123456789012:table/t"}
    check(set(outputs) <= set(TEMPLATE["Outputs"]), "the template lacks an output of the smoke request")
    statements = TEMPLATE["Resources"]["Function"]["Properties"]["Policies"][0]["Statement"]
    writes = next(s["Action"] for s in statements if isinstance(s.get("Action"), list))
    check(" ".join(writes) in (ROOT / "deploy/smoke").read_text(), f"the smoke request does not ask for {writes}")

    def aws(url, denied):
        cases = "".join(f"*OutputKey==\\'{name}\\'*) echo {value} ;; " for name, value in (outputs | {"ApiUrl": url}).items())
        return {"aws": f'case "$*" in {cases}*simulate-principal-policy*) echo "{denied}" ;; *) exit 1 ;; esac'}

    local = [UNITCTL, "local", "--port", str(PORT), "--dynamodb-port", str(DYNAMODB_PORT)]
    with tempfile.NamedTemporaryFile() as log:
        process = subprocess.Popen(local, stdout=log, stderr=subprocess.STDOUT)
        try:
            for _ in range(1200):
                if "Ctrl-C stops" in pathlib.Path(log.name).read_text():
                    break
                time.sleep(0.05)
            for url, denied, expected in [
                (outputs["ApiUrl"], "", 0),
                (outputs["ApiUrl"], "dynamodb:PutItem", 1),
                (outputs["ApiUrl"] + "/stage", "", 1),
                (f"http://127.0.0.1:{PORT + 1}", "", 1),
            ]:
                with programs(aws(url, denied)) as environment:
                    done = run("deploy/smoke livechat-units", environment)
                check((done.returncode != 0) == (expected != 0), f"{url} {denied}: exit {done.returncode}\n{done.stdout}")
        finally:
            process.terminate()
            process.wait()


count = commands()
configuration()
policy()
restorer()
smoke()
print(f"{count} commands, {failures} failures")
sys.exit(failures != 0)
