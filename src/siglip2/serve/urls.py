"""URLs of images, read once and strictly: what is fetched is what was checked.

Servers were broken into through URLs that one parser read differently from another (CVE-2026-24779,
CVE-2026-25960), so that anything with two readings is refused.
"""

import re
from dataclasses import dataclass
from urllib.parse import quote, urljoin

import idna

from siglip2.serve.addresses import Address, parse_address

MAX_URL = 8192

_DEFAULT_PORTS = {"http": 80, "https": 443}
_URL = re.compile(r"(?P<scheme>https?)://(?P<authority>[^/?#]+)(?P<target>[^#]*)(?:#.*)?", re.IGNORECASE)
_AUTHORITY = re.compile(r"(?P<host>\[[0-9a-fA-F:.]+\]|[^:\[\]]+)(?::(?P<port>[0-9]{1,5}))?")
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_PATH_CHARACTERS = "/?%:@!$&'()*+,;=~-._[]|^"


class RefusedUrl(Exception):
    """A URL that is not fetched whatever its name resolves to; the sentence may be shown to the caller."""


@dataclass(frozen=True)
class ImageUrl:
    """A URL taken apart.

    Attributes:
        scheme: `http` or `https`.
        host: in lower case, IDNA-encoded, without a final dot; an IPv6 address without brackets.
        port: where the scheme's own is filled in.
        target: path and query, percent-encoded.
        address: if the host is an address.
    """

    scheme: str
    host: str
    port: int
    target: str
    address: Address | None

    @property
    def host_header(self) -> str:
        """What the header `Host` carries."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    def join(self, location: str) -> str:
        """The URL that a redirect's `Location` means."""
        return urljoin(f"{self.scheme}://{self.host_header}{self.target}", location)


def parse_url(text: str) -> ImageUrl:
    """Take a URL apart.

    Raises:
        RefusedUrl: another scheme, a user name, characters with two readings, an unusual spelling of an
            address, or more than 8 kB.
    """
    if len(text) > MAX_URL:
        raise RefusedUrl(f"The URL has more than {MAX_URL} characters.")
    if any(character <= " " or character == "\\" or "\x7f" <= character <= "\xa0" for character in text):
        raise RefusedUrl("The URL holds white space, a control character or a backslash.")
    matched = _URL.fullmatch(text)
    if matched is None:
        raise RefusedUrl("Only URLs that begin with https:// or http:// and name a host are fetched.")
    authority = _AUTHORITY.fullmatch(matched["authority"])
    if authority is None or "@" in matched["authority"] or "%" in matched["authority"]:
        raise RefusedUrl("The URL must name a plain host and no user.")
    scheme = matched["scheme"].lower()
    port = int(authority["port"]) if authority["port"] else _DEFAULT_PORTS[scheme]
    host, address = _host(authority["host"])
    target = matched["target"] or "/"
    if not target.startswith("/"):
        target = f"/{target}"
    return ImageUrl(scheme, host, port, quote(target, safe=_PATH_CHARACTERS), address)


def _host(text: str) -> tuple[str, Address | None]:
    if text.startswith("["):
        address = parse_address(text[1:-1])
        if address is None:
            raise RefusedUrl("The URL's IPv6 address is not valid.")
        return str(address), address
    host = text.lower().removesuffix(".")
    if not host.isascii():
        try:
            # Strict: full-width digits and the like, which would turn into other characters, are refused.
            host = idna.encode(host).decode()
        except (idna.IDNAError, UnicodeError):
            raise RefusedUrl("The URL's host is not a valid international name.") from None
    labels = host.split(".")
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise RefusedUrl("The URL's host is not a valid name.")
    if not _NUMBER.fullmatch(labels[-1]):
        return host, None
    # A name that ends in a number is an address to most programs, in spellings such as 127.1 or 0x7f000001.
    address = parse_address(host)
    if address is None:
        raise RefusedUrl("The URL's IPv4 address must be four decimal numbers.")
    return host, address
