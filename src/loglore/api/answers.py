"""The errors that routes answer with, for the OpenAPI document."""

from typing import Any

SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
    "example": {
        "error": {
            "message": "job 'ftjob-1': no such id; see `loglore jobs list`",
            "type": "invalid_request_error",
            "param": None,
            "code": "not_found",
        }
    },
}
_ERROR = {
    "description": "An error in OpenAI's shape.",
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
}
ERRORS: dict[int | str, dict[str, Any]] = dict.fromkeys((400, 401, 403, 404, 408, 409, 413, 429, 503, 507), _ERROR)
