"""The routes: each translates one request into one verb, and decides nothing."""

# Litestar reads these annotations when the program runs, so they are not put off.

from collections.abc import AsyncIterator
from functools import partial
from typing import Annotated, Any, Literal

import anyio
import msgspec
from anyio import to_thread
from litestar import MediaType, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, HeaderParameter, JSONBody, QueryParameter
from litestar.response import ServerSentEvent, ServerSentEventMessage

import springtide
from springtide.api.bodies import CancelBody, InferBody, PredictBody, PromoteBody, RetrainBody, RollbackBody
from springtide.api.metrics import Metrics
from springtide.api.tables import TABLE_ROUTES
from springtide.app import queue
from springtide.app.answers import Answers
from springtide.app.queue import news, submit
from springtide.app.report.lookup import report_on
from springtide.domain.errors import BadRows, NotReady

__all__ = ["ROUTES"]

EVENTS_S = 0.25  # between two looks for what a run tells
Asked = NamedDependency[Answers]
Format = Annotated[
    Literal["records", "columns"], QueryParameter(description="One object a line, or one list a column.")
]
SeriesNames = Annotated[
    list[str] | None, QueryParameter(name="series", description="May be repeated; all when left out.")
]


@get("/healthz", sync_to_thread=False, tags=["server"])
def healthz() -> dict[str, str]:
    """The process is alive."""
    return {"status": "alive", "version": springtide.__version__}


@get("/readyz", sync_to_thread=False, tags=["server"])
def readyz(answers: Asked) -> Response[Any]:
    """Ready: a champion is loaded, be it expired, or no model is configured. Lists what serves, has expired, is missing."""
    try:
        return Response({"status": "ready", **answers.ready()})
    except NotReady as error:
        problem = {"type": "/docs#NotReady", "title": error.what, "status": 503, "where": error.where, "do": error.do}
        missing = {"missing": list(answers.shelf.places)}
        return Response(problem | missing, status_code=503, media_type="application/problem+json")


@get("/metrics", sync_to_thread=False, media_type=MediaType.TEXT, tags=["server"])
def metrics(answers: Asked, counts: NamedDependency[Metrics]) -> str:
    """Counts for Prometheus."""
    return counts.render(answers.shelf, at=answers.clock())


@get("/v1/models", sync_to_thread=False, tags=["models"])
def models(answers: Asked) -> list[Any]:
    """The models, each with its state (serving, expired, refused, empty) and what serves."""
    return answers.models()


@get("/v1/models/{name:str}", sync_to_thread=True, tags=["models"])
def model(answers: Asked, name: FromPath[str]) -> dict[str, Any]:
    """One model: state, settings, what serves, what was refused, how fresh its rows are, the state of each series."""
    return answers.model(name)


@get("/v1/models/{name:str}/versions", sync_to_thread=True, tags=["models"])
def versions(answers: Asked, name: FromPath[str]) -> list[Any]:
    """All versions of a model with manifest and verdict, newest first."""
    return answers.versions(name)


@get("/v1/models/{name:str}/journal", sync_to_thread=True, tags=["models"])
def journal(answers: Asked, name: FromPath[str]) -> list[Any]:
    """Who served when, on which data, by which verdict; newest first."""
    return answers.journal(name)


@get("/v1/models/{name:str}/forecast", sync_to_thread=False, tags=["forecasts"])
def forecast(
    answers: Asked,
    name: FromPath[str],
    series: SeriesNames = None,
    format: Format = "records",  # noqa: A002 - the query's own word
) -> dict[str, Any]:
    """What the champion says now, from the newest rows of the table; 503 when they or the champion have expired."""
    return _shaped(answers.forecast(name, series or ()), format)


@post("/v1/models/{name:str}/predict", status_code=200, sync_to_thread=True, tags=["forecasts"])
def predict(
    answers: Asked,
    name: FromPath[str],
    data: JSONBody[PredictBody],
    format: Format = "records",  # noqa: A002 - the query's own word
) -> dict[str, Any]:
    """What the champion says of the rows in the request, of any age; 503 when the champion has expired."""
    rows = data.columns if data.rows is None else data.rows
    if rows is None or (data.rows is not None and data.columns is not None):
        raise BadRows("the body has to hold rows or columns", where=f"rows sent to model {name}", do="send one of them")
    return _shaped(answers.predict(name, rows), format)


@get("/v2/models/{name:str}", sync_to_thread=True, tags=["Open Inference Protocol"])
def metadata(answers: Asked, name: FromPath[str]) -> dict[str, Any]:
    """The tensors that the champion's graph takes and gives."""
    return answers.metadata(name)


@post("/v2/models/{name:str}/infer", status_code=200, sync_to_thread=True, tags=["Open Inference Protocol"])
def infer(answers: Asked, name: FromPath[str], data: JSONBody[InferBody]) -> dict[str, Any]:
    """Run the champion's bare graph: tensors in, tensors out."""
    return answers.infer(name, msgspec.to_builtins(data))


@post("/v1/models/{name:str}/promote", status_code=200, sync_to_thread=True, tags=["models"])
def promote(answers: Asked, name: FromPath[str], data: JSONBody[PromoteBody]) -> Any:
    """Let a version serve because a person says so; it must reproduce its own answers first. Returns the journal line."""
    return answers.promote(name, data.version, by=data.by)


@post("/v1/models/{name:str}/rollback", status_code=200, sync_to_thread=True, tags=["models"])
def rollback(answers: Asked, name: FromPath[str], data: JSONBody[RollbackBody | None] = None) -> Any:
    """Let the champion before this one serve again. Returns the journal line."""
    asked = data or RollbackBody()
    return answers.rollback(name, by=asked.by, to=asked.to)


@get("/v1/runs", sync_to_thread=True, tags=["runs"])
def runs(
    answers: Asked,
    of: Annotated[str | None, QueryParameter(name="model")] = None,
    limit: Annotated[int, QueryParameter(ge=1, le=1000)] = 50,
) -> list[Any]:
    """The newest runs of one model or of all, newest first."""
    return answers.runs(of, limit=limit)


@get("/v1/runs/{run:str}", sync_to_thread=True, tags=["runs"])
def one_run(answers: Asked, run: FromPath[str]) -> Any:
    """One run and how far it came."""
    return answers.run(run)


@post("/v1/models/{name:str}/retrain", status_code=202, sync_to_thread=True, tags=["runs"])
def retrain(answers: Asked, name: FromPath[str], data: JSONBody[RetrainBody | None] = None) -> Any:
    """Let a run of the model wait for a worker; where one waits or runs already the reason joins it. Returns the run."""
    asked = data or RetrainBody()
    return submit(answers.home, name, reasons=(asked.reason,), until=asked.until, priority=asked.priority)


@post("/v1/runs/{run:str}/cancel", status_code=202, sync_to_thread=True, tags=["runs"])
def cancel(answers: Asked, run: FromPath[str], data: JSONBody[CancelBody | None] = None) -> Any:
    """Stop a run: at once where it waits, within two seconds where a worker has it. Returns the run."""
    return queue.cancel(answers.home, run, by=(data or CancelBody()).by)


@get("/v1/runs/{run:str}/events", sync_to_thread=True, tags=["runs"])
def events(
    answers: Asked,
    run: FromPath[str],
    after: Annotated[int, QueryParameter(ge=0, description="Number of the last event that is known.")] = 0,
    last: Annotated[int | None, HeaderParameter(name="Last-Event-ID")] = None,
) -> ServerSentEvent:
    """What a run tells, as server-sent events, until it has ended; each has its kind as event and its number as id."""
    answers.run(run)
    return ServerSentEvent(_sent(answers, run, last if last is not None else after))


async def _sent(answers: Answers, run: str, after: int) -> AsyncIterator[ServerSentEventMessage]:
    """Looks into the database a few times a second, in a thread, until the run has ended and all is told."""
    while (found := await to_thread.run_sync(partial(news, answers.home, run, after=after))) is not None:
        for one in found:
            yield ServerSentEventMessage(msgspec.json.encode(one).decode(), event=one.kind, id=one.number)
        if found:
            after = found[-1].number
        else:
            await anyio.sleep(EVENTS_S)


@get("/v1/runs/{run:str}/report", sync_to_thread=True, media_type=MediaType.HTML, tags=["runs"])
def report(answers: Asked, run: FromPath[str]) -> str:
    """One run told on a page of HTML that needs nothing else."""
    return report_on(answers.home.registry, answers.run(run))


ROUTES = (
    healthz,
    readyz,
    metrics,
    models,
    model,
    versions,
    journal,
    forecast,
    predict,
    metadata,
    infer,
    promote,
    rollback,
    runs,
    one_run,
    retrain,
    cancel,
    events,
    report,
    *TABLE_ROUTES,
)


def _shaped(answer: dict[str, Any], shape: Literal["records", "columns"]) -> dict[str, Any]:
    """A forecast as records, or as the columns it came in."""
    if shape == "columns":
        return answer
    columns = answer.pop("columns")
    names = tuple(columns)
    return answer | {"forecast": [dict(zip(names, line, strict=True)) for line in zip(*columns.values(), strict=True)]}
