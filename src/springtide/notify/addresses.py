"""Which addresses are of the open internet; the others belong to this machine or to a network of one's own."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Network, ip_address

__all__ = ["is_public"]

UNICAST = IPv6Network("2000::/3")  # the only IPv6 addresses that are routed on the internet


def is_public(address: str) -> bool:
    """Whether an IP address is one that anybody's packets may go to.

    Loopback, link-local (also that of a cloud's metadata), private, shared and reserved ranges are not, nor are IPv6
    forms that hold an IPv4 address, which could be any of these. Source: the registries of RFC 6890.

    >>> [is_public(address) for address in ("8.8.8.8", "127.0.0.1", "169.254.169.254", "::ffff:10.0.0.1")]
    [True, False, False, False]
    """
    ip = ip_address(address.partition("%")[0])
    if isinstance(ip, IPv4Address):
        return ip.is_global and not ip.is_multicast
    return ip in UNICAST and ip.is_global and ip.sixtofour is None and ip.teredo is None
