"""Where the lab listens: every port follows `PORT_BASE`."""

from __future__ import annotations

from dataclasses import dataclass

from settings.masking import quoted

DEFAULT_BASE = 3100  # so that vendors are on 3128, the customary port of an HTTP proxy


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
    def envoy_admin(self) -> int:
        return self.base + 1

    @property
    def crawler_metrics(self) -> int:
        return self.base + 2

    @property
    def vendor_control(self) -> int:
        return self.base + 3

    @property
    def vendor(self) -> int:
        """What crawlers connect to, on every vendor address; Envoy listens there."""
        return self.base + 28

    @property
    def vendor_upstream(self) -> int:
        """Where the simulated vendors listen, on the same addresses."""
        return self.upstream_of(self.vendor)

    @property
    def outside_upstream(self) -> int:
        """Where everything outside the vendors' ranges and ports is served."""
        return self.base + 30

    @property
    def nobodys(self) -> int:
        """A port of a shared address that belongs to no vendor."""
        return self.base + 60

    @staticmethod
    def upstream_of(port: int) -> int:
        """Return where a simulated vendor listens for what crawlers send to `port`."""
        return port + 1

    def moved(self, port: int) -> int:
        """Return where a port of the lab's stack file, which has the default base, is now."""
        return port - DEFAULT_BASE + self.base

    @property
    def ledger(self) -> int:
        """A second Prometheus, with what past hours carried."""
        return self.base + 87

    @property
    def money_exporter(self) -> int:
        return self.base + 88

    @property
    def viewer(self) -> int:
        """The boards."""
        return self.base + 89

    @property
    def prometheus(self) -> int:
        return self.base + 90

    @property
    def other_prometheus(self) -> int:
        """The second replica of drills."""
        return self.base + 91

    @property
    def alertmanager(self) -> int:
        return self.base + 92

    @property
    def receiver(self) -> int:
        """The webhooks that Alertmanager calls."""
        return self.base + 93

    @property
    def istiod(self) -> int:
        """A page of metrics, like the next two."""
        return self.base + 94

    @property
    def grafana(self) -> int:
        return self.base + 95

    @property
    def second_sidecar(self) -> int:
        return self.base + 96

    @property
    def name_server(self) -> int:
        """Tells Envoy where the vendors are that are given by name."""
        return self.base + 97

    @property
    def captured_name_server(self) -> int:
        """Tells crawlers the names' virtual addresses."""
        return self.base + 98
