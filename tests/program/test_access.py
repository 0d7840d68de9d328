"""Who may look at and operate the monitoring namespace."""

from __future__ import annotations

from components.access.roles import OPERATOR, ROLES, VIEWER


def test_groups_are_bound_to_their_role_alone(run_program, variant):
    """Without groups there are roles that nobody has."""
    assert bound(run_program("prod")) == {}
    access = {"viewers": ["a", "b"], "operators": ["c"]}
    assert bound(variant("prod", monitoring={"access": access})) == {
        VIEWER: {"a", "b"},
        OPERATOR: {"c"},
    }


def bound(run):
    return {
        one.inputs["roleRef"]["name"]: {subject["name"] for subject in one.inputs["subjects"]}
        for one in run.of_kind("RoleBinding")
        if one.inputs["roleRef"]["name"] in ROLES
    }


def test_no_role_reads_secrets_or_starts_pods():
    """A new pod can mount every Secret, and a command in a pod reads those that it has."""
    for grants in ROLES.values():
        for grant in grants:
            assert not {"secrets", "serviceaccounts/token", "pods/exec", "pods/attach", "*"} & {
                *grant.resources
            }
            assert "*" not in grant.verbs
            writes = {"create", "update", "patch"} & {*grant.verbs}
            assert not writes or not {
                *("pods", "deployments", "statefulsets", "jobs", "cronjobs", "configmaps"),
                *("pods/ephemeralcontainers", "roles", "rolebindings"),
            } & {*grant.resources}
