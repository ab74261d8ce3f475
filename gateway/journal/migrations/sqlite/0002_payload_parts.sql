-- Schema 2: messages stored in parts (docs/decisions/0012).

CREATE TABLE IF NOT EXISTS payload_part (
    payload_id INTEGER NOT NULL,
    position INTEGER NOT NULL,
    content BLOB NOT NULL,
    PRIMARY KEY (payload_id, position),
    FOREIGN KEY(payload_id) REFERENCES payload (id)
);
CREATE TABLE IF NOT EXISTS payload_pending (
    payload_id INTEGER NOT NULL,
    PRIMARY KEY (payload_id),
    FOREIGN KEY(payload_id) REFERENCES payload (id)
);
