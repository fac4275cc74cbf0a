"""What our security manager says beside what Superset's own says, of everybody and every right there is.

A script of Superset's environment: nothing of ours can be imported here. Prints a line of JSON: how many
questions were asked, how many were answered yes, and those that were answered differently.
"""

import json
from collections.abc import Iterator
from typing import Any

from superset.app import create_app


def answers() -> Iterator[tuple[tuple[str, ...], Any, Any]]:
    """Question, our answer, Superset's."""
    from flask import g
    from superset import security_manager as ours
    from superset.security import SupersetSecurityManager as Superset
    from superset.security.guest_token import GuestTokenResourceType, GuestUser

    rights = ours.session.query(ours.permissionview_model).all()
    names = sorted({(right.permission.name, right.view_menu.name) for right in rights})
    permissions = sorted({permission for permission, _ in names})
    token = {
        "user": {"username": "guest"},
        "resources": [{"type": GuestTokenResourceType.DASHBOARD, "id": "1"}],
    }
    guest = GuestUser(token=token, roles=[ours.find_role("Surveillance Analyst")])
    for permission, view in names:
        mine, its = ours.is_item_public(permission, view), Superset.is_item_public(ours, permission, view)
        yield ("everybody", permission, view), mine, its
    for user in [*ours.get_all_users(), guest]:
        g.user = user
        roles = [role.id for role in ours.get_user_roles(user)]
        for permission, view in names:
            asked = (view, permission, roles)
            mine, its = (
                ours.exist_permission_on_roles(*asked),
                Superset.exist_permission_on_roles(ours, *asked),
            )
            yield (user.username, permission, view), mine, its
        for permission in permissions:
            mine, its = ours.user_view_menu_names(permission), Superset.user_view_menu_names(ours, permission)
            yield (user.username, permission), mine, its


def main() -> None:
    """Ask, and print."""
    app = create_app()
    with app.app_context(), app.test_request_context():
        found = list(answers())
    different = [question for question, mine, its in found if mine != its]
    print(json.dumps([len(found), sum(bool(its) for _, _, its in found), different]))


if __name__ == "__main__":
    main()
