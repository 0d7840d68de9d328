"""What every section of a stack file is made of.

A section is a frozen pydantic model. Its fields are its keys, and `problems` yields what two of
its keys cannot say together; `settings.cross_checks` has the checks that span sections.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Iterator
from typing import NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from settings.masking import is_harmless, quoted
from settings.values.quantities import CpuQuantity, MemoryQuantity, cpu_millis, memory_bytes

Location = tuple[int | str, ...]
"""Where in a stack file: ("vendors", 1, "cidrs", 0)."""


class Problem(NamedTuple):
    """A mistake, and where it is; a section's own problems are located from that section on."""

    at: Location
    text: str
    """"reason; remedy", with the value in front where it helps."""
    file_line: str = ""
    """"ranges/vendor-a.txt:7" if the value came from such a line."""


class SectionError(ValueError):
    """What two keys of one section cannot say together."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(problem.text for problem in self.problems))


class Section(BaseModel):
    """A part of the stack file: immutable, and a misspelt key is an error.

    Python code constructs it by field name; a stack file spells the same key in camelCase.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        use_attribute_docstrings=True,
    )

    def problems(self) -> Iterator[Problem]:
        """Yield what keys of this section cannot say together; each key by itself is good."""
        yield from ()

    @model_validator(mode="after")
    def refuse_problems(self) -> Self:
        if problems := tuple(self.problems()):
            raise SectionError(problems)
        return self

    @classmethod
    def key_of(cls, field: str) -> str:
        """Return a field's key, as a stack file spells it."""
        return str(cls.model_fields[field].alias)

    def sets(self, field: str) -> bool:
        """Whether the stack file has this key, with whatever value."""
        return field in self.model_fields_set


class Quantities(Section):
    cpu: CpuQuantity = Field(examples=["100m"])
    """Cores, `"2"`, or thousandths, `100m`."""
    memory: MemoryQuantity = Field(examples=["256M"])
    """`256M` (10^6 bytes) or `256Mi` (2^20 bytes)."""


class Resources(Section):
    requests: Quantities = Field(examples=[{"cpu": "100m", "memory": "100M"}])
    """What the scheduler sets aside for the container."""
    limits: Quantities = Field(examples=[{"cpu": "500m", "memory": "256M"}])
    """The container is slowed at `cpu` and killed at `memory`."""

    def problems(self) -> Iterator[Problem]:
        for name, amount in (("cpu", cpu_millis), ("memory", memory_bytes)):
            request, limit = getattr(self.requests, name), getattr(self.limits, name)
            if amount(request) > amount(limit):
                yield Problem(
                    ("requests", name),
                    f"{request!r} is more than limits.{name} ({limit!r}); "
                    "lower it, or raise the limit",
                )


def resources(*, cpu: tuple[str, str], memory: tuple[str, str]) -> Resources:
    """Requests and limits from (request, limit) pairs."""
    return Resources(
        requests=Quantities(cpu=cpu[0], memory=memory[0]),
        limits=Quantities(cpu=cpu[1], memory=memory[1]),
    )


def repeated(
    items: Iterable[tuple[Location, Hashable]], remedy: str = "remove one"
) -> Iterator[Problem]:
    """Yield a problem for each item that equals an earlier one."""
    first: dict[Hashable, Location] = {}
    for at, item in items:
        earlier = first.setdefault(item, at)
        if earlier != at:
            yield Problem(at, f"{item!r} is also {path_text(earlier)}; {remedy}")


def path_text(location: Location) -> str:
    """Write a location as an operator reads it: `vendors[1].cidrs[0]`."""
    text = ""
    for part in location:
        if isinstance(part, int):
            text += f"[{part}]"
            continue
        # A key no stack should have stays on one line, and is no path by accident.
        name = quoted(part)
        if not is_harmless(part):
            name = f"<{name}>"
        elif re.fullmatch(r"[\w/-]+|\*", part):
            name = part
        text += f".{name}" if text else name
    return text
