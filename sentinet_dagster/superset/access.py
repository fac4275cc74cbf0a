"""Who may see what in Superset: the role of an analyst, a role for each venue, the rows that follow of them.

What lives here: permissions, rules and users, by the web API. What never does: dashboards (`publish.py`),
what a database user may read (sql/roles.sql).

An analyst reads dashboards and changes nothing. Of every dataset with a column `venue` they see the rows of
the venues whose roles they have, and those of no venue. A venue is taken from or given to a person in
Superset, by its role; publishing leaves people as they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from sentinet_dagster.superset.bundle import Bundle
from sentinet_dagster.superset.client import Superset, SupersetError

__all__ = ["ANALYST", "grant", "make_user", "venue_role"]

ANALYST: Final = "Surveillance Analyst"
VENUE: Final = "venue"
_RULES: Final = "sentinet_venue"  # rules of one group are alternatives
# All that a browser asks for to show a dashboard, filter it, look at one chart and take a table away.
PERMISSIONS: Final = frozenset(
    {
        ("can_read", "Dashboard"), ("can_read", "Chart"), ("can_read", "Dataset"), ("can_read", "Annotation"),
        ("can_read", "CssTemplate"), ("can_read", "Theme"), ("can_read", "EmbeddedDashboard"),
        ("can_read", "CurrentUserRestApi"), ("can_read", "user"), ("can_read", "SecurityRestApi"),
        ("can_read", "AdvancedDataType"), ("can_read", "AvailableDomains"), ("can_read", "Explore"),
        ("can_read", "DashboardFilterStateRestApi"), ("can_write", "DashboardFilterStateRestApi"),
        ("can_read", "DashboardPermalinkRestApi"), ("can_write", "DashboardPermalinkRestApi"),
        ("can_read", "ExploreFormDataRestApi"), ("can_write", "ExploreFormDataRestApi"),
        ("can_dashboard", "Superset"), ("can_dashboard_permalink", "Superset"), ("can_slice", "Superset"),
        ("can_explore", "Superset"), ("can_explore_json", "Superset"), ("can_csv", "Superset"),
        ("can_log", "Superset"), ("can_language_pack", "Superset"), ("can_share_dashboard", "Superset"),
        ("can_share_chart", "Superset"), ("can_fetch_datasource_metadata", "Superset"),
        ("can_drill", "Dashboard"), ("can_view_chart_as_table", "Dashboard"), ("can_view_query", "Dashboard"),
        ("can_get_drill_info", "Dataset"), ("can_samples", "Datasource"),
        ("can_get_column_values", "Datasource"),
        ("can_time_range", "Api"), ("can_query", "Api"), ("can_query_form_data", "Api"),
        ("can_recent_activity", "Log"), ("can_get", "MenuApi"),
        ("can_userinfo", "UserDBModelView"), ("resetmypassword", "UserDBModelView"),
        ("menu_access", "Dashboards"), ("menu_access", "Home"),
    }
)  # fmt: skip


def venue_role(venue: str) -> str:
    """The role that shows a venue's rows."""
    return f"Surveillance Venue: {venue}"


def grant(session: Superset, bundle: Bundle, datasets: Mapping[str, int], venues: Iterable[str]) -> None:
    """Make the roles and rules what they must be, for the datasets that are there now.

    Args:
        session: an administrator's.
        bundle: what was published.
        datasets: slug → Superset's number.
        venues: those that there are rows of.

    Raises:
        SupersetError: Superset refuses, or a permission of an analyst is unknown to it.
    """
    roles = {str(row["name"]): int(row["id"]) for row in session.rows("security/roles/")}
    analyst = _role(session, roles, ANALYST)
    permissions = _permissions(session, datasets.values())
    session.post(f"security/roles/{analyst}/permissions", {"permission_view_menu_ids": permissions})
    filtered = sorted(datasets[slug] for slug, each in bundle.datasets.items() if VENUE in each.columns)
    if not filtered:
        return
    rules = {str(row["name"]): int(row["id"]) for row in session.rows("rowlevelsecurity/")}
    _rule(session, rules, "Sentinet: rows of no venue", f"{VENUE} is null", analyst, filtered)
    for venue in sorted(venues):
        role = _role(session, roles, venue_role(venue))
        quoted = venue.replace("'", "''")
        _rule(session, rules, f"Sentinet: rows of {venue}", f"{VENUE} = '{quoted}'", role, filtered)


def make_user(session: Superset, name: str, password: str, venues: Iterable[str]) -> bool:
    """Make an analyst who sees these venues. False: there is a user of the name, who is left as they are."""
    if any(row["username"] == name for row in session.rows("security/users/")):
        return False
    wanted = {ANALYST, *map(venue_role, venues)}
    roles = [row["id"] for row in session.rows("security/roles/") if row["name"] in wanted]
    session.post(
        "security/users/",
        {
            "username": name,
            "first_name": "Surveillance",
            "last_name": "Analyst",
            "email": f"{name}@sentinet.invalid",
            "active": True,
            "password": password,
            "roles": roles,
        },
    )
    return True


def _role(session: Superset, roles: dict[str, int], name: str) -> int:
    if name not in roles:
        roles[name] = int(session.post("security/roles/", {"name": name})["id"])
    return roles[name]


def _permissions(session: Superset, datasets: Iterable[int]) -> list[int]:
    """The numbers of an analyst's permissions. Access to a dataset is named `[database].[table](id:7)`."""
    endings = tuple(f"(id:{number})" for number in datasets)
    granted, left = [], set(PERMISSIONS)
    for row in session.rows("security/permissions-resources/"):
        its = (row["permission"]["name"], row["view_menu"]["name"])
        if its in PERMISSIONS or (its[0] == "datasource_access" and its[1].endswith(endings)):
            granted.append(int(row["id"]))
            left.discard(its)
    if left:
        unknown = ", ".join(f"{permission} on {view}" for permission, view in sorted(left))
        raise SupersetError(f"this Superset does not know {unknown}: want 6.1.0")
    return sorted(granted)


def _rule(
    session: Superset, rules: Mapping[str, int], name: str, clause: str, role: int, tables: Sequence[int]
) -> None:
    rule: dict[str, Any] = {
        "name": name,
        "description": "Made by `sentinet dashboards publish`.",
        "filter_type": "Regular",
        "clause": clause,
        "group_key": _RULES,
        "roles": [role],
        "tables": list(tables),
    }
    if name in rules:
        session.put(f"rowlevelsecurity/{rules[name]}", rule)
    else:
        session.post("rowlevelsecurity/", rule)
