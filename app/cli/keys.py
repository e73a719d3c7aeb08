"""`timbre keys`: make, list, rotate and revoke API keys, in the database of the settings."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from app.cli import tables
from app.cli.client import err, fail, out, print_json, read_settings
from app.errors import TimbreError
from app.service import access
from app.service.call import SCOPES
from app.service.parts import DEFAULT_TENANT
from app.store import Repository, Vault, check_schema, make_engine, upgrade
from app.store.ledger import Ledger
from app.store.records import StoredKey

keys = typer.Typer(
    no_args_is_help=True,
    help="API keys: who may ask. Works on the database itself, not through a server; from the first key on, "
    "every request needs one.",
)
Tenant = Annotated[str, typer.Option(help="Whose speakers the key reaches; made when it is new.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
KeyId = Annotated[str, typer.Argument(metavar="KEY", help="The twelve characters after tmb_.")]


@keys.command("create")
def create_key(
    tenant: Tenant = DEFAULT_TENANT,
    scope: Annotated[
        list[str] | None,
        typer.Option(help=f"What it may do: {', '.join(SCOPES)}. Repeat for several; all when left out."),
    ] = None,
    label: Annotated[str | None, typer.Option(help="For people.")] = None,
    days: Annotated[float | None, typer.Option(help="Days until it expires.")] = None,
    rate_limit: Annotated[str | None, typer.Option(help="Its own limit, as 600/minute.")] = None,
    as_json: AsJson = False,
) -> None:
    """Make a key. It is shown once: what is stored only recognises it."""
    with store() as repository:
        new = access.make_key(
            repository, tenant, scope or list(SCOPES), label=label, days=days, rate_limit=rate_limit
        )
    show_new(new, as_json=as_json)


@keys.command("list")
def list_keys(
    tenant: Annotated[str | None, typer.Option(help="Only this tenant's.")] = None, as_json: AsJson = False
) -> None:
    """List the keys with what they may do, without their secrets."""
    with store() as repository:
        found = [described(key) for key in repository.list_keys(tenant)]
    print_json({"keys": found}) if as_json else tables.show_keys(found)


@keys.command("rotate")
def rotate_key(
    key: KeyId,
    overlap_hours: Annotated[float, typer.Option(help="Hours for which the old one stays good.")] = 24.0,
    as_json: AsJson = False,
) -> None:
    """Make a new key like an old one, which ends after a while."""
    with store() as repository:
        new = access.rotate_key(repository, key, overlap_hours)
    show_new(new, as_json=as_json)


@keys.command("revoke")
def revoke_key(key: KeyId) -> None:
    """End a key now."""
    with store() as repository:
        access.revoke_key(repository, key)
    out.print(f"{key} is revoked")


@contextmanager
def store() -> Iterator[Repository]:
    """The store of the settings, brought up to date; a refusal ends the program with one line."""
    settings = read_settings()
    try:
        vault = Vault.load(settings.master_key_path, settings.given_master_key)
        if settings.migrate_on_start:
            upgrade(settings.database_url, vault)
        engine = make_engine(settings.database_url)
        try:
            check_schema(engine)
            yield Repository(engine, vault, Ledger(settings.erasure_ledger_path, vault))
        finally:
            engine.dispose()
    except TimbreError as problem:
        fail(str(problem))


def show_new(new: access.NewKey, *, as_json: bool) -> None:
    """The key itself on standard output, alone, so that a script can take it."""
    if as_json:
        print_json({"token": new.token, **described(new.key)})
        return
    out.print(new.token, soft_wrap=True)
    err.print(
        f"timbre: key {new.key.key_id} of tenant {new.key.tenant_id} may {', '.join(new.key.scopes)}; "
        "keep it, it is not shown again",
        markup=False,
    )


def described(key: StoredKey) -> dict[str, object]:
    """A key for a script: everything but what recognises its secret."""
    moments = {
        name: moment.isoformat() if (moment := getattr(key, name)) is not None else None
        for name in ("created_at", "expires_at", "used_at")
    }
    return {
        "key_id": key.key_id,
        "tenant_id": key.tenant_id,
        "label": key.label,
        "scopes": list(key.scopes),
        "rate_limit": key.rate_limit,
        "replaced_by": key.replaced_by,
        **moments,
    }
