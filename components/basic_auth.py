"""A generated password, and the Secret from which servers and clients read it."""

from __future__ import annotations

import pulumi
from pulumi_kubernetes.core import v1 as core
from pulumi_kubernetes.meta import v1 as meta
from pulumi_random import RandomPassword

from components.file_text import yaml_text
from components.prometheus.config import BasicAuth, http_config, web_config
from components.tls import Tls

WEB_FILE = "web.yml"
HTTP_FILE = "http.yml"
USER_KEY = "username"
PASSWORD_KEY = "password"  # as Secrets of type kubernetes.io/basic-auth name them


def generated_password(name: str, opts: pulumi.ResourceOptions) -> RandomPassword:
    return RandomPassword(name, length=32, special=False, opts=opts)


def basic_auth_secret(
    name: str,
    metadata: meta.ObjectMetaArgs,
    auth: BasicAuth,
    opts: pulumi.ResourceOptions,
    tls: Tls | None = None,
) -> tuple[core.Secret, pulumi.Output[str]]:
    """Create a password and an immutable Secret with the files and keys that use it.

    The server reads the bcrypt hash in `web.yml`, promtool reads `http.yml`, and clients read
    `username` and `password`.

    Args:
        tls: what the server speaks; None for plain HTTP.

    Returns:
        The Secret and the password, which is a secret of Pulumi's.
    """
    password = generated_password(f"{name}-password", opts)
    web = password.bcrypt_hash.apply(
        lambda hashed: yaml_text(web_config(auth.username, hashed, tls))
    )
    secret = core.Secret(
        f"{name}-auth",
        metadata=metadata,
        # A new password makes a new Secret, whose name in the pod template rolls the pods. Without
        # it the provider changes the Secret in place, and clients would have the old password.
        immutable=True,
        string_data={
            WEB_FILE: web,
            HTTP_FILE: yaml_text(http_config(auth, tls)),
            USER_KEY: auth.username,
            PASSWORD_KEY: password.result,
        },
        opts=opts,
    )
    return secret, password.result
