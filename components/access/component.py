"""TeamAccess: the roles by which people look at and operate the monitoring namespace."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
from pulumi_kubernetes.rbac import v1 as rbac

from components.access.roles import OPERATOR, ROLES, VIEWER
from components.base import ClusterComponent
from settings.monitoring import Access

APP = "access"
RBAC_GROUP = "rbac.authorization.k8s.io"


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
            suffix = role.rpartition("-")[2]
            rbac.Role(
                f"{name}-{suffix}",
                metadata=self.metadata(role),
                rules=[
                    rbac.PolicyRuleArgs(
                        api_groups=[grant.group],
                        resources=list(grant.resources),
                        verbs=list(grant.verbs),
                    )
                    for grant in grants
                ],
                opts=self.child,
            )
            if groups[role]:
                rbac.RoleBinding(
                    f"{name}-{suffix}",
                    metadata=self.metadata(role),
                    role_ref=rbac.RoleRefArgs(api_group=RBAC_GROUP, kind="Role", name=role),
                    subjects=[
                        rbac.SubjectArgs(api_group=RBAC_GROUP, kind="Group", name=group)
                        for group in groups[role]
                    ],
                    opts=self.child,
                )
        self.register_outputs({})
