"""Annuaire Santé: who owns an MSSanté mailbox, which mailboxes a professional or a structure has. Optional.

`client.create(settings)` gives the directory (or None), `enriching.enrich` completes the parties of a received mail:
docs/directory.md.
"""
