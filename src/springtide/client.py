"""A client for programs: send data, get the retrained model back, send rows from a region.

Examples
--------
>>> client = Client("http://127.0.0.1:8000")  # doctest: +SKIP
>>> job = client.submit("deaths.csv", target="deaths", framework="tensorflow")  # doctest: +SKIP
>>> client.wait(job["id"])["verdict"]  # doctest: +SKIP
'on 340 unseen items ...: promote, every baseline is beaten'
>>> client.download(job["id"], to="model.zip")  # doctest: +SKIP
"""

from __future__ import annotations

import json
import time
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Client", "Refused"]

POLL_S = 0.5


class Refused(Exception):
    """What the server said no to: `what`, `where` and what to `do`, and its HTTP `status`."""

    def __init__(self, status: int, what: str, where: str, do: str) -> None:
        super().__init__(f"{what}\n  where: {where}\n  do: {do}")
        self.status, self.what, self.where, self.do = status, what, where, do


class Client:
    """Speaks to a Springtide server.

    Parameters
    ----------
    url : str
        Of the server: ``http://127.0.0.1:8000``.
    timeout : float
        Seconds that one answer may take to begin.
    """

    def __init__(self, url: str, *, timeout: float = 60.0) -> None:
        self._http = httpx.Client(base_url=url, timeout=httpx.Timeout(timeout, write=None))

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close its connections; also at the end of a ``with`` block."""
        self._http.close()

    def submit(
        self,
        data: str | Path,
        *,
        target: str,
        model: str | Path | None = None,
        script: str | Path | None = None,
        requirements: str | Path | None = None,
        key: str | None = None,
        **params: Any,
    ) -> dict[str, Any]:
        """Send a job; `params` are the further keys of docs/jobs.md. The same `key` is the same job."""
        files = {"data": data, "model": model, "script": script, "requirements": requirements}
        with ExitStack() as opened:
            sent = {
                role: (Path(path).name, opened.enter_context(Path(path).open("rb")))
                for role, path in files.items()
                if path is not None
            }
            told = {"params": json.dumps({"target": target, **params})}
            headers = {} if key is None else {"Idempotency-Key": key}
            found: dict[str, Any] = self._ask("POST", "/v1/jobs", files=sent, data=told, headers=headers).json()
        return found

    def jobs(self, *, limit: int = 50) -> list[dict[str, Any]]:
        """The newest jobs, newest first."""
        found: list[dict[str, Any]] = self._ask("GET", "/v1/jobs", params={"limit": limit}).json()
        return found

    def status(self, job: str) -> dict[str, Any]:
        """How far a job has come, and what came of it."""
        found: dict[str, Any] = self._ask("GET", f"/v1/jobs/{job}").json()
        return found

    def wait(self, job: str, *, patience_s: float = 3600.0) -> dict[str, Any]:
        """The job when it has ended, also if it failed; raises `TimeoutError` when it does not within `patience_s`."""
        until = time.monotonic() + patience_s
        while (found := self.status(job))["state"] in ("queued", "running"):
            if time.monotonic() > until:
                raise TimeoutError(f"job {job} is still {found['state']} after {patience_s:g} s")
            time.sleep(POLL_S)
        return found

    def events(self, job: str, *, after: int = 0) -> Iterator[dict[str, Any]]:
        """What a job tells, as it tells it, until it has ended."""
        answer = self._ask("GET", f"/v1/runs/{job}/events", params={"after": after}, stream=True)
        with closing(answer):
            for line in answer.iter_lines():
                if line.startswith("data: "):
                    yield json.loads(line.removeprefix("data: "))

    def logs(self, job: str) -> str:
        """What was printed while a job was done, a line each; until now where it goes on."""
        return self._ask("GET", f"/v1/jobs/{job}/logs").text

    def download(self, job: str, *, to: str | Path, file: str | None = None) -> Path:
        """Fetch the new model: all of its files as a zip, which a later job takes as its model, or one of them."""
        asked = {} if file is None else {"file": file}
        answer = self._ask("GET", f"/v1/jobs/{job}/model", params=asked, stream=True)
        path = Path(to)
        part = path.with_name(f"{path.name}.part")
        with closing(answer), part.open("wb") as whole:
            for piece in answer.iter_bytes():
                whole.write(piece)
        part.replace(path)
        return path

    def cancel(self, job: str) -> dict[str, Any]:
        """Stop a job."""
        found: dict[str, Any] = self._ask("POST", f"/v1/jobs/{job}/cancel").json()
        return found

    def send_rows(self, table: str, data: str | Path, *, region: str, batch: str | None = None) -> dict[str, Any]:
        """Send a CSV, JSON or Parquet file of rows from a region; sent again it counts once."""
        kinds = {".csv": "text/csv", ".json": "application/json", ".parquet": "application/vnd.apache.parquet"}
        path = Path(data)
        asked = {"region": region} | ({} if batch is None else {"batch": batch})
        headers = {"content-type": kinds.get(path.suffix.lower(), "text/csv")}
        answer = self._ask("POST", f"/v1/tables/{table}/rows", params=asked, content=path.read_bytes(), headers=headers)
        found: dict[str, Any] = answer.json()
        return found

    def _ask(self, method: str, path: str, *, stream: bool = False, **more: Any) -> httpx.Response:
        answer = self._http.send(self._http.build_request(method, path, **more), stream=stream)
        if answer.is_error:
            answer.read()
            try:
                problem = answer.json()
            except ValueError:
                problem = {}
            raise Refused(
                answer.status_code,
                str(problem.get("title", answer.reason_phrase)),
                str(problem.get("where", path)),
                str(problem.get("do", "look at the server's log")),
            )
        return answer
