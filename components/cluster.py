"""What the program needs before its components: the stack, its cluster, and an order."""

from __future__ import annotations

import os
import signal
from types import FrameType

import pulumi
from pulumi.runtime import get_config_env, get_config_secret_keys_env
from pulumi.runtime.mocks import MockMonitor
from pulumi.runtime.settings import get_monitor
from pulumi_kubernetes import Provider

from components.cluster_identity import checked_uid, known_or_none, provider_of
from deployment import StackPlan, stack_plan
from settings.loading import SettingsError, settings_of_config
from settings.stack import StackSettings

ERROR_IS_PRINTED = 32  # exit code that pulumi-language-python adds no words to


def read_stack() -> tuple[StackSettings, StackPlan]:
    """Return the stack's settings and what is rendered from them, and log the warnings.

    Raises:
        pulumi.RunError: the settings have findings. Pulumi prints it without a traceback.
    """
    if not isinstance(get_monitor(), MockMonitor):
        signal.signal(signal.SIGINT, _end_quietly)
    try:
        # The whole map: pulumi.Config cannot list its keys, so a misspelt one would go unseen.
        settings = settings_of_config(get_config_env(), get_config_secret_keys_env())
        plan = stack_plan(settings)
    except SettingsError as error:
        raise pulumi.RunError(str(error)) from None
    for warning in plan.warnings:
        pulumi.log.warn(warning)
    return settings, plan


def _end_quietly(_number: int, _frame: FrameType | None) -> None:
    """End at the signal that Pulumi's engine sends after an error, which it prints itself.

    Python would print some 70 lines of traceback below the error.
    """
    os._exit(ERROR_IS_PRINTED)


def cluster_provider(config: pulumi.Config) -> Provider:
    """Return the provider of every Kubernetes resource.

    It works only in the cluster of the stack's first `up`: see `checked_uid`.

    Args:
        config: Pulumi's own keys, `kubernetes:context` and `kubernetes:kubeconfig`.
    """
    kubeconfig, context = config.get_secret("kubeconfig"), config.get("context")
    if kubeconfig is None and context is None:
        pulumi.log.warn(
            "kubernetes:context is not set: pulumi uses the current context of kubectl; "
            "pin it with `pulumi config set kubernetes:context NAME`"
        )
    return provider_of(
        "cluster",
        kubeconfig=kubeconfig,
        context=context,
        # Another address of the same cluster would replace every object.
        cluster_identifier=known_or_none(checked_uid(kubeconfig, context)),
        # Prometheus reloads its files in place, and the operator reads a Secret by its name. The
        # provider would delete each before it makes the new one. It still replaces objects that
        # are marked immutable.
        enable_config_map_mutable=True,
        enable_secret_mutable=True,
    )


def after(
    options: pulumi.ResourceOptions, *resources: pulumi.Resource | None
) -> pulumi.ResourceOptions:
    """Return options with dependencies; None is a component that the stack does not have."""
    existing = [resource for resource in resources if resource is not None]
    return pulumi.ResourceOptions.merge(options, pulumi.ResourceOptions(depends_on=existing))
