-- Schema 3: deliveries that come from a received mail, or from no message at all; what they carry beside their documents.
-- SQLite cannot relax a column: both tables are made again. The new tables are made after this, from the models.

CREATE TABLE new_delivery (
    id INTEGER NOT NULL,
    message_id INTEGER,
    mail_id INTEGER,
    payload_id INTEGER,
    destination VARCHAR NOT NULL,
    recipient VARCHAR NOT NULL,
    action VARCHAR NOT NULL,
    state VARCHAR NOT NULL,
    claimed_by VARCHAR,
    attempts INTEGER NOT NULL,
    due_at FLOAT NOT NULL,
    expires_at FLOAT NOT NULL,
    "plan" BLOB NOT NULL,
    outcome VARCHAR,
    code VARCHAR NOT NULL,
    label VARCHAR NOT NULL,
    created_at FLOAT NOT NULL,
    finished_at FLOAT,
    PRIMARY KEY (id),
    CONSTRAINT delivery_state CHECK (state IN ('cancelled', 'expired', 'held', 'ready', 'refused', 'sending', 'succeeded', 'suspended', 'uncertain')),
    CONSTRAINT delivery_finished CHECK ((finished_at IS NOT NULL) = (state IN ('cancelled', 'expired', 'refused', 'succeeded'))),
    FOREIGN KEY(message_id) REFERENCES message (id),
    FOREIGN KEY(mail_id) REFERENCES received_mail (id),
    FOREIGN KEY(payload_id) REFERENCES payload (id)
);

INSERT INTO new_delivery (id, message_id, destination, recipient, action, state, claimed_by, attempts, due_at, expires_at, "plan", outcome, code,
       label, created_at, finished_at)
SELECT id, message_id, destination, recipient, action, state, claimed_by, attempts, due_at, expires_at, "plan", outcome, code,
       label, created_at, finished_at
  FROM delivery;
DROP TABLE delivery;
ALTER TABLE new_delivery RENAME TO delivery;
CREATE INDEX delivery_due ON delivery (destination, due_at, id) WHERE state IN ('ready', 'uncertain', 'suspended') AND claimed_by IS NULL;
CREATE INDEX delivery_in_hand ON delivery (id) WHERE state = 'sending';
CREATE INDEX delivery_of_mail ON delivery (mail_id) WHERE mail_id IS NOT NULL;
CREATE INDEX delivery_open ON delivery (destination) WHERE state NOT IN ('cancelled', 'expired', 'refused', 'succeeded');
CREATE INDEX ix_delivery_message_id ON delivery (message_id);

CREATE TABLE new_delivery_document (
    delivery_id INTEGER NOT NULL,
    position INTEGER NOT NULL,
    document_id INTEGER,
    uid VARCHAR NOT NULL,
    set_key VARCHAR NOT NULL,
    PRIMARY KEY (delivery_id, position),
    FOREIGN KEY(delivery_id) REFERENCES delivery (id),
    FOREIGN KEY(document_id) REFERENCES document (id)
);

INSERT INTO new_delivery_document SELECT delivery_id, position, document_id, uid, set_key FROM delivery_document;
DROP TABLE delivery_document;
ALTER TABLE new_delivery_document RENAME TO delivery_document;
CREATE INDEX ix_delivery_document_set_key ON delivery_document (set_key);
CREATE INDEX ix_delivery_document_uid ON delivery_document (uid);
