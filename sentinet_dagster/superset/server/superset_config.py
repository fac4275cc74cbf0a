"""Superset's settings, on one machine and in the compose file: SUPERSET_CONFIG_PATH names this file.

What lives here: settings, read from the environment once, and the two classes that two of them name. What
never does: a secret, anything of ours: this runs in Superset's environment.

    SENTINET_SUPERSET_METADATA_URL    Superset's own database, postgresql://…
    SENTINET_SUPERSET_SECRET_KEY      signs sessions, encrypts the stored password of the product's database
    SENTINET_SUPERSET_CACHE           a folder for results that are seconds old
"""

import os
from operator import itemgetter
from time import monotonic
from typing import Any

from superset.security import SupersetSecurityManager
from superset.utils.core import get_user_id
from superset.utils.log import DBEventLogger

SECRET_KEY = os.environ["SENTINET_SUPERSET_SECRET_KEY"]
GUEST_TOKEN_JWT_SECRET = SECRET_KEY
SQLALCHEMY_DATABASE_URI = os.environ["SENTINET_SUPERSET_METADATA_URL"]

# A refresh of many analysts costs the database one query a chart: results are shared for less than the
# dashboards' refresh. They are kept under the row-level rules they were computed for.
DATA_CACHE_CONFIG = {
    "CACHE_TYPE": "FileSystemCache",
    "CACHE_DIR": os.environ["SENTINET_SUPERSET_CACHE"],
    "CACHE_DEFAULT_TIMEOUT": 8,
    "CACHE_THRESHOLD": 2000,
}


class _Events(DBEventLogger):  # type: ignore[misc]
    """Keeps who opened and changed what, and not what a chart's query consists of: six rows and six commits
    for each query of each dashboard that refreshes itself, a quarter of the CPU of a query."""

    _OF_QUERIES = frozenset(
        {
            "ChartDataRestApi.data",
            "ChartDataRestApi.json_dumps",
            "QueryObject.post_processing",
            "_get_data_response",
            "execute_sql",
            "load_into_dataframe",
        }
    )

    def log(self, user_id: int | None, action: str, *args: Any, **kwargs: Any) -> None:
        if action not in self._OF_QUERIES:
            super().log(user_id, action, *args, **kwargs)


EVENT_LOGGER = _Events()


class _Rights(SupersetSecurityManager):  # type: ignore[misc]
    """Reads what a role may do once in five seconds, and not anew for each of many questions of a chart's
    query: a third of its CPU. What is taken from a role may be used for as long, in each worker. Which roles
    somebody has, and which rows they see, is asked each time."""

    _FOR_S = 5.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._kept: dict[int, tuple[float, frozenset[tuple[str, str]]]] = {}

    def _rights(self, role: int) -> frozenset[tuple[str, str]]:
        """(permission, view) of a role."""
        now = monotonic()
        until, rights = self._kept.get(role, (now, frozenset()))
        if now >= until:
            found = self.get_db_role_permissions(role)
            rights = frozenset((each.permission.name, each.view_menu.name) for each in found)
            # The time counts from before the reading: what a slower thread has read earlier goes sooner.
            read = (now + self._FOR_S, rights)
            self._kept[role] = max(self._kept.get(role, read), read, key=itemgetter(0))
        return rights

    def is_item_public(self, permission_name: str, view_name: str) -> bool:
        role = self.get_public_role()
        return role is not None and (permission_name, view_name) in self._rights(role.id)

    def exist_permission_on_roles(self, view_name: str, permission_name: str, role_ids: list[int]) -> bool:
        return any((permission_name, view_name) in self._rights(role) for role in role_ids)

    def user_view_menu_names(self, permission_name: str) -> set[str]:
        if get_user_id() is None:  # nobody, or the guest of an embedded dashboard
            names: set[str] = super().user_view_menu_names(permission_name)
            return names
        roles = [role.id for role in self.get_user_roles()]
        return {view for role in roles for name, view in self._rights(role) if name == permission_name}


CUSTOM_SECURITY_MANAGER = _Rights
DASHBOARD_AUTO_REFRESH_MODE = "fetch"
DASHBOARD_AUTO_REFRESH_INTERVALS = [
    [0, "Don't refresh"],
    [10, "10 seconds"],
    [60, "1 minute"],
    [300, "5 minutes"],
]

APP_NAME = "Sentinet"
# A theme replaces the whole built-in one: its logo's size and its fonts are said here, too.
_TOKENS = {
    "brandLogoUrl": "/static/assets/images/superset-logo-horiz.png",
    "brandLogoHref": "/",
    "brandLogoHeight": "24px",
    "brandLogoMargin": "18px 0",
    "fontFamily": "Inter, Helvetica, Arial, sans-serif",
    "fontFamilyCode": "'IBM Plex Mono', 'Courier New', monospace",
    "brandAppName": APP_NAME,
    "brandLogoAlt": APP_NAME,
    "colorPrimary": "#0088ff",
    "colorLink": "#0088ff",
    "colorError": "#ff0055",
    "colorWarning": "#ffaa00",
    "colorSuccess": "#00ff88",
    "colorInfo": "#0088ff",
}
THEME_DEFAULT = {"token": _TOKENS, "algorithm": "dark"}
THEME_DARK = None  # there is no light one to switch to

# Of heatmaps, in the colours of the dashboards. A Superset without them falls back to a scheme of its own.
EXTRA_SEQUENTIAL_COLOR_SCHEMES = [
    {
        "id": "sentinetWhole",
        "label": "Sentinet: missing to whole",
        "description": "",
        "isDiverging": False,
        "colors": ["#ff0055", "#ffaa00", "#00ff88"],
    },
    {
        "id": "sentinetPlenty",
        "label": "Sentinet: little to plenty",
        "description": "",
        "isDiverging": False,
        "colors": ["#161d28", "#0088ff", "#00ff88"],
    },
    {
        "id": "sentinetHeat",
        "label": "Sentinet: calm to critical",
        "description": "",
        "isDiverging": False,
        "colors": ["#161d28", "#0088ff", "#ffaa00", "#ff0055"],
    },
    {
        "id": "sentinetSigned",
        "label": "Sentinet: against to with",
        "description": "",
        "isDiverging": True,
        "colors": ["#ff0055", "#161d28", "#0088ff"],
    },
]

# Candles and the network are SVG that a Handlebars template draws of numbers.
HTML_SANITIZATION_SCHEMA_EXTENSIONS = {
    "tagNames": [
        "svg", "g", "path", "rect", "line", "circle", "polyline", "polygon", "text", "title", "tspan",
        "style",
    ],
    "attributes": {
        "*": ["style", "className"],
        "svg": ["viewBox", "width", "height", "preserveAspectRatio"],
        **{
            tag: [
                "x", "y", "x1", "y1", "x2", "y2", "cx", "cy", "r", "rx", "dx", "dy", "d", "points", "width",
                "height", "fill", "fillOpacity", "stroke", "strokeWidth", "strokeOpacity", "strokeDashArray",
                "opacity", "transform", "textAnchor", "fontSize", "dominantBaseline",
            ]
            for tag in ("g", "path", "rect", "line", "circle", "polyline", "polygon", "text", "tspan")
        },
    },
}  # fmt: skip
# Handlebars compiles its templates in the browser.
TALISMAN_CONFIG = {
    "content_security_policy": {
        "base-uri": ["'self'"],
        "default-src": ["'self'"],
        "img-src": ["'self'", "blob:", "data:"],
        "worker-src": ["'self'", "blob:"],
        "connect-src": ["'self'"],
        "object-src": "'none'",
        "style-src": ["'self'", "'unsafe-inline'"],
        "font-src": ["'self'"],
        "script-src": ["'self'", "'unsafe-eval'", "'strict-dynamic'"],
    },
    "content_security_policy_nonce_in": ["script-src"],
    "force_https": False,
    "session_cookie_secure": False,
}

FEATURE_FLAGS = {"ALERT_REPORTS": False, "DRILL_TO_DETAIL": True}
# The product's database is on the loopback interface, or in the same compose network.
PREVENT_UNSAFE_DB_CONNECTIONS = True
SQLLAB_BACKEND_PERSISTENCE = False
FAB_ADD_SECURITY_API = True
CELERY_CONFIG = None
SUPERSET_WEBSERVER_TIMEOUT = 60
LOG_LEVEL = "WARNING"
