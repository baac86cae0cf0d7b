"""The description of the API."""


def describe() -> dict[str, object]:
    """Return the OpenAPI document."""
    return {"openapi": "3.1.0"}
