-- Schema 5: facts outlive the rows that they name (retention): no foreign keys. Mails that a person has seen.

CREATE TABLE new_fact (
    id INTEGER NOT NULL,
    kind VARCHAR NOT NULL,
    at FLOAT NOT NULL,
    message_id INTEGER,
    delivery_id INTEGER,
    data VARCHAR NOT NULL,
    PRIMARY KEY (id)
);
INSERT INTO new_fact (id, kind, at, message_id, delivery_id, data)
SELECT id, kind, at, message_id, delivery_id, data FROM fact;
DROP TABLE fact;
ALTER TABLE new_fact RENAME TO fact;

-- A journal of schema 2 has no mails yet.
CREATE TABLE IF NOT EXISTS received_mail (
    id INTEGER NOT NULL,
    connector VARCHAR NOT NULL,
    mailbox VARCHAR NOT NULL,
    place VARCHAR NOT NULL,
    payload_id INTEGER NOT NULL,
    sha256 VARCHAR NOT NULL,
    size INTEGER NOT NULL,
    state VARCHAR NOT NULL,
    kind VARCHAR NOT NULL,
    reason VARCHAR NOT NULL,
    findings VARCHAR NOT NULL,
    attempts INTEGER NOT NULL,
    due_at FLOAT NOT NULL,
    received_at FLOAT NOT NULL,
    treated_at FLOAT,
    filed_at FLOAT,
    PRIMARY KEY (id),
    CONSTRAINT received_mail_state CHECK (state IN ('received', 'forwarded', 'ended', 'treated')),
    CONSTRAINT received_mail_treated CHECK ((state = 'treated') = (treated_at IS NOT NULL)),
    FOREIGN KEY(payload_id) REFERENCES payload (id)
);
CREATE INDEX IF NOT EXISTS received_mail_content ON received_mail (sha256);
CREATE INDEX IF NOT EXISTS received_mail_due ON received_mail (due_at, id) WHERE state IN ('received', 'ended');
CREATE UNIQUE INDEX IF NOT EXISTS received_mail_place ON received_mail (mailbox, place);
CREATE INDEX IF NOT EXISTS received_mail_to_file ON received_mail (id) WHERE treated_at IS NOT NULL AND filed_at IS NULL;
ALTER TABLE received_mail ADD COLUMN seen_at FLOAT;
