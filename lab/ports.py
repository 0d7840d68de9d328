"""Where the lab listens: every port follows `PORT_BASE`."""

from __future__ import annotations

from dataclasses import dataclass

from settings.masking import quoted

DEFAULT_BASE = 3100  # so that vendors are on 3128, the customary port of an HTTP proxy


class _Above:
    """A port that lies `distance` above the base of its Ports."""

    def __init__(self, distance: int) -> None:
        self.distance = distance

    def __get__(self, ports: Ports, _: type[Ports]) -> int:
        return ports.base + self.distance


@dataclass(frozen=True)
class Ports:
    """TCP ports of the lab, as offsets from one base."""

    base: int = DEFAULT_BASE

    @classmethod
    def from_text(cls, text: str) -> Ports:
        """Read `PORT_BASE`.

        Raises:
            ValueError: it is no number, or out of range; the text is one line.
        """
        if not text.isdecimal():
            raise ValueError(
                f"PORT_BASE: {quoted(text)} is not a whole number; {DEFAULT_BASE} is usual"
            )
        return cls(int(text))

    def __post_init__(self) -> None:
        if not 1024 <= self.base <= 65535 - 100:
            raise ValueError(
                f"PORT_BASE: {self.base} is not between 1024 and 65435; choose another"
            )

    @property
    def vendor_upstream(self) -> int:
        """Where the simulated vendors listen, on the same addresses."""
        return self.upstream_of(self.vendor)

    @staticmethod
    def upstream_of(port: int) -> int:
        """Return where a simulated vendor listens for what crawlers send to `port`."""
        return port + 1

    def moved(self, port: int) -> int:
        """Return where a port of the lab's stack file, which has the default base, is now."""
        return port - DEFAULT_BASE + self.base

    envoy_admin = _Above(1)
    crawler_metrics = _Above(2)
    vendor_control = _Above(3)
    vendor = _Above(28)
    """Crawlers connect to this port of every vendor's address, and Envoy listens on it."""
    outside_upstream = _Above(30)
    """Where everything outside the vendors' ranges and ports is served."""
    nobodys = _Above(60)
    """A port of a shared address that belongs to no vendor."""
    ledger = _Above(87)
    """A second Prometheus, with what past hours carried."""
    money_exporter = _Above(88)
    viewer = _Above(89)
    """The boards."""
    prometheus = _Above(90)
    other_prometheus = _Above(91)
    """The second replica of drills."""
    alertmanager = _Above(92)
    receiver = _Above(93)
    """The webhooks that Alertmanager calls."""
    istiod = _Above(94)
    """A page of metrics, like the next two."""
    grafana = _Above(95)
    second_sidecar = _Above(96)
    name_server = _Above(97)
    """Tells Envoy where the vendors are that are given by name."""
    captured_name_server = _Above(98)
    """Tells crawlers the names' virtual addresses."""
