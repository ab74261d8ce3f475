-- The schema of version 2 as it was made, for tests of the migration.
CREATE TABLE payload (
    id INTEGER NOT NULL,
    sha256 VARCHAR NOT NULL,
    size INTEGER NOT NULL,
    content BLOB NOT NULL,
    PRIMARY KEY (id)
);
CREATE TABLE message (
    id INTEGER NOT NULL,
    correlation VARCHAR NOT NULL,
    payload_id INTEGER NOT NULL,
    sha256 VARCHAR NOT NULL,
    size INTEGER NOT NULL,
    dedup_key VARCHAR,
    control_id VARCHAR NOT NULL,
    sender VARCHAR NOT NULL,
    message_type VARCHAR NOT NULL,
    peer VARCHAR NOT NULL,
    state VARCHAR NOT NULL,
    ack_code VARCHAR,
    ack BLOB,
    findings VARCHAR NOT NULL,
    routing VARCHAR NOT NULL,
    received_at FLOAT NOT NULL,
    answered_at FLOAT,
    PRIMARY KEY (id),
    CONSTRAINT message_state CHECK (state IN ('received', 'answered')),
    CONSTRAINT message_ack CHECK ((state = 'answered') = (ack IS NOT NULL)),
    FOREIGN KEY(payload_id) REFERENCES payload (id),
    UNIQUE (dedup_key)
);
CREATE INDEX message_by_control_id ON message (control_id);
CREATE INDEX message_unanswered ON message (id) WHERE state = 'received';
CREATE TABLE payload_part (
    payload_id INTEGER NOT NULL,
    position INTEGER NOT NULL,
    content BLOB NOT NULL,
    PRIMARY KEY (payload_id, position),
    FOREIGN KEY(payload_id) REFERENCES payload (id)
);
CREATE TABLE payload_pending (
    payload_id INTEGER NOT NULL,
    PRIMARY KEY (payload_id),
    FOREIGN KEY(payload_id) REFERENCES payload (id)
);
CREATE TABLE delivery (
    id INTEGER NOT NULL,
    message_id INTEGER NOT NULL,
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
    FOREIGN KEY(message_id) REFERENCES message (id)
);
CREATE INDEX delivery_due ON delivery (destination, due_at, id) WHERE state IN ('ready', 'uncertain', 'suspended') AND claimed_by IS NULL;
CREATE INDEX delivery_in_hand ON delivery (id) WHERE state = 'sending';
CREATE INDEX delivery_open ON delivery (destination) WHERE state NOT IN ('cancelled', 'expired', 'refused', 'succeeded');
CREATE INDEX ix_delivery_message_id ON delivery (message_id);
CREATE TABLE document (
    id INTEGER NOT NULL,
    message_id INTEGER NOT NULL,
    part INTEGER NOT NULL,
    uid VARCHAR NOT NULL,
    set_key VARCHAR NOT NULL,
    version INTEGER,
    replaces_uid VARCHAR,
    action VARCHAR NOT NULL,
    type_code VARCHAR NOT NULL,
    author_organisations VARCHAR NOT NULL,
    patient VARCHAR NOT NULL,
    sha256 VARCHAR NOT NULL,
    size INTEGER NOT NULL,
    payload_id INTEGER NOT NULL,
    slice_offset INTEGER NOT NULL,
    slice_length INTEGER NOT NULL,
    accepted_at FLOAT NOT NULL,
    PRIMARY KEY (id),
    FOREIGN KEY(message_id) REFERENCES message (id),
    FOREIGN KEY(payload_id) REFERENCES payload (id)
);
CREATE INDEX document_by_set ON document (set_key, version);
CREATE INDEX ix_document_message_id ON document (message_id);
CREATE INDEX ix_document_uid ON document (uid);
CREATE TABLE attempt (
    id INTEGER NOT NULL,
    delivery_id INTEGER NOT NULL,
    number INTEGER NOT NULL,
    kind VARCHAR NOT NULL,
    started_at FLOAT NOT NULL,
    ended_at FLOAT NOT NULL,
    outcome VARCHAR NOT NULL,
    code VARCHAR NOT NULL,
    label VARCHAR NOT NULL,
    details VARCHAR NOT NULL,
    PRIMARY KEY (id),
    FOREIGN KEY(delivery_id) REFERENCES delivery (id)
);
CREATE INDEX ix_attempt_delivery_id ON attempt (delivery_id);
CREATE TABLE delivery_document (
    delivery_id INTEGER NOT NULL,
    position INTEGER NOT NULL,
    document_id INTEGER NOT NULL,
    uid VARCHAR NOT NULL,
    set_key VARCHAR NOT NULL,
    PRIMARY KEY (delivery_id, position),
    FOREIGN KEY(delivery_id) REFERENCES delivery (id),
    FOREIGN KEY(document_id) REFERENCES document (id)
);
CREATE INDEX ix_delivery_document_set_key ON delivery_document (set_key);
CREATE INDEX ix_delivery_document_uid ON delivery_document (uid);
CREATE TABLE fact (
    id INTEGER NOT NULL,
    kind VARCHAR NOT NULL,
    at FLOAT NOT NULL,
    message_id INTEGER,
    delivery_id INTEGER,
    data VARCHAR NOT NULL,
    PRIMARY KEY (id),
    FOREIGN KEY(message_id) REFERENCES message (id),
    FOREIGN KEY(delivery_id) REFERENCES delivery (id)
);
CREATE TABLE report_to (
    delivery_id INTEGER NOT NULL,
    message_id INTEGER NOT NULL,
    PRIMARY KEY (delivery_id, message_id),
    FOREIGN KEY(delivery_id) REFERENCES delivery (id),
    FOREIGN KEY(message_id) REFERENCES message (id)
);
PRAGMA user_version = 2;
