"""Runs the migrations: on the connection that the program hands over, or on TIMBRE_DATABASE_URL.

`alembic -x url=… upgrade head` names another database.
"""

from logging.config import fileConfig

from alembic import context
from sqlalchemy import Connection

from app.settings import Settings
from app.store.database import migrating
from app.store.tables import Base
from app.store.vault import Vault


def run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        render_as_batch=connection.dialect.name == "sqlite",  # SQLite alters a table by rebuilding it
    )
    with context.begin_transaction():
        context.run_migrations()


def run_from_command_line() -> None:
    if context.config.config_file_name:
        fileConfig(context.config.config_file_name, disable_existing_loggers=False)
    url = context.get_x_argument(as_dictionary=True).get("url")
    settings = Settings()
    context.config.attributes["vault"] = Vault.load(settings.master_key_path, settings.given_master_key)
    with migrating(url or settings.database_url) as connection:
        run(connection)


if context.is_offline_mode():
    raise SystemExit("Timbre's migrations need a database; there is no --sql mode.")
handed_over = context.config.attributes.get("connection")
if handed_over is None:
    run_from_command_line()
else:
    run(handed_over)
