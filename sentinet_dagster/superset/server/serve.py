"""Make Superset's metadata what this version wants, then become its web server. A script of Superset's
environment.

What lives here: tables, roles, the administrator, and the hand-over to gunicorn. What never does: anything of
ours: nothing of our packages can be imported here.

Secrets come by the environment (`superset_config.py`, and the two below): a command line is everybody's to
read. What is up to date is not done again: it costs half a minute.

    SENTINET_SUPERSET_USER, SENTINET_SUPERSET_PASSWORD    the administrator
    SENTINET_SUPERSET_STAMP                               a file that says for what all this was done last
    SENTINET_SUPERSET_BIND, SENTINET_SUPERSET_WORKERS     gunicorn's
"""

import hashlib
import os
import sys
from pathlib import Path

_MINE = ("SENTINET_SUPERSET_METADATA_URL", "SENTINET_SUPERSET_USER", "SENTINET_SUPERSET_PASSWORD")


def wanted() -> str:
    """What the stamp says when nothing is to be done."""
    from importlib.metadata import version

    said = [version("apache-superset"), *(os.environ[name] for name in _MINE)]
    return hashlib.sha256("\0".join(said).encode()).hexdigest()


def prepare() -> None:
    """Tables, permissions, the administrator with the password of the environment."""
    import superset
    from flask_migrate import upgrade
    from superset.app import create_app

    app = create_app()
    with app.app_context():
        from superset import appbuilder, security_manager

        upgrade(directory=str(Path(superset.__file__).parent / "migrations"))
        appbuilder.add_permissions(update_perms=True)
        security_manager.sync_role_definitions()
        name, password = os.environ["SENTINET_SUPERSET_USER"], os.environ["SENTINET_SUPERSET_PASSWORD"]
        user = security_manager.find_user(username=name)
        if user is None:
            role = security_manager.find_role("Admin")
            address = f"{name}@sentinet.invalid"
            if not security_manager.add_user(name, "Sentinet", "administrator", address, role, password):
                sys.exit("the administrator cannot be made")
        else:
            security_manager.reset_password(user.id, password)


def main() -> None:
    """Prepare where it is due; then this process is gunicorn."""
    stamp = Path(os.environ["SENTINET_SUPERSET_STAMP"])
    if not stamp.exists() or stamp.read_text() != wanted():
        # In a process of its own: what it has imported and opened is gone with it.
        if child := os.fork():
            _, status = os.waitpid(child, 0)
            if status:
                sys.exit(os.waitstatus_to_exitcode(status))
        else:
            prepare()
            stamp.write_text(wanted())
            return
    workers = os.environ.get("SENTINET_SUPERSET_WORKERS", "1")
    # One thread answers, others wait for the database.
    argv = ["gunicorn", "--bind", os.environ["SENTINET_SUPERSET_BIND"], "--workers", workers]
    argv += ["--worker-class", "gthread", "--threads", "8", "--timeout", "300", "--graceful-timeout", "2"]
    argv += ["--no-control-socket"]
    os.execv(sys.executable, [sys.executable, "-m", *argv, "superset.app:create_app()"])  # noqa: S606


if __name__ == "__main__":
    main()
