"""The requirements.txt of a script: packages by name, and nothing else that pip understands."""

from __future__ import annotations

import hashlib
import re

from packaging.requirements import InvalidRequirement, Requirement

from springtide.domain.errors import SettingsError

__all__ = ["digest", "read_requirements"]

MOST = 100
# What names, versions and markers are written with. pip puts our variables in the place of ${NAME}, also within a marker.
PLAIN = re.compile(r"[\w\s.,;<>=!~*+()\[\]'\"-]*", re.ASCII)


def read_requirements(text: str) -> tuple[str, ...]:
    """The packages, one a line, sorted; comments are left out.

    Options, addresses, files, variables and other people's repositories are refused: they would let a script choose what
    this machine reads, asks or tells.

    >>> read_requirements("holidays >=0.60  # calendars")
    ('holidays>=0.60',)

    Raises
    ------
    SettingsError
        Names the line.
    """
    found: set[str] = set()
    for number, line in enumerate(text.splitlines(), start=1):
        plain = line.split("#")[0].strip() if not line.lstrip().startswith("-") else line.strip()
        if not plain:
            continue
        try:
            wanted = Requirement(plain)
        except InvalidRequirement as error:
            raise _refused(number, f"{plain[:100]!r} does not name a package") from error
        if wanted.url is not None:
            raise _refused(number, f"{plain[:100]!r} is an address")
        if PLAIN.fullmatch(plain) is None:
            raise _refused(number, f"{plain[:100]!r} holds a character that no package, version or marker needs")
        found.add(str(wanted))
    if len(found) > MOST:
        raise _refused(MOST + 1, f"there are more than {MOST} packages")
    return tuple(sorted(found))


def digest(*parts: str) -> str:
    """A short name for what an environment is made of."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _refused(line: int, what: str) -> SettingsError:
    return SettingsError(
        what, where=f"requirements.txt, line {line}", do="write one package a line by its name: holidays==0.60"
    )
