"""A seccomp filter for bubblewrap, which has none of its own: what no training needs is not to be called.

Namespaces, modules, tracing, keys and clocks of the kernel are closed, as container engines close them; also what would
get round the limits that are watched from outside (memory that no process maps, the choice of cores) and sockets of
other families than Unix, loopback and netlink.
"""

from __future__ import annotations

import errno
import platform
import struct
from typing import Final

from springtide.domain.errors import NotReady

__all__ = ["seccomp_filter"]

MACHINES: Final = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}  # column below, AUDIT_ARCH
CALLS: Final[dict[str, tuple[int, int]]] = {  # numbers on x86_64 and aarch64; -1 where there is none
    "acct": (163, 89),
    "add_key": (248, 217),
    "adjtimex": (159, 171),
    "bpf": (321, 280),
    "chroot": (161, 51),
    "clock_adjtime": (305, 266),
    "clock_settime": (227, 112),
    "delete_module": (176, 106),
    "fanotify_init": (300, 262),
    "finit_module": (313, 273),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fsopen": (430, 430),
    "fspick": (433, 433),
    "init_module": (175, 105),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "io_uring_setup": (425, 425),
    "ioperm": (173, -1),
    "iopl": (172, -1),
    "kcmp": (312, 272),
    "kexec_file_load": (320, 294),
    "kexec_load": (246, 104),
    "keyctl": (250, 219),
    "lookup_dcookie": (212, 18),
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "modify_ldt": (154, -1),
    "mount": (165, 40),
    "mount_setattr": (442, 442),
    "move_mount": (429, 429),
    "name_to_handle_at": (303, 264),
    "nfsservctl": (180, 42),
    "open_by_handle_at": (304, 265),
    "open_tree": (428, 428),
    "perf_event_open": (298, 241),
    "pidfd_getfd": (438, 438),
    "pivot_root": (155, 41),
    "process_madvise": (440, 440),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "ptrace": (101, 117),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "reboot": (169, 142),
    "request_key": (249, 218),
    "setdomainname": (171, 162),
    "sethostname": (170, 161),
    "setns": (308, 268),
    "settimeofday": (164, 170),
    "shmget": (29, 194),
    "swapoff": (168, 225),
    "swapon": (167, 224),
    "syslog": (103, 116),
    "umount2": (166, 39),
    "unshare": (272, 97),
    "userfaultfd": (323, 282),
    "uselib": (134, -1),
    "vhangup": (153, 58),
}
CLONE, CLONE3, SET_AFFINITY, SOCKET = (56, 220), (435, 435), (203, 122), (41, 198)
NEW_NAMESPACES = 0x7E020000  # CLONE_NEWUSER, NEWPID, NEWNET, NEWIPC, NEWUTS, NEWCGROUP, NEWNS
FAMILIES = (1, 2, 10, 16)  # AF_UNIX, AF_INET, AF_INET6, AF_NETLINK
X32 = 0x40000000  # a second set of numbers for the same calls

LOAD, EQUAL, AT_LEAST, ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
NUMBER, ARCHITECTURE, FIRST_ARGUMENT = 0, 4, 16  # places in struct seccomp_data
ALLOW, KILL = 0x7FFF0000, 0x80000000


def seccomp_filter() -> bytes:
    """The filter as the kernel takes it: an array of ``struct sock_filter``, eight bytes each.

    Raises
    ------
    NotReady
        On a machine whose numbers of system calls are not known here.
    """
    machine = platform.machine()
    if machine not in MACHINES:
        raise NotReady(
            f"there is no seccomp filter for {machine}",
            where="the bubblewrap sandbox",
            do="use a container engine: Docker or podman",
        )
    column, architecture = MACHINES[machine]
    steps = [_step(LOAD, ARCHITECTURE), _step(EQUAL, architecture, 1, 0), _step(RETURN, KILL), _step(LOAD, NUMBER)]
    steps += _when(AT_LEAST, X32, [_refuse(errno.ENOSYS)])
    for numbers in CALLS.values():
        if numbers[column] >= 0:
            steps += _when(EQUAL, numbers[column], [_refuse(errno.EPERM)])
    steps += _when(EQUAL, CLONE3[column], [_refuse(errno.ENOSYS)])  # its flags cannot be seen; libc takes clone then
    steps += _when(EQUAL, SET_AFFINITY[column], [_refuse(0)])  # told that it was done: onnxruntime complains else
    flags = [_step(LOAD, FIRST_ARGUMENT), *_when(ANY_BIT, NEW_NAMESPACES, [_refuse(errno.EPERM)])]
    steps += _when(EQUAL, CLONE[column], [*flags, _step(RETURN, ALLOW)])
    known = [part for family in FAMILIES for part in _when(EQUAL, family, [_step(RETURN, ALLOW)])]
    steps += _when(EQUAL, SOCKET[column], [_step(LOAD, FIRST_ARGUMENT), *known, _refuse(errno.EAFNOSUPPORT)])
    return b"".join([*steps, _step(RETURN, ALLOW)])


def _step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)


def _when(test: int, value: int, then: list[bytes]) -> list[bytes]:
    """Steps that are jumped over unless the test holds."""
    return [_step(test, value, 0, len(then)), *then]


def _refuse(error: int) -> bytes:
    return _step(RETURN, 0x00050000 | error)  # SECCOMP_RET_ERRNO
