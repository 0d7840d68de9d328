"""What one part of `make verify` saw."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Check:
    """A question, what was seen, and what is wrong.

    Attributes:
        name: "rules".
        said: what was seen: "57 rules loaded".
        findings: what is wrong, as "what: reason; fix". Without one all is well.
    """

    name: str
    said: str
    findings: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, object]:
        return {"name": self.name, "said": self.said, "good": not self.findings}

    def line(self) -> str:
        return f"{'bad ' if self.findings else 'good'}  {self.name}: {self.said}"
