"""`grafana`: the dashboards' server, or the boards alone for a Grafana that there is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field, StrictInt, StrictStr

from settings.section import Problem, Resources, Section, repeated, resources
from settings.values.checked_text import Text
from settings.values.kubernetes import Image, ObjectName
from settings.values.texts import PORT, BaseUrl, NotBlank, PathInRoot, ServerUrl

OWN_FOLDER = "Proxy vendors"
"""The folder of this program's boards in Grafana."""

FolderName = Annotated[
    NotBlank,
    Text(
        "folder",
        r"[\w .&()-]{1,100}",
        "is not the name of a folder; use letters, digits, spaces and any of -_.&()",
    ),
]
DatabaseServer = Annotated[
    StrictStr,
    Text(
        "host:port",
        rf"[0-9A-Za-z.-]+:{PORT}",
        "is not a database server; write host and port, like postgres.example.com:5432",
    ),
]
DatabaseName = Annotated[
    StrictStr,
    Text(
        "name",
        r"[A-Za-z_][\w.@-]{0,62}",
        "is not a name of PostgreSQL's; write it as in the database, like grafana",
    ),
]
# Grafana's own parser of its settings would expand these (pkg/setting/expanders.go).
OneLine = Annotated[
    NotBlank,
    Text(
        "text",
        r"(?!.*(\$(__\w+)?\{|%\()).*",
        "has an expression that Grafana would expand (${…}, $__env{…}, %(…)s); write plain text",
    ),
]


class Database(Section):
    """A PostgreSQL database for Grafana, which must exist: users, sessions, boards made by hand."""

    host: DatabaseServer = Field(examples=["postgres.example.com:5432"])
    """Host and port."""
    name: DatabaseName = "grafana"
    """The database, which Grafana fills at its first start."""
    user: DatabaseName = "grafana"
    """A role that may create tables there."""
    password_secret: ObjectName = Field(examples=["grafana-database"])
    """Secret in namespace `monitoring` with the role's password under key `password`."""
    ssl_mode: Literal["disable", "require", "verify-full"] = "require"
    """As PostgreSQL's `sslmode`. Only `verify-full` checks whose server it is."""
    ca_secret: ObjectName | None = None
    """Secret in `monitoring` with the server's CA under key `ca.crt`. Without it `verify-full`
    knows the public CAs alone."""


class Oidc(Section):
    """Login by an OpenID Connect provider. Its client needs the redirect URL `grafana.url` with
    `login/generic_oauth` after it."""

    client_id: OneLine = Field(examples=["grafana"])
    """The client's id there."""
    client_secret: ObjectName = Field(examples=["grafana-oidc"])
    """Secret in namespace `monitoring` with the client's secret under key `clientSecret`."""
    auth_url: ServerUrl = Field(examples=["https://login.example.com/authorize"])
    """The provider's `authorization_endpoint`."""
    token_url: ServerUrl = Field(examples=["https://login.example.com/token"])
    """Its `token_endpoint`, which Grafana's pod calls."""
    userinfo_url: ServerUrl = Field(examples=["https://login.example.com/userinfo"])
    """Its `userinfo_endpoint`, which Grafana's pod calls."""
    role_attribute_path: OneLine = Field(
        examples=["contains(groups[*], 'sre') && 'Editor' || 'Viewer'"]
    )
    """JMESPath expression over the user's claims that gives `Viewer`, `Editor` or `Admin`. Whoever
    gets none of them is not let in."""
    scopes: Annotated[tuple[OneLine, ...], Field(min_length=1, max_length=20)] = (
        *("openid", "profile", "email"),
    )
    """What is asked of the provider; many need `groups` for the groups."""
    name: OneLine = "Single sign-on"
    """The button's text."""


class OwnBoard(Section):
    """A board of your own."""

    file: PathInRoot = Field(examples=["boards/shops.json"])
    """Its JSON, as Grafana exports it. Its data source is a variable, or `prometheus`."""
    folder: FolderName = OWN_FOLDER
    """The folder in Grafana, for instance a team's; it is made if there is none."""


class Grafana(Section):
    """The dashboards' server."""

    mode: Literal["server", "existing"] = "server"
    """`server`: this program runs Grafana. `existing`: it makes a ConfigMap for each board in
    namespace `monitoring`, labelled `grafana_dashboard: "1"`, and no pod (docs/boards.md)."""
    image: Image = "docker.io/grafana/grafana:13.2.3"
    """Image with a tag or a digest."""
    resources: Resources = resources(cpu=("500m", "750m"), memory=("512M", "1G"))
    """Requests and limits of Grafana."""
    replicas: Annotated[StrictInt, Field(ge=1, le=5)] = 1
    """Pods. More than one need `database`."""
    url: BaseUrl | None = Field(default=None, examples=["https://grafana.example.com/"])
    """Where people's browsers reach it, for links and for `oidc`. Ingress and DNS are yours."""
    database: Database | None = None
    """Where Grafana keeps users and what they make. Without it all of that is gone with the pod."""
    oidc: Oidc | None = None
    """Login by single sign-on, beside user `admin`."""
    dashboards: Annotated[tuple[OwnBoard, ...], Field(max_length=100)] = ()
    """Boards of your own, beside this program's."""

    def problems(self) -> Iterator[Problem]:
        files = [board.file for board in self.dashboards]
        yield from repeated((("dashboards", n, "file"), file) for n, file in enumerate(files))
        if self.mode == "existing":
            for name in sorted(self.model_fields_set - {"mode", "dashboards"}):
                yield Problem((self.key_of(name),), "has no effect with mode: existing; remove it")
            return
        if self.replicas > 1 and self.database is None:
            yield Problem(
                ("replicas",),
                f"{self.replicas} would each have users and sessions of their own; add database, "
                "or write 1",
            )
        if self.oidc and self.url is None:
            yield Problem(
                ("url",),
                "is missing, and oidc sends people back there; write it, like "
                "https://grafana.example.com/",
            )
        if self.database and self.database.ca_secret and self.database.ssl_mode != "verify-full":
            yield Problem(
                ("database", "caSecret"),
                f"has no effect with sslMode: {self.database.ssl_mode}; write verify-full",
            )
