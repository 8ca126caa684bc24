"""The requirements.txt of a script: names of packages, and nothing that makes pip read or ask elsewhere."""

from __future__ import annotations

import pytest

from springtide.domain.errors import SettingsError
from springtide.sandbox.requirements import read_requirements


def test_packages_are_read_without_comments_and_in_one_order() -> None:
    text = "# calendars\nholidays >=0.60  # of all countries\n\nastral==3.2 ; python_version > '3.10'\n"
    assert read_requirements(text) == ('astral==3.2; python_version > "3.10"', "holidays>=0.60")
    assert read_requirements(text) == read_requirements("\n".join(reversed(text.splitlines())))


@pytest.mark.parametrize(
    "line",
    [
        "--index-url https://example.org/simple",
        "-r /etc/passwd",
        "-e .",
        "git+https://example.org/x.git",
        "evil @ https://example.org/evil-1.0-py3-none-any.whl",
        "evil @ file:///etc/passwd",
        "./evil-1.0-py3-none-any.whl",
        "/evil",
        "holidays --hash=sha256:0",
        "holidays \\",
        "$HOME",
        'holidays; platform_machine == "${SPRINGTIDE_STREAMS__URL}"',
        "holidays; platform_machine == '%HOME%'",
        "holidays; platform_machine == 'a\\b'",
        "https://example.org/x.whl#egg=x",
    ],
)
def test_a_line_that_is_no_name_is_refused_with_its_number(line: str) -> None:
    with pytest.raises(SettingsError, match="line 2"):
        read_requirements(f"holidays\n{line}\n")


def test_more_than_a_hundred_packages_are_refused() -> None:
    with pytest.raises(SettingsError, match="more than 100"):
        read_requirements("\n".join(f"package-{number}" for number in range(101)))
