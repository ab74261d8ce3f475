"""The way back: mails of the applicative mailboxes, kept, treated, concluded."""
