"""Runs an AWS CLI command without calling AWS: the AWS CLI checks the command and its parameters, and gets a made-up reply.

Run by the Python that has awscli."""

import sys
import types

from awscli.clidriver import create_clidriver

# It has everything that the documents' commands wait for or look for.
REPLY = {
    "EvaluationResults": [],
    "ResponseMetadata": {"HTTPStatusCode": 200},
    "Stacks": [{
        "StackStatus": "DELETE_COMPLETE",
        "Outputs": [
            {"OutputKey": "ApiUrl", "OutputValue": "https://a1b2c3d4e5.execute-api.eu-west-1.amazonaws.com"},
            {"OutputKey": "ApiId", "OutputValue": "a1b2c3d4e5"},
            {"OutputKey": "FunctionAliasArn", "OutputValue": "arn:aws:lambda:eu-west-1:123456789012:function:livechat-units-update-unit:live"},
            {"OutputKey": "FunctionRoleArn", "OutputValue": "arn:aws:iam::123456789012:role/livechat-units-FunctionRole"},
            {"OutputKey": "LivechatTableArn", "OutputValue": "arn:aws:dynamodb:eu-west-1:123456789012:table/livechat-units"},
        ],
    }],
    # Of API Gateway.
    "id": "f6g7h8i9j0",
    "items": [{"id": "k1l2m3n4o5", "path": "/"}],
    "Table": {"TableStatus": "ACTIVE", "TableArn": "arn:aws:dynamodb:eu-west-1:123456789012:table/livechat-units"},
}

driver = create_clidriver()
driver.session.register("before-call", lambda **_: (types.SimpleNamespace(status_code=200), REPLY))
sys.exit(driver.main())
