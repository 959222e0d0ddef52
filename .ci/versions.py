#!/usr/bin/env python3
"""Translates template.yaml as CloudFormation does on AWS, by SAM's own translator, and checks when a deployment
publishes a new version of the function: whenever its code or its configuration changes, by a parameter or by an edit of the
template, and at no other time. The one exception is an edit of what Lambda does not keep in a version.

Run by the Python that has aws-sam-cli, whose packages have the translator."""

import copy
import itertools
import logging
import os
import pathlib
import re
import sys

os.environ.setdefault("AWS_DEFAULT_REGION", "eu-west-1")
import boto3
from samcli.yamlhelper import yaml_parse
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator

ROOT = pathlib.Path(__file__).resolve().parent.parent
TEMPLATE = yaml_parse((ROOT / "template.yaml").read_text())
PARAMETERS = TEMPLATE["Parameters"]
# Values that differ from the default, for parameters whose allowed values the template does not list.
OTHERS = {
    "MemorySize": 512,
    "Timeout": 15,
    "ReservedConcurrency": 10,
    "RateLimit": 50,
    "BurstLimit": 50,
    "AllowedOrigins": "https://chat.example.com",
    "ExistingTokensTable": "restored-tokens",
    "ExistingLivechatTable": "restored-livechat",
    "KmsKeyArn": "arn:aws:kms:eu-west-1:123456789012:key/11111111-2222-3333-4444-555555555555",
    "MaxReadUnits": "1000",
    "MaxWriteUnits": "1000",
    "AlarmTopicArn": "arn:aws:sns:eu-west-1:123456789012:operators",
    "LatencyAlarmMs": 500,
}
# The parameters that the function's configuration depends on. The rest of this script proves that the list is complete.
OF_THE_FUNCTION = {
    "Architecture", "MemorySize", "Timeout", "LogLevel", "Tracing", "ExistingTokensTable", "ExistingLivechatTable",
}
# Properties that are not a part of a version ("Manage Lambda function versions", AWS Lambda Developer Guide).
NOT_IN_A_VERSION = {"ReservedConcurrentExecutions", "Tags"}
# Edits of the function's properties in the template, by the property and a part of it.
EDITS = [
    ("Description", None, "Another description"),
    ("Runtime", None, "provided.al2"),
    ("Architectures", None, ["x86_64"]),
    ("MemorySize", None, 512),
    ("Timeout", None, 15),
    ("Tracing", None, "PassThrough"),
    ("EphemeralStorage", None, {"Size": 1024}),
    ("LoggingConfig", "SystemLogLevel", "WARN"),
    ("Environment", "Variables", {"RUST_LOG": "warn"}),
    ("VpcConfig", None, {"SubnetIds": ["subnet-1"], "SecurityGroupIds": ["sg-1"]}),
    ("ReservedConcurrentExecutions", None, 10),
    ("Tags", "application", "another"),
]
NO_VALUE = object()

failures = 0


def check(is_right, message):
    global failures
    if not is_right:
        failures += 1
        print(message)


def translate(template, code="s3://bucket/code-1", **values):
    """The CloudFormation template that the parameters' values give, with `code` in the place of the built artifact."""
    template = copy.deepcopy(template)
    template["Resources"]["Function"]["Properties"]["CodeUri"] = code
    translator = Translator({}, Parser(), boto_session=boto3.Session())
    translated = translator.translate(template, {name: str(value) for name, value in values.items()})
    return Resolved(translated, {name: parameter.get("Default") for name, parameter in PARAMETERS.items()} | values)


class Resolved:
    """A translated template with the values of its parameters in their places. References to resources stay as
    names, because CloudFormation gives them the same values each time."""

    def __init__(self, template, values):
        self.conditions = template["Conditions"]
        self.values = {name: str(value) for name, value in values.items()}
        self.resources = {
            name: {key: self.resolve(value) for key, value in resource.items()}
            for name, resource in template["Resources"].items()
            if "Condition" not in resource or self.holds(resource["Condition"])
        }

    def holds(self, condition):
        if isinstance(condition, str):
            return self.holds(self.conditions[condition])
        [(function, argument)] = condition.items()
        match function:
            case "Condition":
                return self.holds(argument)
            case "Fn::Equals":
                left, right = self.resolve(argument)
                return str(left) == str(right)
            case "Fn::Not":
                return not self.holds(argument[0])
            case "Fn::Or":
                return any(self.holds(part) for part in argument)
        sys.exit(f"{function} is not known to this script")

    def resolve(self, value):
        if isinstance(value, list):
            return [item for item in map(self.resolve, value) if item is not NO_VALUE]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            [(function, argument)] = value.items()
            match function:
                case "Ref":
                    return NO_VALUE if argument == "AWS::NoValue" else self.values.get(argument, f"<{argument}>")
                case "Fn::GetAtt":
                    return f"<{argument}>"
                case "Fn::If":
                    return self.resolve(argument[1] if self.holds(argument[0]) else argument[2])
                case "Fn::Sub":
                    text, more = argument if isinstance(argument, list) else (argument, {})
                    more = {name: self.resolve(part) for name, part in more.items()}
                    return re.sub(r"\$\{([^!}]+)\}", lambda m: str((self.values | more).get(m[1], f"<{m[1]}>")), text)
        resolved = {key: self.resolve(item) for key, item in value.items()}
        return {key: item for key, item in resolved.items() if item is not NO_VALUE}

    def only(self, kind):
        [(name, resource)] = [item for item in self.resources.items() if item[1]["Type"] == kind]
        return name, resource

    def version(self):
        """CloudFormation publishes a version when this changes: each property of AWS::Lambda::Version needs replacement."""
        name, resource = self.only("AWS::Lambda::Version")
        return name, resource["Properties"]

    def configuration(self):
        """What Lambda compares to the latest version before it publishes another."""
        properties = self.only("AWS::Lambda::Function")[1]["Properties"]
        return {name: value for name, value in properties.items() if name not in NOT_IN_A_VERSION}


def others(name):
    parameter = PARAMETERS[name]
    if "AllowedValues" in parameter:
        return [value for value in parameter["AllowedValues"] if value != parameter["Default"]]
    value = OTHERS[name]
    if "AllowedPattern" in parameter:
        check(re.fullmatch(parameter["AllowedPattern"], value), f"{value} is not allowed for {name}")
    return [value]


def main():
    logging.getLogger("samtranslator").setLevel(logging.ERROR)
    before = translate(TEMPLATE)
    check(before.version() == translate(TEMPLATE).version(), "a deployment that changes nothing publishes a version")
    check(before.version() != translate(TEMPLATE, code="s3://bucket/code-2").version(), "new code publishes no version")
    changes = 0
    for name in PARAMETERS:
        for value in others(name):
            changes += 1
            after = translate(TEMPLATE, **{name: value})
            publishes = after.version() != before.version()
            changed = after.configuration() != before.configuration()
            # Lambda refuses to publish a version of an unchanged function, and then the deployment fails.
            check(publishes == changed, f"{name}={value}: publishes {publishes}, function changed {changed}")
            check(changed == (name in OF_THE_FUNCTION), f"{name}={value}: function changed {changed}")

    for name, part, value in EDITS:
        edited = copy.deepcopy(TEMPLATE)
        properties = edited["Resources"]["Function"]["Properties"]
        properties[name] = value if part is None else properties[name] | {part: value}
        after = translate(edited)
        # SAM publishes a version even if Lambda then refuses it. The comments in the template say what to do about it.
        check(after.version() != before.version(), f"an edit of {name} publishes no version")
        changed = after.configuration() != before.configuration()
        check(changed == (name not in NOT_IN_A_VERSION), f"an edit of {name}: function changed {changed}")

    # Different values give different descriptions, so two changes at the same time can't cancel each other out.
    names = sorted(OF_THE_FUNCTION)
    for one, other in itertools.combinations(names, 2):
        values = {one: others(one)[0], other: others(other)[0]}
        both = translate(TEMPLATE, **values).version()
        check(both != before.version(), f"{values} publish no version")

    _, version = before.only("AWS::Lambda::Version")
    for policy in ("DeletionPolicy", "UpdateReplacePolicy"):
        check(version.get(policy) == "Retain", f"a version that is no longer live is not kept: no {policy}")
    longest = translate(TEMPLATE, Architecture="x86_64", MemorySize=10240, ExistingTokensTable="t" * 100,
                        ExistingLivechatTable="l" * 100)
    check(len(longest.version()[1]["Description"]) <= 256, "a version's description may have 256 letters")

    # If this fails, SAM publishes these versions by itself, and the description is no longer needed.
    without = copy.deepcopy(TEMPLATE)
    del without["Resources"]["Function"]["Properties"]["VersionDescription"]
    for name in names:
        unchanged = translate(without, **{name: others(name)[0]}).version() == translate(without).version()
        check(unchanged, f"SAM publishes a version by itself when {name} changes")

    for kind in PARAMETERS["DeploymentType"]["AllowedValues"]:
        _, group = translate(TEMPLATE, DeploymentType=kind).only("AWS::CodeDeploy::DeploymentGroup")
        group = group["Properties"]
        check(group["DeploymentConfigName"] == f"CodeDeployDefault.Lambda{kind}", group["DeploymentConfigName"])
        alarms = [alarm["Name"] for alarm in group["AlarmConfiguration"].get("Alarms", [])]
        expected = [] if kind == "AllAtOnce" else ["<ErrorsAlarm>", "<ServerErrorsAlarm>", "<LatencyAlarm>"]
        check(alarms == expected, f"{kind} watches {alarms}")

    # An origin with a space or a path would never match a browser's origin.
    origins = re.compile(PARAMETERS["AllowedOrigins"]["AllowedPattern"])
    for allowed in ("", "*", "https://a.example.com", "http://localhost:3000,https://b.example.com"):
        check(origins.fullmatch(allowed), f"AllowedOrigins refuses '{allowed}'")
    for refused in ("https://a.example.com, https://b.example.com", "https://a.example.com/", "a.example.com", ","):
        check(not origins.fullmatch(refused), f"AllowedOrigins takes '{refused}'")
    cors = translate(TEMPLATE, AllowedOrigins="https://a.example.com").resources["Api"]["Properties"]["Body"]
    check(cors["x-amazon-apigateway-cors"]["exposeHeaders"] == ["retry-after"], "browsers hide retry-after")

    # A stack with existing tables creates none, and its function may use only those.
    existing = translate(TEMPLATE, ExistingTokensTable="restored-tokens", ExistingLivechatTable="restored-livechat")
    kinds = [resource["Type"] for resource in existing.resources.values()]
    check("AWS::DynamoDB::Table" not in kinds, "a stack on existing tables creates tables")
    variables = existing.configuration()["Environment"]["Variables"]
    check(variables["TOKENS_TABLE"] == "restored-tokens", variables)
    check(variables["LIVECHAT_TABLE"] == "restored-livechat", variables)
    check("Table>" not in str(existing.resources), "a stack on existing tables refers to one of its own")
    # The function has permissions for KMS only if there is a key.
    with_key = translate(TEMPLATE, KmsKeyArn=OTHERS["KmsKeyArn"])
    check(OTHERS["KmsKeyArn"] in str(with_key.resources["FunctionRole"]), "the role may not use the key")
    check("kms:" not in str(before.resources["FunctionRole"]), "the role may use a key although there is none")
    print(f"{changes} changes of {len(PARAMETERS)} parameters, {len(EDITS)} edits, {failures} failures")
    sys.exit(failures != 0)


main()
