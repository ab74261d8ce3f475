-- Schema 4: whose work an unanswered message and a payload being written are, for journals that several processes share.

ALTER TABLE message ADD COLUMN node VARCHAR DEFAULT '' NOT NULL;
ALTER TABLE payload_pending ADD COLUMN node VARCHAR DEFAULT '' NOT NULL;
