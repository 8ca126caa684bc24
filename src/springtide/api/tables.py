"""Routes of tables that many senders fill: rows in, and what came from whom."""

# Litestar reads these annotations when the program runs, so they are not put off.

import asyncio
from functools import partial
from typing import Annotated, Any

from anyio import to_thread
from litestar import Request, get, post
from litestar.di import NamedDependency
from litestar.exceptions import ClientException, HTTPException, InternalServerException
from litestar.params import FromPath, QueryParameter

from springtide.app import regions
from springtide.app.answers import Answers
from springtide.settings.words import RowsSource
from springtide.sources.sent.cells import Form

__all__ = ["TABLE_ROUTES"]

FORMS: dict[str, Form] = {
    "text/csv": "csv",
    "application/csv": "csv",
    "application/json": "json",
    "application/x-ndjson": "json",
    "application/jsonl": "json",
    "application/vnd.apache.parquet": "parquet",
    "application/x-parquet": "parquet",
    "application/parquet": "parquet",
}

Asked = NamedDependency[Answers]
Region = Annotated[str, QueryParameter(description="Who sends.")]
Batch = Annotated[
    str | None, QueryParameter(description="The batch's name; it counts once. The hash of its bytes when left out.")
]


@get("/v1/tables", sync_to_thread=True, tags=["tables"])
def tables(answers: Asked) -> list[Any]:
    """The tables of the lake, and those that rows can be sent to."""
    return answers.tables()


@post("/v1/tables/{table:str}/rows", status_code=200, request_max_body_size=None, tags=["tables"])
async def rows(
    answers: Asked, request: Request[Any, Any, Any], table: FromPath[str], region: Region, batch: Batch = None
) -> Any:
    """Take a batch of rows (CSV, JSON or Parquet, by its Content-Type). Returns the receipt, the same when it is sent again."""
    source = regions.taking(answers.home, table, region)
    form = _form(request)
    data = await _body(request, source, table)
    hand_in = partial(
        regions.hand_in, answers.home, table, region=region, batch=batch, data=data, form=form, now=answers.clock()
    )
    stored = asyncio.wrap_future(await to_thread.run_sync(hand_in))
    return await asyncio.shield(stored)  # a client that goes away does not take back what it has sent


@get("/v1/tables/{table:str}/regions", sync_to_thread=True, tags=["tables"])
def of_regions(answers: Asked, table: FromPath[str]) -> dict[str, Any]:
    """What came from each region: batches, rows, rejected rows, last arrival, newest period reported; who is waited for."""
    return regions.region_facts(answers.home, table)


@get("/v1/tables/{table:str}/rejected", sync_to_thread=True, tags=["tables"])
def rejected(
    answers: Asked,
    table: FromPath[str],
    region: Annotated[str | None, QueryParameter(description="Of one region; of all when left out.")] = None,
    limit: Annotated[int, QueryParameter(ge=1, le=1000)] = 100,
) -> list[Any]:
    """The newest rows that were not taken, each with its reason; without a row: a whole batch was refused."""
    return list(regions.rejected_rows(answers.home, table, region=region, limit=limit))


def _form(request: Request[Any, Any, Any]) -> Form:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if request.headers.get("content-encoding", "identity") != "identity" or kind not in FORMS:
        detail = f"{kind or 'a body of no type'} is not taken; send text/csv, application/json or application/vnd.apache.parquet, not packed"
        raise HTTPException(detail, status_code=415)
    return FORMS[kind]


async def _body(request: Request[Any, Any, Any], source: RowsSource, table: str) -> bytes:
    """The body, refused as soon as it is known to be too large; no more than that is ever held."""
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > source.max_body:
        raise regions.too_large(source, table)
    data = bytearray()
    try:
        async for chunk in request.stream():
            data += chunk
            if len(data) > source.max_body:
                raise regions.too_large(source, table)
    except InternalServerException as error:
        raise ClientException("the body ended before its time") from error
    return bytes(data)


TABLE_ROUTES = (tables, rows, of_regions, rejected)
