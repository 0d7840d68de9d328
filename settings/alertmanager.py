"""`alertmanager` and `alertmanagerSecrets`: where alerts are sent."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, StrictInt, Tag, WithJsonSchema
from pydantic.functional_validators import PlainValidator

from settings.section import Problem, Resources, Section, repeated, resources
from settings.values.kubernetes import DnsLabel, Image, release_from
from settings.values.quantities import Bytes, Duration
from settings.values.texts import MailAddress, MailServer, SlackChannel


@dataclass(frozen=True)
class SecretText:
    """A credential of the stack; no repr, and so no message, shows it.

    In the stack's file it is encrypted, and `text` is None; the engine hands it over in clear.
    """

    text: str | None = field(repr=False)

    @classmethod
    def parse(cls, value: object) -> SecretText:
        if isinstance(value, SecretText):
            return value
        if isinstance(value, Mapping) and list(value) == ["secure"]:
            return cls(None)
        if isinstance(value, str) and value.strip() and value == value.strip():
            return cls(value)
        raise ValueError(
            "is not a credential; set it with "
            "`pulumi config set --secret --path proxy-observability:KEY`"
        )


Secret = Annotated[
    SecretText,
    PlainValidator(SecretText.parse),
    WithJsonSchema(
        {
            "type": "object",
            "title": "encrypted text",
            "properties": {"secure": {"type": "string"}},
            "required": ["secure"],
        }
    ),
]


class ReceiverSettings(Section):
    """A place that alerts are sent to; its credential is `alertmanagerSecrets.<name>`."""

    name: DnsLabel = Field(examples=["oncall"])
    """Name for `critical`, `warning`, `heartbeat` and the credential."""

    def why_not_a_credential(self, text: str) -> str:
        """Say what is wrong with a credential's form, never its text; empty if nothing is."""
        return ""


class SlackReceiver(ReceiverSettings):
    kind: Literal["slack"] = Field(examples=["slack"])
    """Decides what the credential is. `slack`: the URL of an incoming webhook. `pagerduty`: an
    integration key (Events API v2). `email`: the password. `webhook`: the URL."""
    channel: SlackChannel = Field(examples=["#proxies"])
    """The channel, of kind `slack`."""

    def why_not_a_credential(self, text: str) -> str:
        if re.fullmatch(r"https://[^\s/@]+/\S+", text):
            return ""
        return "is not the URL of an incoming webhook; copy it from Slack, with https:// in front"


class PagerdutyReceiver(ReceiverSettings):
    kind: Literal["pagerduty"] = Field(examples=["pagerduty"])

    def why_not_a_credential(self, text: str) -> str:
        if re.fullmatch(r"[0-9A-Za-z]{32}", text):
            return ""
        return (
            "is not an integration key, which has 32 letters and digits; copy that of an "
            "integration of type Events API v2"
        )


class EmailReceiver(ReceiverSettings):
    kind: Literal["email"] = Field(examples=["email"])
    to: MailAddress = Field(examples=["a@example.com"])
    """Addressee, of kind `email`."""
    sender: MailAddress = Field(examples=["b@example.com"])
    """Sender, of kind `email`; also the user at the server."""
    smarthost: MailServer = Field(examples=["smtp.example.com:587"])
    """Mail server, of kind `email`; TLS is required."""


class WebhookReceiver(ReceiverSettings):
    kind: Literal["webhook"] = Field(examples=["webhook"])

    def why_not_a_credential(self, text: str) -> str:
        if re.fullmatch(r"https?://[^\s/]+(/\S*)?", text):
            return ""
        return "is not a URL; write the receiver's, with https:// in front"


RECEIVERS = ("slack", "pagerduty", "email", "webhook")


def kind_of_receiver(receiver: Any) -> str | None:
    """Return the tag of the model that reads a receiver, None for a kind there is not."""
    kind = (
        receiver.get("kind") if isinstance(receiver, Mapping) else getattr(receiver, "kind", None)
    )
    return f"<{kind}>" if kind in RECEIVERS else None


Receiver = Annotated[
    Annotated[SlackReceiver, Tag("<slack>")]
    | Annotated[PagerdutyReceiver, Tag("<pagerduty>")]
    | Annotated[EmailReceiver, Tag("<email>")]
    | Annotated[WebhookReceiver, Tag("<webhook>")],
    Discriminator(
        kind_of_receiver, custom_error_type="kind", custom_error_message=", ".join(RECEIVERS)
    ),
]


# The first to know `--dispatch.start-delay`.
AlertmanagerImage = Annotated[Image, release_from(0, 30)]


class Alertmanager(Section):
    """Where alerts are sent."""

    image: AlertmanagerImage = "quay.io/prometheus/alertmanager:v0.34.2"
    """Image with a tag or a digest; 0.30 or newer."""
    replicas: Annotated[StrictInt, Field(ge=1, le=3)] = 1
    """1 to 3. Several agree on what was sent, so each message comes once."""
    storage: Bytes = 2**30
    """Size of each replica's volume: silences, and what was sent."""
    retention: Duration = 5 * 86400
    """How long ended silences and sent messages are kept."""
    repeat: Duration = 4 * 3600
    """Time after which an alert that still fires is sent again."""
    receivers: tuple[Receiver, ...] = ()
    """Where alerts can be sent. Without any, Alertmanager lists alerts and sends none."""
    critical: tuple[DnsLabel, ...] = ()
    """Receivers of alerts with severity `critical`."""
    warning: tuple[DnsLabel, ...] = ()
    """Receivers of alerts with severity `warning`."""
    heartbeat: tuple[DnsLabel, ...] = ()
    """Receivers of the alert Watchdog, every minute or two: a service outside the cluster that
    complains when it stops, the only sign that all of monitoring is down."""
    resources: Resources = resources(cpu=("50m", "250m"), memory=("64M", "256M"))
    """Requests and limits of each Alertmanager."""

    def problems(self) -> Iterator[Problem]:
        names = [receiver.name for receiver in self.receivers]
        yield from repeated(
            ((("receivers", index, "name"), name) for index, name in enumerate(names)),
            "give it another name",
        )
        routes = {
            "critical": self.critical,
            "warning": self.warning,
            "heartbeat": self.heartbeat,
        }
        for key, routed in routes.items():
            for index, name in enumerate(routed):
                if name not in names:
                    there = f"those are {', '.join(names)}" if names else "there are none"
                    yield Problem(
                        (key, index),
                        f"{name!r} is none of alertmanager.receivers ({there}); "
                        "add it there, or remove it here",
                    )
        for index, name in enumerate(names):
            if not any(name in routed for routed in routes.values()):
                yield Problem(
                    ("receivers", index, "name"),
                    f"{name!r} has no route; add it under alertmanager.critical, warning or "
                    "heartbeat, or remove it",
                )
