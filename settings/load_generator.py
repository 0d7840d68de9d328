"""`loadGenerator`: synthetic crawlers, whose own books the metrics are compared with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StrictBool, StrictFloat, StrictInt
from pydantic.functional_validators import PlainValidator

from settings.section import Problem, Resources, Section, resources
from settings.values.addresses import Endpoint, check_endpoint
from settings.values.checked_text import text
from settings.values.kubernetes import DnsLabel, Image, ObjectName, SecretKey
from settings.values.quantities import Amount, Gigabytes
from settings.values.texts import HostName

RATELESS_PROFILES = ("scrapy",)  # whose arrival is "closed"


class SecretReference(Section):
    """One value of a Secret that is in the cluster already."""

    name: ObjectName = Field(examples=["vendor-a-login"])
    """The Secret, in the first of `crawlers.namespaces`."""
    key: SecretKey = Field(examples=["login"])
    """Its key whose value is `user:password`."""


class ProxyInDetail(Section):
    """The long form of a proxy: {address: 10.1.0.10:3128, weight: 2}."""

    address: Endpoint = Field(examples=["10.1.0.10:3128"])
    """Address and port of the proxy."""
    weight: Amount = 1
    """This vendor's part of the requests, relative to the others'."""
    session: Literal["rotating", "sticky"] | None = None
    """`sticky` keeps the exit address for ten minutes by a session id in the user name, `rotating`
    does not. Without it the profile decides."""
    credentials_secret: SecretReference | None = None
    """Secret with the login for this proxy. The pod gets it as an environment variable; it is not
    in Pulumi's state."""


def parse_proxy(value: object) -> ProxyInDetail:
    """Read "10.1.0.10:3128", or {address, weight, session, credentialsSecret}."""
    if isinstance(value, ProxyInDetail):
        return value
    if isinstance(value, Mapping):
        return ProxyInDetail.model_validate(value, by_alias=True, by_name=False)
    return ProxyInDetail(address=check_endpoint(text(value, "10.1.0.10:3128")))


def sums_to_one(shares: dict[str, float]) -> dict[str, float]:
    if abs(sum(shares.values()) - 1) > 1e-6:
        raise ValueError("does not sum to 1; the shares make up all requests")
    return shares


Proxy = Annotated[
    ProxyInDetail, PlainValidator(parse_proxy, json_schema_input_type=Endpoint | ProxyInDetail)
]
# What a crawler can speak to its proxy; `tunnel` is CONNECT, `tls` is TLS to the proxy itself.
Protocol = Literal["http", "tunnel", "tls", "socks5"]
Mix = Annotated[
    dict[Protocol, Annotated[StrictFloat, Field(ge=0, le=1)]], AfterValidator(sums_to_one)
]


class LoadGenerator(Section):
    """Synthetic crawlers."""

    enabled: StrictBool = False
    """Whether synthetic traffic runs. Vendors that are not simulated charge for it."""
    image: Image = "docker.io/library/python:3.11-slim"
    """A Python image; the generator needs nothing else."""
    profile: Literal["burst", "diurnal", "ramp", "scrapy", "steady"] = "steady"
    """How crawlers crawl (simulation/profiles/): `steady` evenly, `scrapy` as Scrapy does by
    default, `burst` with a rush each minute, `diurnal` by the time of day, `ramp` from nothing to
    the full rate in 5 minutes."""
    replicas: Annotated[StrictInt, Field(ge=1, le=1000)] = 1
    """Pods that share the synthetic traffic, each with its own seed."""
    requests_per_second: Annotated[StrictInt, Field(ge=1)] | None = None
    """Requests per second of all replicas together. Without it the profile's own. `scrapy` has
    none: each replica keeps 16 requests open."""
    endpoints: dict[DnsLabel, Proxy] = Field(default={})
    """Vendor's name to `address:port` of its proxy, in that vendor's ranges, or to the keys below.
    Vendors left out get no synthetic traffic."""
    mix: Mix | None = None
    """Shares of `http`, `tunnel` (CONNECT), `tls` (to the proxy) and `socks5`, together 1.
    Without it the profile's; proxies that are not simulated then get only `http` and `tunnel`."""
    host_suffix: HostName = "sim.test"
    """Domain of the sites requested, `site-1.<domain>` and so on. Real vendors need sites that
    exist."""
    max_gb_per_day: Gigabytes | None = Field(default=None, alias="maxGBPerDay")
    """Most GB (10^9 bytes) that all replicas together send and receive in a UTC day. Required for
    proxies that are not simulated. A replica's part is counted anew if its pod is replaced."""
    resources: Resources = resources(cpu=("100m", "500m"), memory=("100M", "256M"))
    """Requests and limits of each generator pod."""

    def problems(self) -> Iterator[Problem]:
        proxies = self.endpoints.values()
        if self.enabled and not proxies:
            yield Problem(
                ("enabled",),
                "true sends traffic nowhere; add loadGenerator.endpoints, "
                "like {vendor-a: 10.1.0.10:3128}, or write false",
            )
        if proxies and not any(proxy.weight for proxy in proxies):
            yield Problem(
                ("endpoints",),
                "has no weight above 0, so nothing would be sent; give one a weight",
            )
        if self.requests_per_second and self.profile in RATELESS_PROFILES:
            yield Problem(
                ("requestsPerSecond",),
                f"{self.requests_per_second} has no effect with profile {self.profile}, which "
                "sends the next request as soon as one is answered; "
                "remove it, or take another profile",
            )
