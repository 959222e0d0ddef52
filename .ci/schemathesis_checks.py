"""What a request that the document allows may be refused for: what is stored, and never its own form."""

import schemathesis

STORED = {
    "error-unit-not-found",
    "error-department-not-found",
    "error-too-many-changes",
    "error-unit-too-large",
}


@schemathesis.check
def a_sound_request_is_refused_for_what_is_stored(ctx, response, case):
    if case.meta and case.meta.generation.mode.is_positive and response.status_code == 400:
        assert response.json().get("errorType") in STORED, f"refused a sound request: {response.text}"
