-- Schema 10: rows of ADT may be removed. What points to a message is found by an index, else each removal would read those
-- tables whole. Whom to report to loses its row number: the same two pages in a commit as before.

CREATE TABLE new_report_to (
    delivery_id INTEGER NOT NULL,
    message_id INTEGER NOT NULL,
    PRIMARY KEY (delivery_id, message_id),
    FOREIGN KEY(delivery_id) REFERENCES delivery (id),
    FOREIGN KEY(message_id) REFERENCES message (id)
) WITHOUT ROWID;
INSERT INTO new_report_to (delivery_id, message_id) SELECT delivery_id, message_id FROM report_to;
DROP TABLE report_to;
ALTER TABLE new_report_to RENAME TO report_to;
CREATE INDEX ix_report_to_message_id ON report_to (message_id);

-- A journal of schema 2 has no incidents yet.
CREATE TABLE IF NOT EXISTS incident (
    id INTEGER NOT NULL,
    at FLOAT NOT NULL,
    flow VARCHAR NOT NULL,
    family VARCHAR NOT NULL,
    code VARCHAR NOT NULL,
    route VARCHAR NOT NULL,
    message_id INTEGER,
    mail_id INTEGER,
    delivery_id INTEGER,
    words VARCHAR NOT NULL,
    report_id INTEGER,
    PRIMARY KEY (id),
    FOREIGN KEY(message_id) REFERENCES message (id),
    FOREIGN KEY(mail_id) REFERENCES received_mail (id),
    FOREIGN KEY(delivery_id) REFERENCES delivery (id),
    FOREIGN KEY(report_id) REFERENCES delivery (id)
);
CREATE INDEX IF NOT EXISTS incident_to_report ON incident (id) WHERE report_id IS NULL;
CREATE INDEX IF NOT EXISTS ix_incident_delivery_id ON incident (delivery_id);
CREATE INDEX IF NOT EXISTS ix_incident_report_id ON incident (report_id);
CREATE INDEX incident_of_message ON incident (message_id) WHERE message_id IS NOT NULL;
