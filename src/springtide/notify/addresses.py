"""Which addresses are of the open internet; the others belong to this machine or to a network of one's own."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Network, ip_address, ip_network

__all__ = ["is_own", "is_public"]

UNICAST = IPv6Network("2000::/3")  # the only IPv6 addresses that are routed on the internet
PRIVATE = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7")  # 100.64: overlay networks too
OWN = tuple(map(ip_network, ("127.0.0.0/8", "::1/128", *PRIVATE)))
METADATA = tuple(map(ip_address, ("100.100.100.200", "fd00:ec2::254", "fd20:ce::254")))  # of clouds, among private ones


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


def is_own(address: str) -> bool:
    """Whether an IP address is one of this machine or of a private network, which settings may open.

    Link-local addresses (also that of a cloud's metadata, which hands out keys), multicast, unspecified and
    reserved ones are neither public nor this. Source: RFC 1918, RFC 4193, RFC 6598.

    >>> [is_own(address) for address in ("127.0.0.1", "10.0.0.1", "::ffff:10.0.0.1", "169.254.169.254", "8.8.8.8")]
    [True, True, True, False, False]
    """
    ip = ip_address(address.partition("%")[0])
    if not isinstance(ip, IPv4Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    return any(ip in network for network in OWN) and ip not in METADATA
