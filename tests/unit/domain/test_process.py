"""Whether a process is gone, told by its name."""

from __future__ import annotations

import os
import socket
import subprocess

from springtide.domain.process import is_gone, this_process

HOST = socket.gethostname()


def test_this_process_lives() -> None:
    assert this_process().startswith(f"{HOST}:{os.getpid()}:")
    assert not is_gone(this_process())


def test_a_number_that_went_to_another_process_is_not_the_one_that_had_it() -> None:
    host, pid, born = this_process().split(":")
    assert is_gone(f"{host}:{pid}:{int(born) - 1}")


def test_a_name_without_its_begin_is_told_by_its_number() -> None:
    assert not is_gone(f"{HOST}:{os.getppid()}")
    assert is_gone(f"{HOST}:{os.getpid()}"), "this process has a begin: one without was an earlier one"


def test_a_process_that_has_ended_is_gone_also_before_anybody_has_buried_it() -> None:
    with subprocess.Popen(["true"]) as ended:
        os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
        assert is_gone(f"{HOST}:{ended.pid}")
        assert is_gone(f"{HOST}:{ended.pid}:1")
    assert is_gone(f"{HOST}:{ended.pid}")


def test_of_processes_of_other_hosts_and_of_names_that_are_none_nothing_is_known() -> None:
    for name in ("another-host:1:1", f"{HOST}:", f"{HOST}:x:1", "", None):
        assert not is_gone(name)
