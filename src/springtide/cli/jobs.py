"""``springtide jobs``: send data, get the retrained model back."""

from __future__ import annotations

import io
import json
import shutil
from contextlib import ExitStack
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click
import msgspec

from springtide.app import jobs
from springtide.app.queue import anyone_works, cancel
from springtide.cli.following import line_of, print_events
from springtide.cli.opening import open_config
from springtide.cli.saying import json_option, print_json, print_table, short_time, stderr
from springtide.domain.errors import BadRows, Conflict
from springtide.domain.printing import printable

if TYPE_CHECKING:
    from springtide.app.home import Home

__all__ = ["command"]

EXAMPLES = {  # the example, and the framework in whose environment it runs
    "tensorflow": ("tensorflow", "tensorflow"),
    "pytorch": ("pytorch", "pytorch"),
    "boosting": ("boosting", "lightgbm"),
    "scikit-learn": ("scikit_learn", "scikit-learn"),
}
FAILED = 1  # the exit code of a job that was waited for
STATES = {"queued": "waits", "running": "runs", "succeeded": "has succeeded", "failed": "has failed"}
STATES |= {"cancelled": "has been cancelled"}
FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.group("jobs")
def command() -> None:
    """Send data, perhaps a model and a script; get the retrained model back."""


@command.command("submit")
@click.argument("data", type=FILE)
@click.option("--target", help="The column to predict.")
@click.option("--name", help="The model that the result becomes a version of.")
@click.option("--framework", help="tensorflow, pytorch, lightgbm, xgboost or scikit-learn.")
@click.option("--time", help="The column that orders the rows.")
@click.option("--budget", type=float, help="Most seconds of the training.")
@click.option("--model", type=FILE, help="A model to go on from, and to beat.")
@click.option("--script", type=FILE, help="A train.py of your own (`springtide jobs new`).")
@click.option("--requirements", type=FILE, help="Packages that the script wants besides.")
@click.option("--params", default="{}", help="Everything else, as JSON (docs/jobs.md).")
@click.option("--key", help="Sent again under the same key it is the same job.")
@click.option("--follow", "followed", is_flag=True, help="Wait, and print what it tells.")
@json_option
@click.pass_obj
def submit(config: Path, /, *, data: Path, followed: bool, as_json: bool, key: str | None, **asked: Any) -> None:
    """Have a model retrained with DATA (CSV, Excel or Parquet)."""
    files = {"data": data, **{role: asked.pop(role) for role in ("model", "script", "requirements")}}
    home = open_config(config)
    params = _params(asked)
    with ExitStack() as opened:
        sent = {
            role: jobs.Sent(path.name, _seekable(opened.enter_context(path.open("rb"))))
            for role, path in files.items()
            if path is not None
        }
        job = jobs.submit_job(home, params, sent, key=key)
    if not anyone_works(home):
        stderr().print("no worker lives: start one with `springtide worker` or `springtide up`")
    if followed:
        _follow(home, job.id)
    _print(home, job.id, as_json=as_json, followed=followed)


def _seekable(file: IO[bytes]) -> IO[bytes]:
    """What can be read twice: a pipe is read into memory."""
    return file if file.seekable() else io.BytesIO(file.read())


def _params(asked: dict[str, Any]) -> Any:
    """Options and JSON as one; what is said as an option goes first."""
    text = asked.pop("params")
    try:
        told = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise _no_object(f"--params is no JSON ({error}): {text:.60}") from error
    if not isinstance(told, dict):
        raise _no_object(f"--params is JSON, but no object: {text:.60}")
    told |= {name: value for name, value in asked.items() if value is not None and name != "budget"}
    if asked["budget"] is not None:
        told["budget_s"] = asked["budget"]
    return jobs.read_params(json.dumps(told))


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number of JSON")


def _no_object(what: str) -> BadRows:
    return BadRows(
        what, where="springtide jobs submit", do="write an object in single quotes: --params '{\"seed\": 1}'"
    )


@command.command("list")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(min=1), help="How many.")
@json_option
@click.pass_obj
def list_command(config: Path, *, limit: int, as_json: bool) -> None:
    """The newest jobs."""
    found = jobs.list_jobs(open_config(config), limit=limit)
    if as_json:
        print_json(found)
        return
    rows = [
        (one["id"], one["state"], one["model"], short_time(one["created"]), one["files"]["data"], _outcome(one))
        for one in found
    ]
    print_table("jobs", ("job", "state", "model", "sent", "data", "outcome"), rows)


@command.command("status")
@click.argument("job")
@click.option("--follow", "followed", is_flag=True, help="Wait, and print what it tells.")
@json_option
@click.pass_obj
def status(config: Path, job: str, *, followed: bool, as_json: bool) -> None:
    """How far JOB has come, and what came of it."""
    home = open_config(config)
    home.registry.job(job)  # refuses an id that nobody knows
    if followed:
        _follow(home, job)
    _print(home, job, as_json=as_json, followed=followed)


@command.command("logs")
@click.argument("job")
@click.pass_obj
def logs(config: Path, job: str) -> None:
    """What was printed while JOB was done."""
    for line in jobs.log_of(open_config(config), job):
        click.echo(printable(line))


@command.command("download")
@click.argument("job")
@click.option("--file", help="One file of it: model.onnx; all of them as a zip when not given.")
@click.option("--to", type=click.Path(path_type=Path), help="Where to.")
@click.pass_obj
def download(config: Path, job: str, *, file: str | None, to: Path | None) -> None:
    """Fetch the model that JOB has made."""
    name, content = jobs.model_file(open_config(config), job, file)
    path = to / name if to is not None and to.is_dir() else to or Path(name)
    with content, path.open("wb") as whole:
        shutil.copyfileobj(content, whole)
    click.echo(f"wrote {path}, {path.stat().st_size:,} bytes")


@command.command("cancel")
@click.argument("job")
@click.pass_obj
def cancel_command(config: Path, job: str) -> None:
    """Stop JOB."""
    home = open_config(config)
    run = cancel(home, home.registry.job(job).id, by="the command line")
    click.echo(f"job {run.id} {STATES[run.state]}{'' if run.ended else ', and is told to stop'}")


@command.command("new")
@click.argument("framework", type=click.Choice(list(EXAMPLES)))
@click.option("--to", default=Path("train.py"), show_default=True, type=click.Path(path_type=Path))
def new(framework: str, *, to: Path) -> None:
    """Write a commented train.py for FRAMEWORK."""
    from springtide.trainers import examples  # noqa: PLC0415 # only here

    if to.exists():
        raise Conflict(f"{to} is there already", where=str(to), do="name another file with --to")
    example, runs_in = EXAMPLES[framework]
    to.write_text((Path(examples.__file__).parent / f"{example}.py").read_text(encoding="utf-8"), encoding="utf-8")
    click.echo(f"wrote {to}; next: springtide jobs submit DATA.csv --target COLUMN --framework {runs_in} --script {to}")


def _follow(home: Home, job: str) -> None:
    console = stderr()
    print_events(home, job, lambda event: console.print(line_of(event), markup=False), job=True)


def _print(home: Home, job: str, *, as_json: bool, followed: bool) -> None:
    """Say what came of a job; exit with 1 where it was waited for and did not succeed."""
    told = jobs.find_job(home, job)
    if as_json:
        click.echo(msgspec.json.encode(told).decode())
    else:
        _print_for_people(told)
    if followed and told["state"] != "succeeded":
        raise SystemExit(FAILED)


def _print_for_people(told: dict[str, Any]) -> None:
    seconds = ", ".join(
        f"{step['name']} {step['seconds']:.1f}" for step in told["steps"] if step["seconds"] is not None
    )
    click.echo(
        f"job {told['id']} of model {told['model']} {STATES[told['state']]}{f'; seconds: {seconds}' if seconds else ''}"
    )
    if told["runs_ahead"] is not None:
        waits = (
            f"{told['runs_ahead']} runs go first"
            if told["anyone_works"]
            else "no worker lives: start one with `springtide up`"
        )
        click.echo(waits)
    for note in (note for step in told["steps"] for note in step["result"].get("notes", ())):
        click.echo(printable(f"note: {note}"))
    if told.get("metrics"):
        names = list(told["metrics"]["challenger"])
        rows = [
            (who, *(f"{figures.get(name, float('nan')):.4g}" for name in names))
            for who, figures in told["metrics"].items()
        ]
        print_table("on the rows that judge", ("", *names), rows, numbers=names)
    if outcome := _outcome(told):
        click.secho(printable(outcome), bold=True)


def _outcome(told: dict[str, Any]) -> str:
    if told["failure"] is not None:
        failure = told["failure"]
        return f"{failure['what']} ({failure['where']}): {failure['do']}"
    return told["verdict"] or ""
