"""Alembic's entry: migrations run over the connection that `Database.migrate` hands in."""

from alembic import context

from siglip2.serve.accounts.tables import Table

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=Table.metadata)
with context.begin_transaction():
    context.run_migrations()
