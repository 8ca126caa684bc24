"""What the steps of a job have at hand: made from the record and the run's files when it is first wanted."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from springtide.domain.errors import ModelRefused, NotFound
from springtide.pipeline.jobs.table import MOST_UNPACKED, cut, read_table
from springtide.sdk import Refusal
from springtide.trainers.formats import ENVIRONMENTS, FORMATS, PREPROCESSING, recognise

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from springtide.domain.job import Job
    from springtide.domain.model import Version
    from springtide.pipeline.jobs.table import JobTable, Parts
    from springtide.pipeline.steps import Files
    from springtide.registry.registry import Registry
    from springtide.trainers.formats import Format

__all__ = ["Material", "form_of", "utc"]

FORMAT_OF = {
    "tensorflow": "keras",
    "pytorch": "pt2",
    "lightgbm": "lightgbm",
    "xgboost": "xgboost",
    "scikit-learn": "skops",
}


IMPORTED = {"tensorflow": "tensorflow", "keras": "tensorflow", "torch": "pytorch"}  # by a script, and what that tells


@dataclass
class Material:
    """One job's material.

    Attributes
    ----------
    results : dict
        What each finished step told, by name: plain JSON.
    most_unpacked : int
        Bytes of memory that the table may take.
    """

    job: Job
    registry: Registry
    files: Files
    folder: Path  # this process's own
    results: dict[str, Mapping[str, Any]]
    most_unpacked: int = MOST_UNPACKED

    @property
    def model(self) -> str:
        """The name under which the result is kept."""
        return self.job.params.name or self.job.id

    def sent(self, name: str) -> bytes:
        """A file of the run, which must be there."""
        data = self.files.get(name)
        if data is None:
            raise NotFound(f"the job has lost its {name}", where=f"job {self.job.id}", do="send the job again")
        return data

    @cached_property
    def table(self) -> JobTable:
        """The rows that were sent."""
        data, name = self.sent("data"), self.job.files["data"]
        return read_table(data, name, self.job.params, most_unpacked=self.most_unpacked)

    @cached_property
    def champion(self) -> Version | None:
        """Who served when the job began, whoever does now."""
        if "check" not in self.results:
            return self.registry.champion(self.model)
        number = self.results["check"]["champion"]
        return None if number is None else self.registry.version(self.model, number)

    @cached_property
    def parts(self) -> Parts:
        """Rows that train, and later ones that judge."""
        seen = (
            self.champion.manifest.trained_until if self.champion is not None and not self.champion_may_know else None
        )
        return cut(self.table, self.job.params.judge, not_before=seen)

    @property
    def champion_may_know(self) -> bool:
        """Whether the champion may have seen the rows that judge: no times tell, or those of another column."""
        if self.champion is None:
            return False
        manifest, time = self.champion.manifest, self.table.time
        return time is None or manifest.trained_until is None or manifest.recipe.get("time", time) != time

    @cached_property
    def given(self) -> Path | None:
        """The model that was sent, as a file; of the name that it was sent by it has the ending alone."""
        if "model" not in self.job.files:
            return None
        path = self.folder / f"given{_ending(self.job.files['model'])}"
        path.write_bytes(self.sent("model"))
        return path

    @cached_property
    def given_form(self) -> Format | None:
        """The format of the model that was sent."""
        return None if self.given is None else form_of(self.given, of="the model that was sent")

    @cached_property
    def champion_files(self) -> tuple[Path, Path] | None:
        """The champion's model and its preprocessing."""
        if self.champion is None:
            return None
        folder = self.folder / "champion"
        folder.mkdir(exist_ok=True)
        self.registry.fetch(self.champion, folder)
        return folder / str(self.champion.manifest.recipe["model"]), folder / PREPROCESSING

    @property
    def trained_name(self) -> str:
        """The name of the new model's file."""
        return str(self.results["train"]["model"])

    @cached_property
    def trained(self) -> bytes:
        """The new model's file."""
        return self.sent(f"out/{self.trained_name}")

    @property
    def trained_until(self) -> datetime | None:
        """The latest time that the new model has learned from, by itself or before."""
        if self.table.time is None:
            return None
        times = [utc(self.parts.training[self.table.time].max())]
        if self.starts_from_champion and self.champion is not None and self.champion.manifest.trained_until:
            times.append(self.champion.manifest.trained_until)
        return max(times)

    @property
    def strange_columns(self) -> list[str]:
        """Those that the champion reads and this table does not have, or has as something else."""
        if self.champion is None:
            return []
        ours = {column.name: column.kind for column in self.table.columns}
        read = self.champion.manifest.recipe.get("columns", ())
        return [one["name"] for one in read if ours.get(one["name"]) != one["kind"]]

    @cached_property
    def starts_from_champion(self) -> bool:
        """Whether the training goes on from it: only where times tell that the champion has not seen the rows that judge."""
        if not self.may_start_from_champion or self.champion_may_know or self.strange_columns:
            return False
        assert self.champion is not None
        return self.job.params.framework in (None, self.champion.manifest.recipe.get("framework"))

    @property
    def may_start_from_champion(self) -> bool:
        """Whether what was sent leaves it to us what the training begins from, and there is a champion."""
        asked, files = self.job.params, self.job.files
        return self.champion is not None and asked.start == "champion" and {"model", "script"}.isdisjoint(files)

    @cached_property
    def is_ours(self) -> bool:
        """Whether nothing but our code acts in the training: then its cell holds the rows that judge, and answers them."""
        start = self.given_form
        if self.starts_from_champion:
            start = FORMATS[str(self.champion.manifest.recipe["format"])]  # type: ignore[union-attr] # it is there
        return "script" not in self.job.files and (start is None or start.is_data)

    @property
    def is_foreign(self) -> bool:
        """Whether the new model is made with anything, but rows, that others have written."""
        sent = not {"script", "model", "requirements"}.isdisjoint(self.job.files)
        return sent or (self.starts_from_champion and self.champion_is_foreign)

    @property
    def champion_is_foreign(self) -> bool:
        """Whether the champion was."""
        return self.champion is not None and bool(self.champion.manifest.recipe.get("foreign", True))

    @property
    def suffix(self) -> str:
        """How the file of the new model will end."""
        if self.given_form is not None:
            return self.given_form.suffix
        if self.starts_from_champion:
            return Path(str(self.champion.manifest.recipe["model"])).suffix  # type: ignore[union-attr] # it is there
        return FORMATS[FORMAT_OF[self.job.params.framework or "lightgbm"]].suffix

    @cached_property
    def script(self) -> Path:
        """The script that was sent, as a file."""
        path = self.folder / "train.py"
        path.write_bytes(self.sent("script"))
        return path

    @property
    def requirements(self) -> str | None:
        """What the script wants besides."""
        return self.sent("requirements").decode() if "requirements" in self.job.files else None

    @cached_property
    def new(self) -> tuple[Path, Path | None]:
        """The new model and its preprocessing, as files."""
        folder = self.folder / "new"
        folder.mkdir(exist_ok=True)
        model = folder / self.trained_name
        model.write_bytes(self.trained)
        preprocessing = self.files.get(f"out/{PREPROCESSING}")
        if preprocessing is None:
            return model, None
        (folder / PREPROCESSING).write_bytes(preprocessing)
        return model, folder / PREPROCESSING

    @property
    def champions_environment(self) -> str | None:
        """Where the champion answers."""
        if self.champion is None:
            return None
        return FORMATS[str(self.champion.manifest.recipe["format"])].environment

    @property
    def environment(self) -> str:
        """Where the new model is trained."""
        framework, form = self.job.params.framework, self.given_form
        if form is not None and form.name != "bundle":
            return form.environment
        if form is None and framework is None and self.starts_from_champion:
            return str(self.champion.manifest.recipe["environment"])  # type: ignore[union-attr] # it is there
        return ENVIRONMENTS[framework or self._framework_of_script or "lightgbm"]

    @property
    def _framework_of_script(self) -> str | None:
        """The framework that the script imports, if it is one that has an environment of its own."""
        if "script" not in self.job.files:
            return None
        text = self.sent("script").decode(errors="replace")
        found = re.search(rf"^\s*(?:import|from)\s+({'|'.join(IMPORTED)})\b", text, re.MULTILINE)
        return IMPORTED[found.group(1)] if found else None


def form_of(model: Path, *, of: str) -> Format:
    """The format of a model file, whose content is foreign to us.

    Raises
    ------
    ModelRefused
        If it is none.
    """
    try:
        return recognise(model)
    except Refusal as refused:
        raise ModelRefused(refused.what, where=of, do=refused.do) from refused


def _ending(name: str) -> str:
    """Of a name that somebody else has chosen, if it is a plain one."""
    found = re.search(r"\.[A-Za-z0-9]{1,10}\Z", name)
    return found.group() if found else ""


def utc(moment: Any) -> datetime:
    """A time of the table, whose times are UTC without saying so."""
    found: datetime = moment.replace(tzinfo=UTC)
    return found
