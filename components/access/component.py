"""TeamAccess: the roles by which people look at and operate the monitoring namespace."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
from pulumi_kubernetes.rbac import v1 as rbac

from components.access.roles import OPERATOR, ROLES, VIEWER
from components.base import RBAC_GROUP, ClusterComponent
from settings.monitoring import Access

APP = "access"


@dataclass(frozen=True, kw_only=True)
class TeamAccessArgs:
    """Where the roles hold, and which groups have them."""

    namespace: pulumi.Input[str]
    settings: Access


class TeamAccess(ClusterComponent):
    """Two Roles, and a RoleBinding for each that a stack gives to a group.

    The Roles exist without groups too, so that an administrator can bind them to anybody.
    """

    def __init__(
        self, name: str, args: TeamAccessArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("proxyobs:access:TeamAccess", name, APP, args.namespace, opts)
        groups = {VIEWER: args.settings.viewers, OPERATOR: args.settings.operators}
        for role, grants in ROLES.items():
            rules = [
                rbac.PolicyRuleArgs(
                    api_groups=[grant.group],
                    resources=list(grant.resources),
                    verbs=list(grant.verbs),
                )
                for grant in grants
            ]
            subjects = [
                rbac.SubjectArgs(api_group=RBAC_GROUP, kind="Group", name=group)
                for group in groups[role]
            ]
            suffix = role.rpartition("-")[2]
            self.grant(suffix, "Role", role, rules, subjects, args.namespace)
        self.register_outputs({})
