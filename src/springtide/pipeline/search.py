"""Looking for a better recipe: each is judged by walking forward over history that no gate will judge on."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from springtide.domain.errors import BadRows, Leak, SettingsError, TooFewRows, did_you_mean
from springtide.evaluation.significance import compare
from springtide.evaluation.splits import walk_forward
from springtide.pipeline.backtest import fit_before, join, moment
from springtide.pipeline.gathering import gather
from springtide.pipeline.recipes import change, listed
from springtide.tasks.seam import OneOf

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import datetime

    from optuna import Study
    from optuna import Trial as Asked
    from optuna.distributions import BaseDistribution

    from springtide.evaluation.losses import Losses
    from springtide.evaluation.significance import Difference
    from springtide.evaluation.splits import Fold
    from springtide.lake.table import Table
    from springtide.settings.words import Model
    from springtide.tasks.seam import Choice, Task

__all__ = ["Found", "Impossible", "Plan", "Trial", "TrialJob", "judge_trial", "search"]

FOLDS = 4
RANDOM_TRIALS = 5  # before the sampler believes that it knows something
TRIALS_BEFORE_PRUNING = 4
DIGITS = 3  # of a sampled number


@dataclass(frozen=True, slots=True)
class Plan:
    """Which model is searched for, how long, and which keys stay as they are declared.

    `settings` are the declared ones; `known` are changes that an earlier search has found, to begin with.
    """

    model: str
    settings: Model
    trials: int
    seconds: float | None = None
    fixed: tuple[str, ...] = ()
    known: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TrialJob:
    """One recipe on one fold: all that is needed to work it out where the tables can be opened."""

    model: str
    settings: Model  # with the trial's recipe
    task: Task[Any, Any, Any]
    fold: Fold
    versions: Mapping[str, int]
    until: datetime  # nothing of this time or later may be seen
    seconds: float  # most time of the fit
    number: int

    def __str__(self) -> str:
        return f"model {self.model}, trial {self.number}, window from {moment(self.fold.start):%Y-%m-%d %H:%M}"


@dataclass(frozen=True, slots=True)
class Impossible:
    """Why a recipe cannot be trained on these rows."""

    why: str


@dataclass(frozen=True, slots=True)
class Trial:
    """One recipe that was tried; number 0 is the declared one.

    `loss` is the mean over the folds that were judged; `gain` and `p_value` (one-sided, of this comparison alone) are
    against the declared recipe on the items that both were asked for, and only there where all folds were judged.
    """

    number: int
    changes: Mapping[str, Any]
    state: Literal["judged", "pruned", "impossible", "out of time"]
    folds: int
    loss: float | None
    seconds: float
    gain: float | None = None
    p_value: float | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """What a search came to: `changes` of the declared recipe, none where it stays.

    `p_value` is that of the best trial times the number of recipes that were compared with the declared one.
    """

    model: str
    loss_name: str
    folds: tuple[tuple[datetime, datetime], ...]
    trials: tuple[Trial, ...]
    best: int
    changes: Mapping[str, Any]
    gain: float
    p_value: float
    reason: str
    seconds: float

    @property
    def seen_until(self) -> datetime:
        """The end of all that was judged on."""
        return self.folds[-1][1]

    @property
    def facts(self) -> dict[str, Any]:
        """Plain JSON, to be kept with what was found."""
        return {
            "trials": len(self.trials),
            "best": self.best,
            "gain": self.gain,
            "p_value": self.p_value,
            "reason": self.reason,
            "seconds": round(self.seconds, 1),
        }


def judge_trial(job: TrialJob, *, tables: Callable[[str], Table]) -> Losses | Impossible:
    """Train a trial's recipe from scratch on what came before the fold, and judge it there.

    Raises
    ------
    Leak
        If it sees what a gate will judge on.
    """
    try:
        prepared, fitted, _ = fit_before(
            job.fold, job.settings, task=job.task, tables=tables, versions=job.versions, seconds=job.seconds
        )
    except (BadRows, SettingsError, TooFewRows) as impossible:
        if job.number == 0:  # the declared recipe has to be possible
            raise
        return Impossible(impossible.what)
    losses = job.task.losses(job.task.predictor(fitted), prepared)
    seen = max(prepared.trained_until, moment(int(losses.times.max())))
    if job.fold.stop > job.until.timestamp() or seen > job.until:
        raise Leak(
            f"the search sees rows of {seen:%Y-%m-%d %H:%M}, and what is judged begins at {job.until:%Y-%m-%d %H:%M}",
            where=f"{job}",
            do="a task has to leave rows that come after the fold alone",
        )
    return losses


def search(
    plan: Plan,
    *,
    task: Task[Any, Any, Any],
    tables: Callable[[str], Table],
    judge: Callable[[Sequence[TrialJob]], Iterator[Losses | Impossible]],
    width: int = 1,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Trial | Found]:
    """Try recipes on folds before the judging span; yields each trial when it is done, then the result.

    The first trial is the recipe as it is declared. Another one is taken only if its losses are lower on the same
    items by more than chance, at the gate's `alpha`, its p-value multiplied by the number of recipes that were tried:
    the best of many looks good by chance alone (Bonferroni).

    Parameters
    ----------
    plan : Plan
        What is searched for.
    task : Task
        Says what may be chosen.
    tables : callable
        Opens a table by its name.
    judge : callable
        Works jobs off and gives their results in order: `judge_trial` for each, here or elsewhere.
    width : int
        How many recipes are tried at a time.
    clock : callable
        Seconds that pass.

    Raises
    ------
    SettingsError
        If a fixed key is not one that may be chosen, or none is left.
    TooFewRows
        If there is not enough history before the judging span.

    Notes
    -----
    Tree-structured Parzen estimator: Bergstra et al. 2011, NeurIPS 24; pending trials count as bad ones (constant
    liar: Ginsbourger et al. 2010, doi:10.1007/978-3-642-10701-6_6). Trials worse than the median so far are pruned
    between folds: Golovin et al. 2017, doi:10.1145/3097983.3098043.
    """
    began = clock()
    space = _free(task.space(plan.settings.recipe), plan.fixed, model=plan.model)
    gathered = gather(plan.settings, task=task, tables=tables, known_at=None)
    span = int(plan.settings.gate.judge.total_seconds())
    until = int(gathered.snapshot.last.timestamp()) - span
    walks = walk_forward(last=until, span=span, folds=FOLDS)
    ends = np.inf if plan.seconds is None else began + plan.seconds
    template = TrialJob(plan.model, plan.settings, task, walks[0], gathered.versions, moment(until), np.inf, 0)
    study = _open_study(plan, space)
    bench = _Bench(plan.settings.recipe, space, study, template, walks, judge, ends, clock)
    declared, *_ = bench.try_out(1)
    assert declared.losses is not None  # the declared recipe raises where it is impossible, and has no limit of time
    runs = [declared]
    yield declared.trial()
    while len(runs) < plan.trials and clock() < ends:
        for run in bench.try_out(min(width, plan.trials - len(runs))):
            runs.append(run)
            yield run.trial(declared.losses)
    trials = tuple(run.trial(declared.losses if run is not declared else None) for run in runs)
    yield _conclude(plan, trials, walks, declared.losses, seconds=clock() - began)


@dataclass(slots=True)
class _Run:
    """A trial while it is tried."""

    number: int
    asked: Asked
    changes: Mapping[str, Any]
    recipe: Any
    began: float
    parts: list[Losses] = field(default_factory=list)
    state: Literal["judged", "pruned", "impossible", "out of time"] | None = None
    note: str = ""
    seconds: float = 0.0

    @property
    def losses(self) -> Losses | None:
        """Those of all folds that were judged."""
        return join(self.parts) if self.parts else None

    def trial(self, declared: Losses | None = None) -> Trial:
        """The trial as it is told; compared with the declared recipe where it is finished."""
        assert self.state is not None
        losses = self.losses
        difference = None
        if declared is not None and losses is not None and self.state == "judged":
            difference = _compare_shared(losses, declared)
        return Trial(
            number=self.number,
            changes=self.changes,
            state=self.state,
            folds=len(self.parts),
            loss=None if losses is None else losses.mean,
            seconds=self.seconds,
            gain=None if difference is None else difference.gain,
            p_value=None if difference is None else difference.p_value,
            note=self.note,
        )


@dataclass(frozen=True, slots=True)
class _Bench:
    """Where trials are tried: several at a time, fold by fold, so that the bad ones can be given up early."""

    declared: Any  # the recipe
    space: Mapping[str, Choice]
    study: Study
    template: TrialJob
    walks: Sequence[Fold]
    judge: Callable[[Sequence[TrialJob]], Iterator[Losses | Impossible]]
    ends: float  # time of the clock after which no more is tried
    clock: Callable[[], float]

    def try_out(self, count: int) -> list[_Run]:
        """The next `count` trials, each to its end."""
        runs = [self._ask() for _ in range(count)]
        for fold in self.walks:
            alive = [run for run in runs if run.state is None]
            if alive and alive[0].number > 0 and self.clock() >= self.ends:
                for run in alive:
                    self._end(run, "out of time")
            elif alive:
                self._judge(fold, alive)
        for run in runs:
            if run.state is None:
                self._end(run, "judged")
        return runs

    def _ask(self) -> _Run:
        asked = self.study.ask({key: _distribution(choice) for key, choice in self.space.items()})
        values = {key: _short(value) for key, value in asked.params.items()}
        changes = {key: value for key, value in values.items() if value != getattr(self.declared, key)}
        if asked.number == 0:
            changes = {}
        return _Run(asked.number, asked, changes, change(self.declared, changes), self.clock())

    def _judge(self, fold: Fold, runs: Sequence[_Run]) -> None:
        results = self.judge([self._job(fold, run) for run in runs])
        for run, result in zip(runs, results, strict=True):
            if isinstance(result, Impossible):
                run.note = result.why
                self._end(run, "impossible")
                continue
            if run.number > 0 and self.clock() >= self.ends:  # the fit may have been cut short
                self._end(run, "out of time")
                continue
            run.parts.append(result)
            losses = run.losses
            assert losses is not None  # one was appended
            run.asked.report(losses.mean, len(run.parts))
            if run.number > 0 and len(run.parts) < len(self.walks) and run.asked.should_prune():
                self._end(run, "pruned")

    def _job(self, fold: Fold, run: _Run) -> TrialJob:
        settings = self.template.settings.model_copy(update={"recipe": run.recipe})
        seconds = self.ends - self.clock() if run.number > 0 else np.inf
        return replace(self.template, settings=settings, fold=fold, seconds=seconds, number=run.number)

    def _end(self, run: _Run, state: Literal["judged", "pruned", "impossible", "out of time"]) -> None:
        from optuna.trial import TrialState  # noqa: PLC0415 # see `_open_study`

        run.state, run.seconds = state, self.clock() - run.began
        losses = run.losses
        if state == "judged" and losses is not None:
            self.study.tell(run.asked, losses.mean)
        else:
            self.study.tell(run.asked, state=TrialState.PRUNED if state == "pruned" else TrialState.FAIL)


def _free(space: Mapping[str, Choice], fixed: Sequence[str], *, model: str) -> dict[str, Choice]:
    """The keys that a search may choose."""
    for key in fixed:
        if key not in space:
            raise SettingsError(f"no search would change {key!r}", where="--fix", do=did_you_mean(key, space))
    free = {key: choice for key, choice in space.items() if key not in fixed}
    if not free:
        raise SettingsError(
            "there is nothing to search for", where=f"model {model}", do="fix fewer keys, or take another task"
        )
    return free


def _open_study(plan: Plan, space: Mapping[str, Choice]) -> Study:
    try:
        import optuna  # noqa: PLC0415 # an extra, and only searches need it
    except ImportError as missing:
        raise SettingsError(
            "a search needs Optuna, which is not installed",
            where="springtide retrain --search",
            do='pip install "springtide[search]"',
        ) from missing
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        sampler=optuna.samplers.TPESampler(seed=plan.settings.seed, n_startup_trials=RANDOM_TRIALS),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=TRIALS_BEFORE_PRUNING),
    )
    declared = {key: getattr(plan.settings.recipe, key) for key in space}
    known = {key: value for key, value in plan.known.items() if key in space and _may_be(value, space[key])}
    study.enqueue_trial(declared)
    if known:
        study.enqueue_trial({**declared, **known})
    return study


def _may_be(value: Any, choice: Choice) -> bool:
    return value in choice.values if isinstance(choice, OneOf) else choice.low <= value <= choice.high


def _distribution(choice: Choice) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution  # noqa: PLC0415 # see `_open_study`

    if isinstance(choice, OneOf):
        return CategoricalDistribution(choice.values)
    return FloatDistribution(choice.low, choice.high, log=choice.logarithmic)


def _short(value: Any) -> Any:
    """A sampled number with as many digits as can matter."""
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def _compare_shared(challenger: Losses, rival: Losses) -> Difference:
    """Compare two recipes on the items that both were asked for: a longer window loses some at gaps."""
    mine, theirs = _names(challenger), _names(rival)
    shared = np.intersect1d(mine, theirs)
    return compare(_only(challenger, np.isin(mine, shared)), _only(rival, np.isin(theirs, shared)))


def _names(losses: Losses) -> Any:
    """(n,) one name for each item."""
    return np.char.add(np.char.add(losses.times.astype(np.str_), " "), losses.groups)


def _only(losses: Losses, which: Any) -> Losses:
    """Some of the items, without what is told of all of them."""
    return replace(
        losses,
        values=losses.values[which],
        times=losses.times[which],
        groups=losses.groups[which],
        metrics={},
        slices={},
        calibration={},
    )


def _conclude(
    plan: Plan, trials: tuple[Trial, ...], walks: Sequence[Fold], declared: Losses, *, seconds: float
) -> Found:
    """Take the best trial if it is better than the declared recipe beyond chance."""
    compared = sum(trial.number > 0 and trial.state in ("judged", "pruned") and bool(trial.changes) for trial in trials)
    rivals = [trial for trial in trials if trial.gain is not None and trial.changes]
    best = max(rivals, key=lambda trial: trial.gain or 0.0, default=None)
    alpha = plan.settings.gate.alpha
    gain, p_value, taken = 0.0, 1.0, False
    if best is None:
        reason = "the declared recipe stays: no other one was judged on all folds"
    else:
        assert best.gain is not None
        assert best.p_value is not None
        gain, p_value = best.gain, min(1.0, best.p_value * compared)
        taken = gain > 0 and p_value <= alpha
        said = (
            f"{f'the best of {compared} others' if compared > 1 else 'the only other one'} ({listed(best.changes)}) has a loss {abs(gain):.2%} "
            f"{'lower' if gain > 0 else 'higher'} than the declared recipe's on {len(declared.values):,} items before "
            f"the judging span"
        )
        chance = f"p = {best.p_value:.3g} times {compared} = {p_value:.3g}"
        reason = f"{said}, {chance}: taken" if taken else f"the declared recipe stays: {said}"
        if gain > 0 and not taken:
            reason += f", which may be chance ({chance}, above {alpha:g})"
    return Found(
        model=plan.model,
        loss_name=declared.name,
        folds=tuple((moment(fold.start), moment(fold.stop)) for fold in walks),
        trials=trials,
        best=best.number if best is not None and taken else 0,
        changes=best.changes if best is not None and taken else {},
        gain=gain,
        p_value=p_value,
        reason=reason,
        seconds=seconds,
    )
