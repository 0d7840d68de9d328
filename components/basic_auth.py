"""A user and a generated password: for the server, for its probes, and for who asks it."""

from __future__ import annotations

import pulumi
from pulumi_kubernetes.core.v1 import Secret
from pulumi_kubernetes.meta.v1 import ObjectMetaArgs
from pulumi_random import RandomPassword

from components.file_text import yaml_text
from components.prometheus.config import BasicAuth, http_config, web_config

WEB_FILE = "web.yml"
HTTP_FILE = "http.yml"
PASSWORD_FILE = "password"


def basic_auth_secret(
    name: str, metadata: ObjectMetaArgs, auth: BasicAuth, opts: pulumi.ResourceOptions
) -> tuple[Secret, pulumi.Output[str]]:
    """Make a password and the Secret with all that knows it.

    The server gets its bcrypt hash (`web.yml`), its probes and its clients the password itself.

    Returns:
        The Secret, and the password, which is secret.
    """
    password = RandomPassword(f"{name}-password", length=32, special=False, opts=opts)
    web = password.bcrypt_hash.apply(lambda hashed: yaml_text(web_config(auth.username, hashed)))
    secret = Secret(
        f"{name}-auth",
        metadata=metadata,
        string_data={
            WEB_FILE: web,
            HTTP_FILE: yaml_text(http_config(auth)),
            PASSWORD_FILE: password.result,
        },
        opts=opts,
    )
    return secret, password.result
