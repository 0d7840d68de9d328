"""`vendors[].usage`: where a vendor says what it delivered, and how to read it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field, StrictBool, StrictStr

from settings.section import Problem, Section, repeated
from settings.values.checked_text import Text, titled
from settings.values.kubernetes import DnsLabel
from settings.values.money import Currency
from settings.values.texts import NotBlank


def known_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ValueError, OSError, KeyError):  # ZoneInfoNotFoundError is a KeyError
        raise ValueError("is no time zone; write its IANA name, like Europe/Berlin") from None
    return name


TimeZone = Annotated[StrictStr, AfterValidator(known_zone), titled("time zone")]
VendorsName = Annotated[
    StrictStr,
    Text(
        "name",
        r"[A-Za-z0-9_.-]{1,100}",
        "is no name of a zone, sub-user or plan; write letters, digits and ._- as the vendor has "
        "them",
    ),
]
CellText = Annotated[
    NotBlank,
    Text("text", r"[^#]*#[^#]*", "has not one # for the number; write it like $# or # GB"),
    Text(
        "text",
        r"[^0-9()\x00-\x1f\u2212-]*",
        "has a digit, a minus or a parenthesis, which belongs to the number; leave it out, credits "
        "are not read",
    ),
]
DayFormat = Annotated[
    NotBlank,
    Text(
        "date format",
        r"(%[YymdHMS]|[^%A-Za-z0-9]|T)+",
        "is no date format; write %Y, %m, %d (and %H, %M, %S) with what stands between, like "
        "%d.%m.%Y",
    ),
    Text(
        "date format",
        r"(?=.*%[Yy])(?=.*%m)(?=.*%d)(?!.*(%.).*\1)(?!.*%Y.*%y)(?!.*%y.*%Y).*",
        "has not each of year, month and day once; write them, like %Y-%m-%d",
    ),
]


class UsageProduct(Section):
    """One thing that the vendor sells, and its product here."""

    name: VendorsName = Field(examples=["resi_zone_1"])
    """The vendor's name: Bright Data's zone, Oxylabs' number of a sub-user, Decodo's type of proxy,
    Webshare's plan; or what stands in the file's column of products."""
    product: DnsLabel | None = Field(default=None, examples=["residential"])
    """One of the vendor's products or pools here. Without it, traffic without one."""


class CsvNumbers(Section):
    """A column of numbers."""

    column: NotBlank = Field(examples=["Requests"])
    """Heading of the column."""
    text: CellText = "#"
    """What a cell looks like, `#` for the number: `$#`, `# GB`."""


class CsvTraffic(CsvNumbers):
    """The column of bytes."""

    unit: Literal["B", "kB", "MB", "GB", "TB", "KiB", "MiB", "GiB", "TiB"] = Field(examples=["GB"])
    """What the number counts: `GB` is 10^9 bytes, `GiB` 2^30. Ask the vendor: many write GB and
    mean GiB."""


class CsvCost(CsvNumbers):
    """The column of money."""

    currency: Currency = Field(examples=["USD"])
    """ISO 4217."""


class CsvDay(Section):
    """The column of days."""

    column: NotBlank = Field(examples=["Date"])
    """Heading of the column."""
    format: DayFormat = Field(examples=["%Y-%m-%d"])
    """How a date is written, by Python's strptime: `%d.%m.%Y`. With `%H` the lines are hours, and
    are added up."""


class CsvFile(Section):
    """How a vendor's CSV file is written. Nothing is guessed."""

    day: CsvDay = Field(examples=[{"column": "Date", "format": "%Y-%m-%d"}])
    """The column of days."""
    traffic: CsvTraffic | None = None
    """The column of bytes. Required, or `requests` or `cost`."""
    requests: CsvNumbers | None = None
    """The column of requests."""
    cost: CsvCost | None = None
    """The column of money."""
    product: NotBlank | None = None
    """Heading of the column that names a zone or product; `usage.products` says which each is."""
    separator: Literal["comma", "semicolon", "tab", "pipe"] = "comma"
    """What stands between cells."""
    decimal: Literal["point", "comma"] = "point"
    """The sign before decimals."""
    thousands: Literal["none", "point", "comma", "apostrophe", "space"] = "none"
    """The sign between thousands."""
    total: NotBlank | None = None
    """What stands in the column of days in the line of totals. It must be there, and right: a file
    that was cut off has none."""

    def problems(self) -> Iterator[Problem]:
        if not (self.traffic or self.requests or self.cost):
            yield Problem(
                ("traffic",),
                "is missing, and so are requests and cost; write one, like "
                "traffic: {column: Traffic, unit: GB}",
            )
        numbers = (("traffic", self.traffic), ("requests", self.requests), ("cost", self.cost))
        yield from repeated(
            [
                (("day", "column"), self.day.column),
                *(((name, "column"), one.column) for name, one in numbers if one),
                *([(("product",), self.product)] if self.product else []),
            ],
            "write the column of each",
        )
        if self.decimal == self.thousands:
            yield Problem(("thousands",), "is also decimal; write the one that the file has")


class VendorUsage(Section):
    """Where a vendor says what it delivered."""

    api: (
        Literal["bright-data", "decodo", "oxylabs", "oxylabs-unblocker", "webshare", "zyte"] | None
    ) = None
    """Whose API is asked (docs/money.md says for which credentials). Required, or `csv`."""
    organization: (
        Annotated[
            StrictStr,
            Text("number", r"[0-9]{1,18}", "is no number; copy it from the dashboard's address"),
        ]
        | None
    ) = None
    """Zyte's number of the organization."""
    products: Annotated[tuple[UsageProduct, ...], Field(max_length=100)] = ()
    """What the vendor calls the products. Bright Data and Oxylabs are asked for these alone."""
    unit: Literal["GB", "GiB"] | None = None
    """What a GB of Oxylabs' is: its API does not say."""
    time_zone: TimeZone | None = None
    """Whose midnights part the vendor's days. Required for a file; an API's are UTC by default."""
    skips_empty_days: StrictBool = False
    """Whether the vendor leaves out days without traffic. Otherwise a day that is missing makes a
    file or an answer useless."""
    csv: CsvFile | None = None
    """How a file of `make reconcile FILE=` is written."""

    def problems(self) -> Iterator[Problem]:
        if not self.api and not self.csv:
            yield Problem(("api",), "is missing, and so is csv; write one, like api: bright-data")
        if self.api == "zyte" and not self.organization:
            yield Problem(("organization",), "is missing; Zyte asks for the number")
        if self.api == "oxylabs" and not self.unit:
            yield Problem(("unit",), "is missing; Oxylabs counts in GB: write GB or GiB")
        if self.api in ("bright-data", "oxylabs") and not self.products:
            yield Problem(
                ("products",),
                "is missing; name the vendor's zones or sub-users, like "
                "[{name: resi_zone_1, product: residential}]",
            )
        if self.csv and not self.time_zone:
            yield Problem(("timeZone",), "is missing; a file does not say whose days these are")
        if self.csv and self.csv.product and not self.products:
            yield Problem(
                ("products",), "is missing; say which product each name in csv.product's column is"
            )
        yield from repeated(
            (("products", index, "name"), one.name) for index, one in enumerate(self.products)
        )
