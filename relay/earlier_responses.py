"""What is known of a response beside its stream: what it was asked, for those who ask again or go on from it."""

from __future__ import annotations

from relay.dialects.responses_items import Item
from relay.dialects.responses_object import NOTHING_ASKED, Asked, stream_of
from relay.dialects.responses_request import asked_from, said_before
from relay.parsing import refuse
from relay.services import Services
from relay.state import fold_log, owned_record
from shared.errors import GoneError, NotFoundError

_FIELD = "previous_response_id"


async def asked_of_stream(services: Services, stream_id: str) -> Asked:
    """Return what a stream was asked; of one that nothing is kept of, nothing. Raises ``RedisError``."""
    return asked_from(await services.log.kept.read(stream_id)) or NOTHING_ASKED


async def conversation_of(services: Services, tenant: str, response_id: str | None) -> list[Item]:
    """Return all that was said up to the end of an earlier response of the tenant; nothing where there is none.

    Raises ``InvalidRequestError`` for one that cannot be gone on from.
    """
    if response_id is None:
        return []
    try:
        stream_id = stream_of(response_id)
        await owned_record(services.log, stream_id, tenant)
        asked = asked_from(await services.log.kept.read(stream_id))
        answer = await fold_log(services.log, stream_id)
    except (NotFoundError, GoneError):
        refuse("there is no such response, or no longer; send the whole conversation as input", _FIELD)
    if asked is None:
        refuse(
            "nothing is kept of this response: its store was false, or it is no response of this API's; send the "
            "whole conversation as input",
            _FIELD,
        )
    if answer.end is None:
        refuse("this response is still being made; wait for its end", _FIELD)
    return said_before(stream_id, asked, answer)
