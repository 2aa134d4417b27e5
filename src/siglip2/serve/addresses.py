"""Which network addresses a server may be sent to by a stranger."""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_NAT64 = IPv6Network("64:ff9b::/96")
_UNICAST = IPv6Network("2000::/3")

# What `is_global` lets through or leaves to the version of Python.
_FORBIDDEN: tuple[Network, ...] = tuple(
    ip_network(text)
    for text in (
        "0.0.0.0/8",
        "100.64.0.0/10",  # carrier-grade NAT, and the metadata address of Alibaba's cloud
        "168.63.129.16/32",  # a public address at which Azure answers its own machines
        "192.0.0.0/24",
        "192.88.99.0/24",  # 6to4 relays
        "198.18.0.0/15",
        "224.0.0.0/3",  # multicast, reserved, broadcast
        "2001::/23",  # Teredo among others: an IPv4 address inside
        "2001:db8::/32",
        "2002::/16",  # 6to4: an IPv4 address inside
        "3fff::/20",
    )
)


def unwrapped(address: Address) -> Address:
    """The IPv4 address inside an IPv4-mapped or NAT64 address, or the address itself."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _NAT64:
            return IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def may_reach(address: Address, allowed: Sequence[Network] = ()) -> bool:
    """Whether an address is globally routable, or explicitly allowed by the operator."""
    real = unwrapped(address)
    if any(real in network for network in allowed):
        return True
    if isinstance(real, IPv6Address) and (real not in _UNICAST or real.scope_id is not None):
        return False
    if any(real in network for network in _FORBIDDEN):
        return False
    return real.is_global and not real.is_multicast


def parse_address(text: str) -> Address | None:
    """An address in its one canonical spelling, or None."""
    try:
        return ip_address(text)
    except ValueError:
        return None


def is_loopback(host: str) -> bool:
    """Whether a host, named or as an address, is this machine itself."""
    address = parse_address(host)
    return host == "localhost" if address is None else address.is_loopback
