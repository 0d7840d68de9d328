"""`vendors[].preset`: well-known vendors as data, in the files of `presets/`.

A preset's `vendor` has the keys of a vendor in a stack file. They are merged before anything is
validated, so a stack behaves as if they were written there. The rest of the file says where the
facts are from, and fills the pages in docs/vendors.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, StrictBool, StrictInt, ValidationError

from settings.billing import Billing
from settings.messages import printed
from settings.products import Product
from settings.section import Problem, Section, path_text
from settings.values.addresses import PortRange, Ports
from settings.values.kubernetes import DnsLabel
from settings.values.outcomes import VendorOutcome
from settings.values.texts import HeaderName, HostPattern, PrintableText
from settings.vendors import Vendor

FOLDER = Path(__file__).resolve().parent.parent / "presets"

Kind = Literal["plain", "tunnel"]


class Source(Section):
    """A page of the vendor's documentation."""

    page: PrintableText
    """Its address."""
    read: Annotated[str, Field(pattern=r"^20\d\d-\d\d$")]
    """Month of the last check."""


class Gateway(Section):
    """What speaks at a name of the vendor. Names that `vendor.hosts` lacks are for the page, and
    for the preview's guess at the vendor."""

    name: HostPattern
    """The host; `*.` stands for every name below."""
    ports: Annotated[tuple[Ports, ...], Field(min_length=1)]
    """Its ports, ranges included."""
    speaks: PrintableText
    """The protocol there, and for whom."""


class DocumentedAnswer(Section):
    """An answer as the vendor documents it."""

    status: Annotated[StrictInt, Field(ge=200, le=999)]
    """Its HTTP status."""
    connect: StrictBool | None = None
    """`true`: to a CONNECT alone. `false`: to other requests alone."""
    headers: Mapping[HeaderName, PrintableText] = {}
    """Headers that come with it."""
    meaning: VendorOutcome
    """What the documentation says it means, as one of our outcomes."""
    text: PrintableText
    """The same in our words."""
    unclear: tuple[Kind, ...] = ()
    """To which requests the answer alone does not say so: a site may answer the same to a plain
    one, or the vendor itself has two meanings for it."""
    source: DnsLabel
    """Which of `sources` says it."""

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """To which requests it is given."""
        kinds: dict[bool | None, tuple[Kind, ...]] = {True: ("tunnel",), False: ("plain",)}
        return kinds.get(self.connect, ("plain", "tunnel"))


class Preset(Section):
    """A file of `presets/`."""

    title: PrintableText
    """The vendor's name."""
    vendor: Mapping[str, Any]
    """Keys of a vendor in a stack file."""
    gateways: Annotated[tuple[Gateway, ...], Field(min_length=1)]
    """Where crawlers connect to."""
    user: PrintableText
    """Grammar of the proxy user name."""
    products: tuple[Product, ...] = ()
    """Example of `products` where their patterns are the customer's own."""
    notes: tuple[PrintableText, ...] = ()
    """What to mind in a stack file."""
    answers: Annotated[tuple[DocumentedAnswer, ...], Field(min_length=1)]
    """What it answers for itself."""
    billing: PrintableText
    """What it counts and charges."""
    terms: Mapping[str, Any] = {}
    """Of that, what `vendors[].billing` can say, without a price: only what its pages document."""
    usage: PrintableText
    """Where it tells the usage."""
    sources: Mapping[DnsLabel, Source]
    """By the name that the answers use."""

    def problems(self) -> Iterator[Problem]:
        for key in ("name", "preset", "cidrs", "cidrsFile"):
            if key in self.vendor:
                yield Problem(("vendor", key), "is the stack's own; remove it")
        for kind, said in self.terms.items():
            if isinstance(said, Mapping) and {"price", "tiers", "per1000"} & said.keys():
                yield Problem(("terms", kind), "has a price, which is the stack's own; remove it")
        for index, answer in enumerate(self.answers):
            if answer.source not in self.sources:
                yield Problem(
                    ("answers", index, "source"),
                    f"{answer.source!r} is none of sources; add it there",
                )

    def example(self) -> Vendor:
        """Return the vendor of a stack that names the preset and nothing else.

        Raises:
            ValidationError: `vendor` holds a wrong key or value.
        """
        values = {"name": "example", **self.vendor}
        return Vendor.model_validate(values, by_alias=True, by_name=False)

    def example_of_terms(self) -> Billing:
        """Return the billing of a stack whose prices are all 1.

        Raises:
            ValidationError: `terms` holds a wrong key or value.
        """
        price = {"per1000": 1}
        ours: dict[str, dict[str, Any]]
        ours = {"perGB": {"price": 1, "unit": "GB"}, "perRequest": price, "perSuccess": price}
        kinds = {key: {**ours[key], **self.terms[key]} for key in ours if key in self.terms}
        rented = {"perAddressMonth": {"price": 1, "addresses": 1}} if not kinds else {}
        values = {"currency": "USD", **rented, **self.terms, **kinds}
        return Billing.model_validate(values, by_alias=True, by_name=False)

    def knows(self, host: str) -> bool:
        return bool(self.ports_at(host))

    def ports_at(self, host: str) -> tuple[PortRange, ...]:
        """Return the ports of a name; none if the vendor has no such name."""
        return distinct(
            ports
            for gateway in self.gateways
            if gateway.name == host
            or (gateway.name.startswith("*.") and host.endswith(gateway.name.removeprefix("*")))
            for ports in gateway.ports
        )

    @property
    def ports(self) -> tuple[PortRange, ...]:
        """Every port that it is known for."""
        return distinct(ports for gateway in self.gateways for ports in gateway.ports)


def distinct(listed: Iterable[PortRange]) -> tuple[PortRange, ...]:
    """Return ports without those that lie inside others, sorted."""
    found = sorted(set(listed))
    return tuple(
        one for one in found if not any(one.within(other) for other in found if other != one)
    )


class PresetError(ValueError):
    """A file of `presets/` says something wrong."""


@cache
def preset_names() -> tuple[str, ...]:
    return tuple(sorted(file.stem for file in FOLDER.glob("*.yaml")))


@cache
def preset(name: str) -> Preset:
    """Return one of `preset_names`.

    Raises:
        PresetError: its file is wrong, as "presets/name.yaml: path: reason".
    """
    return read_preset(FOLDER / f"{name}.yaml")


def read_preset(file: Path) -> Preset:
    """Read a file of presets.

    Raises:
        PresetError: it cannot be read, or says something wrong.
    """
    shown = f"{file.parent.name}/{file.name}"
    try:
        # libyaml's: Python's own takes eight presets a quarter of a second, in each preview.
        content = yaml.load(file.read_text(encoding="utf-8"), yaml.CSafeLoader)
        found = Preset.model_validate(content, by_alias=True, by_name=False)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise PresetError(f"{shown}: cannot be read ({type(error).__name__}); correct it") from None
    except ValidationError as error:
        raise PresetError(f"{shown}: {first_mistake(error)}") from None
    for part, example in (("vendor", found.example), ("terms", found.example_of_terms)):
        try:
            example()
        except ValidationError as error:
            raise PresetError(f"{shown}: {part}: {first_mistake(error)}") from None
    return found


def first_mistake(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    return f"{path_text(first['loc'])}: {first['msg']}".removeprefix(": ")


Given = dict[tuple[object, ...], str]
"""For a key that a preset gave, as ("vendors", 1, "hosts"), the preset's name."""


def with_presets(values: Mapping[str, object], findings: list[str]) -> tuple[dict[str, Any], Given]:
    """Return the values with each vendor's preset merged in, and which keys came from where.

    A key that the stack writes replaces the preset's whole.
    """
    vendors, given = values.get("vendors"), Given()
    if not isinstance(vendors, list | tuple):
        return dict(values), given
    merged = list(vendors)
    for index, vendor in enumerate(vendors):
        if not isinstance(vendor, dict) or not isinstance(name := vendor.get("preset"), str):
            continue
        if name not in preset_names():
            findings.append(f"vendors[{index}].preset: {printed(name)} {no_preset(name)}")
            # Without names and addresses it would be refused for those as well.
            has_some = any(key in vendor for key in ("cidrs", "cidrsFile", "hosts"))
            stand_in = {} if has_some else {"hosts": ["gw.vendor.example"]}
            merged[index] = {**stand_in, **vendor, "preset": None}
            continue
        try:
            own = preset(name).vendor
        except PresetError as error:
            findings.append(str(error))
            continue
        merged[index] = with_terms({**own, **vendor}, preset(name).terms)
        given |= {("vendors", index, key): name for key in own if key not in vendor}
    return {**values, "vendors": merged}, given


def with_terms(vendor: dict[str, Any], terms: Mapping[str, Any]) -> dict[str, Any]:
    """Return a vendor whose prices, and its products', are completed by what a preset knows."""
    if products := vendor.get("products"):
        vendor = {**vendor, "products": [priced(product, terms) for product in products]}
    return dict(priced(vendor, terms))


def priced(owner: Any, terms: Mapping[str, Any]) -> Any:
    """Return a vendor or product with its `billing` completed; as it is without one."""
    if not isinstance(owner, Mapping) or not (billing := owner.get("billing")):
        return owner
    if isinstance(billing, list | tuple):
        return {**owner, "billing": [completed(one, terms) for one in billing]}
    return {**owner, "billing": completed(billing, terms)}


def completed(billing: Any, terms: Mapping[str, Any]) -> Any:
    """Return a billing with the terms that it leaves out, of the kinds that it has a price for.

    >>> completed({"perGB": {"price": 8.4}}, {"currency": "USD", "perGB": {"unit": "GB"}})
    {'currency': 'USD', 'perGB': {'unit': 'GB', 'price': 8.4}}
    """
    if not isinstance(billing, Mapping):
        return billing
    kinds = ("perGB", "perRequest", "perSuccess", "perAddressMonth")
    given = {key: value for key, value in terms.items() if key not in kinds or key in billing}
    if "perGB" not in billing and "perRequest" not in billing:
        given.pop("free", None)
    both = {
        key: {**given[key], **value}
        for key, value in billing.items()
        if isinstance(value, Mapping) and isinstance(given.get(key), Mapping)
    }
    return {**given, **billing, **both}


def no_preset(name: str) -> str:
    """Return why a name is refused, and what to write instead."""
    wanted = re.sub(r"[ _]", "-", name.lower())
    # By its title too, which has the name that a vendor had before.
    titled = [one for one in preset_names() if wanted in preset(one).title.lower()]
    close = titled or get_close_matches(wanted, preset_names(), 1)
    meant = f"write {close[0]}" if close else "remove it and write hosts or cidrs"
    return f"is no preset; {meant} (there are {', '.join(preset_names())})"


def of_preset(at: tuple[object, ...], given: Given) -> str:
    """Return words for a finding about a key that the stack file does not have itself."""
    name = given.get(at[:3])
    return f"(of preset {name}) " if name else ""
