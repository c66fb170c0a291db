"""The routes of the page and of its JSON interface.

A request's file is its body; everything else stands in the query (`/api/predict`) or in a JSON
object (`/api/runs`). An error is `{"error": one line, "exit_code": that of the command line}`.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, ConfigDict, Field

import sfm
from sfm.data.bundled import EXAMPLES, example
from sfm.errors import InputError, SfmError, did_you_mean
from sfm.serve.doors import Doors
from sfm.serve.limits import Limits
from sfm.serve.runs import Busy, Run, Runs
from sfm.serve.training import Training
from sfm.serve.uploads import plain_name, readable
from sfm.serve.workers import Worker

STATIC = Path(__file__).parent / "static"
STATUS = {1: 422, 2: 400, 3: 404, 4: 502}  # by exit code


class Asked(BaseModel):
    """The body of `POST /api/runs`: what `sfm simulate` has as flags."""

    model_config = ConfigDict(extra="forbid")

    simulator: str = Field(max_length=200)
    values: dict[str, bool | int | float | str] = {}
    steps: int | None = Field(None, ge=0)
    every: int | None = Field(None, ge=1)
    seed: int | None = Field(None, ge=0, lt=2**63)
    closure: str | None = None
    level: str | None = Field(None, max_length=200)
    extrapolate: bool = False
    name: str | None = Field(None, max_length=200)
    content: str = ""  # base64


class Hub:
    """What the routes share: one process that predicts, those that simulate, and what was said."""

    def __init__(self, models: Sequence[str], limits: Limits) -> None:
        self.models, self.limits = list(models), limits
        self.predictor = Worker(self.models, limits, load=True)
        self.runs = Runs(self.models, limits)
        self._turn = asyncio.Semaphore(1)
        self._waiting = 0
        self._known: dict[tuple[str, ...], Any] = {}

    async def ask(self, job: str, **options: Any) -> Any:
        """The predictor's answer, when it is this call's turn.

        Raises:
            Busy: too many are waiting.
            SfmError: the job raised it.
        """
        if self._waiting >= self.limits.waiting:
            raise Busy(f"{self._waiting} calls are waiting already; try again in a minute")
        self._waiting += 1
        try:
            async with self._turn:
                seconds = self.limits.predict_seconds
                return await asyncio.to_thread(self.predictor.ask, job, options, seconds=seconds)
        finally:
            self._waiting -= 1

    async def known(self, job: str, **options: str) -> Any:
        """The same for what does not change while the server runs."""
        key = (job, *options.values())
        if key not in self._known:
            self._known[key] = await self.ask(job, **options)
        return self._known[key]


def create_app(
    models: Sequence[str],
    *,
    limits: Limits | None = None,
    token: str | None = None,
    public: bool = False,
    watch: Sequence[Path] = (),
) -> FastAPI:
    """The application.

    Args:
        models: models to try: bundled names, folders or Hub ids.
        limits: how much a client may ask for.
        token: what a client has to know; without one only this machine's names are answered.
        public: answer everybody, without a token, under any name; see `Doors`.
        watch: folders whose training runs are shown.
    """
    hub = Hub(models, limits or Limits())

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        hub.predictor.start()
        yield
        hub.runs.close()
        hub.predictor.kill()

    # its own pages of documentation would load scripts from elsewhere
    app = FastAPI(
        title="sfm",
        version=sfm.__version__,
        docs_url=None,
        redoc_url=None,
        lifespan=life,
        dependencies=[Depends(_all_known)],
    )
    app.add_middleware(Doors, body=hub.limits.body, token=token, public=public)
    app.add_exception_handler(SfmError, _refused)
    app.add_exception_handler(RequestValidationError, _malformed)
    _shelf(app, hub)
    _trying(app, hub)
    _features(app, hub)
    _running(app, hub)
    _training(app, Training(watch))

    @app.get("/openchemlib.js", include_in_schema=False)
    async def editor() -> FileResponse:
        """The editor of molecules, a third of its size in the package and on the way."""
        packed = {"content-encoding": "gzip"}
        path = STATIC / "openchemlib.js.gz"
        return FileResponse(path, media_type="text/javascript", headers=packed)

    app.mount("/", StaticFiles(directory=STATIC, html=True))
    return app


async def _all_known(request: Request) -> None:
    """What a query states and its route does not take would be dropped.

    Raises:
        InputError: a name that the route does not know.
    """
    known = [one.alias for one in request.scope["route"].dependant.query_params]
    for name in request.query_params:
        if name not in (*known, "token"):  # the token is for the doors
            raise InputError(
                f"{request.url.path}: takes no {name[:80]!r} "
                f"(known: {', '.join(known) or 'none'}).{did_you_mean(name, known)}"
            )


async def _refused(request: Request, error: Exception) -> JSONResponse:
    code = getattr(error, "exit_code", 1)
    status = 503 if isinstance(error, Busy) else STATUS.get(code, 500)
    return JSONResponse({"error": str(error), "exit_code": code}, status)


async def _malformed(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"][1:])
    return JSONResponse({"error": f"{where}: {first['msg']}", "exit_code": 2}, 400)


def _shelf(app: FastAPI, hub: Hub) -> None:
    """Models, datasets, plugins, simulators, examples."""

    @app.get("/api/about")
    async def about() -> dict[str, Any]:
        limits = hub.limits
        return {
            "version": sfm.__version__,
            "models": hub.models,
            "suffixes": readable(),
            "examples": EXAMPLES,
            "body": limits.body,
        }

    @app.get("/api/models")
    async def models() -> Any:
        return await hub.known("models")

    @app.get("/api/datasets")
    async def datasets() -> Any:
        return await hub.known("datasets")

    @app.get("/api/datasets/{plugin}/{part}")
    async def dataset(plugin: str, part: str) -> Any:
        return await hub.known("dataset", name=f"{plugin}/{part}")

    @app.get("/api/plugins")
    async def plugins() -> Any:
        return await hub.known("plugins")

    @app.get("/api/simulators")
    async def simulators() -> Any:
        return await hub.known("simulators")

    @app.get("/api/simulators/{plugin}/{part}")
    async def simulator(plugin: str, part: str) -> Any:
        hub.runs.warm()
        return await hub.known("simulator", name=f"{plugin}/{part}")

    @app.get("/api/examples/{name}")
    async def one_example(name: str) -> FileResponse:
        return FileResponse(example(name), media_type="application/octet-stream")


def _trying(app: FastAPI, hub: Hub) -> None:
    """Predictions."""

    @app.post("/api/predict")
    async def predict(
        request: Request,
        model: Annotated[str, Query(max_length=200)],
        name: Annotated[str, Query(max_length=200)],
        domain: Annotated[str | None, Query(max_length=50)] = None,
        level: Annotated[str | None, Query(max_length=200)] = None,
        extrapolate: bool = False,
    ) -> Any:
        """Quantities of the systems in the body, a file called `name`."""
        return await hub.ask(
            "predict",
            model=model,
            name=name,
            content=await request.body(),
            domain=domain,
            level=level,
            extrapolate=extrapolate,
        )


def _features(app: FastAPI, hub: Hub) -> None:
    """What a model sees in an input, and what is like it."""

    @app.post("/api/embed")
    async def embed(
        request: Request,
        model: Annotated[str, Query(max_length=200)],
        name: Annotated[str, Query(max_length=200)],
        level: Annotated[str | None, Query(max_length=200)] = None,
        extrapolate: bool = False,
    ) -> Any:
        """Features of the systems in the body, a file called `name`."""
        return await hub.ask(
            "embed",
            model=model,
            name=name,
            content=await request.body(),
            level=level,
            extrapolate=extrapolate,
        )

    @app.post("/api/neighbours")
    async def neighbours(
        request: Request,
        model: Annotated[str, Query(max_length=200)],
        name: Annotated[str, Query(max_length=200)],
        dataset: Annotated[str, Query(max_length=200)],
        count: Annotated[int, Query(ge=1, le=50)] = 5,
        level: Annotated[str | None, Query(max_length=200)] = None,
        extrapolate: bool = False,
    ) -> Any:
        """Structures of an installed dataset nearest to the systems in the body."""
        return await hub.ask(
            "neighbours",
            model=model,
            name=name,
            content=await request.body(),
            dataset=dataset,
            count=count,
            level=level,
            extrapolate=extrapolate,
        )


def _running(app: FastAPI, hub: Hub) -> None:
    """Simulations."""

    @app.post("/api/runs", status_code=201)
    async def begin(asked: Asked) -> dict[str, str]:
        """Start a simulation; its events follow under `/api/runs/KEY/events`."""
        options = asked.model_dump()
        try:
            options["content"] = base64.b64decode(asked.content, validate=True)
        except binascii.Error:
            raise InputError("content: is not base64") from None
        return {"key": hub.runs.begin(options).key}

    @app.get("/api/runs/{key}/events")
    async def events(key: str) -> StreamingResponse:
        """Server-sent events: `start`, `progress`, `frame`, and at the end `done` or `error`."""
        return StreamingResponse(_stream(hub.runs[key]), media_type="text/event-stream")

    @app.post("/api/runs/{key}/stop")
    async def stop(key: str) -> dict[str, bool]:
        """Stop it; what was not written yet is lost."""
        run = hub.runs[key]
        run.stop.set()
        return {"over": run.over}

    @app.get("/api/runs/{key}/files/{name}")
    async def file(key: str, name: str) -> FileResponse:
        """A result, as `done` names them."""
        path = hub.runs[key].file(name)
        return FileResponse(path, filename=plain_name(path.name))


def _training(app: FastAPI, training: Training) -> None:
    """Training runs of the folders that the server was opened with."""

    @app.get("/api/training")
    async def all_runs() -> dict[str, Any]:
        """Every run: state, step, time left."""
        rows = await asyncio.to_thread(training.rows)
        return {"watching": bool(training.folders), "runs": rows}

    @app.get("/api/training/{key}")
    async def one_run(key: str) -> dict[str, Any]:
        """A run's losses so far, by domain and by label, and its errors once it has some."""
        return await asyncio.to_thread(training.one, key)


async def _stream(run: Run) -> AsyncIterator[str]:
    sent = 0
    while True:
        over = run.over  # asked before, so that no last event is missed
        for text in run.events[sent:]:
            yield f"data: {text}\n\n"
            sent += 1
        if over:
            return
        await asyncio.sleep(0.1)
