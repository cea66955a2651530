"""Which of all jobs are measured: those that were named, or all."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from weightzip.errors import UsageError
from weightzip.measure.jobs import Job
from weightzip.measure.levels import ADAPTED
from weightzip.results import titled

_MOST_TOLD = 12  # settings in a message


@dataclass(frozen=True)
class Selection:
    """names: methods, or titles of single settings ("METHOD, SETTING"); all jobs where there are none."""

    names: tuple[str, ...] = ()

    def of(self, jobs: Iterable[Job]) -> list[Job]:
        """Those of the jobs that are wanted, each once."""
        wanted = {job.title: job for job in jobs if self.has_all_of(job.method) or job.title in self.names}
        return list(wanted.values())

    def has_all_of(self, method: str) -> bool:
        """Whether all settings of a method are wanted."""
        return not self.names or method in self.names

    def check(self, jobs: Sequence[Job]) -> None:
        """Raise UsageError where a name is neither a method's nor a setting's of the jobs; it says which there are."""
        settings: dict[str, list[str]] = {}
        for job in jobs:
            settings.setdefault(job.method, []).append(job.setting)
        known = {*settings, *(job.title for job in jobs)}
        for name in self.names:
            if name in known:
                continue
            method = max((method for method in settings if name.startswith(f"{method},")), key=len, default=None)
            if method is None:
                raise UsageError(f"--only {name!r}: there is no such method here; there are {_listed(settings)}")
            raise UsageError(f"--only {name!r}: there is no such setting; there are {_settings(method, settings[method])}")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names))


def _settings(method: str, settings: Sequence[str]) -> str:
    if method in ADAPTED:
        return f"all ratios, such as {titled(method, '20x')!r}"
    more = f" and {len(settings) - _MOST_TOLD} more" if len(settings) > _MOST_TOLD else ""
    return _listed(titled(method, setting) for setting in settings[:_MOST_TOLD]) + more
