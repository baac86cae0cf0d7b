"""Whatever can be made of the API's own description, well-formed or not, is answered: no 500, no hang, no leak."""

from __future__ import annotations

from typing import Any

import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error

from relay.openapi.document import describe
from tests.support_services import Service

_DEADLINE_S = 15.0
_FEW = settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))

schema = schemathesis.openapi.from_dict(describe())


@schema.parametrize()
@_FEW
def test_every_route_answers_whatever_it_is_sent(case: schemathesis.Case[Any], relay: Service) -> None:
    """In time, and not as a defect of ours; nor does any answer show where the service runs or what it is made of."""
    answer = case.call(base_url=relay.url, timeout=_DEADLINE_S)
    case.validate_response(answer, checks=[not_a_server_error])
    assert "Traceback" not in answer.text
