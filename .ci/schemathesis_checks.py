"""A request that the OpenAPI document allows may be refused because of the stored data, and never because of its form."""

import schemathesis

STORED = {
    "error-unit-not-found",
    "error-department-not-found",
    "error-department-too-large",
    "error-unit-too-large",
}


@schemathesis.check
def a_valid_request_is_refused_only_because_of_stored_data(ctx, response, case):
    if case.meta and case.meta.generation.mode.is_positive and response.status_code == 400:
        assert response.json().get("errorType") in STORED, f"refused a valid request: {response.text}"
