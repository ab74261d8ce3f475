-- A PostgreSQL journal of schema 4, as the first gateways that had one made it (pg_dump --schema-only). Never changed.

CREATE TABLE public.attempt (
    id integer NOT NULL,
    delivery_id integer NOT NULL,
    number integer NOT NULL,
    kind text NOT NULL,
    started_at double precision NOT NULL,
    ended_at double precision NOT NULL,
    outcome text NOT NULL,
    code text NOT NULL,
    label text NOT NULL,
    details text NOT NULL
);

CREATE SEQUENCE public.attempt_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

ALTER SEQUENCE public.attempt_id_seq OWNED BY public.attempt.id;

CREATE TABLE public.awaited (
    delivery_id integer NOT NULL,
    due_at double precision NOT NULL
);

CREATE TABLE public.delivery (
    id integer NOT NULL,
    message_id integer,
    mail_id integer,
    payload_id integer,
    destination text NOT NULL,
    recipient text NOT NULL,
    action text NOT NULL,
    state text NOT NULL,
    claimed_by text,
    attempts integer NOT NULL,
    due_at double precision NOT NULL,
    expires_at double precision NOT NULL,
    plan bytea NOT NULL,
    outcome text,
    code text NOT NULL,
    label text NOT NULL,
    created_at double precision NOT NULL,
    finished_at double precision,
    CONSTRAINT delivery_finished CHECK (((finished_at IS NOT NULL) = (state = ANY (ARRAY['cancelled'::text, 'expired'::text, 'refused'::text, 'succeeded'::text])))),
    CONSTRAINT delivery_state CHECK ((state = ANY (ARRAY['cancelled'::text, 'expired'::text, 'held'::text, 'ready'::text, 'refused'::text, 'sending'::text, 'succeeded'::text, 'suspended'::text, 'uncertain'::text])))
);

CREATE TABLE public.delivery_document (
    delivery_id integer NOT NULL,
    "position" integer NOT NULL,
    document_id integer,
    uid text NOT NULL,
    set_key text NOT NULL
);

CREATE SEQUENCE public.delivery_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

ALTER SEQUENCE public.delivery_id_seq OWNED BY public.delivery.id;

CREATE TABLE public.delivery_key (
    key text NOT NULL,
    delivery_id integer NOT NULL
);

CREATE TABLE public.document (
    id integer NOT NULL,
    message_id integer NOT NULL,
    part integer NOT NULL,
    uid text NOT NULL,
    set_key text NOT NULL,
    version integer,
    replaces_uid text,
    action text NOT NULL,
    type_code text NOT NULL,
    author_organisations text NOT NULL,
    patient text NOT NULL,
    sha256 text NOT NULL,
    size integer NOT NULL,
    payload_id integer NOT NULL,
    slice_offset integer NOT NULL,
    slice_length integer NOT NULL,
    accepted_at double precision NOT NULL
);

CREATE SEQUENCE public.document_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

ALTER SEQUENCE public.document_id_seq OWNED BY public.document.id;

CREATE TABLE public.duty (
    name text NOT NULL,
    node text NOT NULL
);

CREATE TABLE public.error_report (
    delivery_id integer NOT NULL,
    mailbox text NOT NULL,
    family text NOT NULL,
    at double precision NOT NULL,
    failed_at double precision,
    again_at double precision,
    resolved_at double precision
);

CREATE TABLE public.fact (
    id integer NOT NULL,
    kind text NOT NULL,
    at double precision NOT NULL,
    message_id integer,
    delivery_id integer,
    data text NOT NULL
);

CREATE SEQUENCE public.fact_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

ALTER SEQUENCE public.fact_id_seq OWNED BY public.fact.id;

CREATE TABLE public.incident (
    id integer NOT NULL,
    at double precision NOT NULL,
    flow text NOT NULL,
    family text NOT NULL,
    code text NOT NULL,
    route text NOT NULL,
    message_id integer,
    mail_id integer,
    delivery_id integer,
    words text NOT NULL,
    report_id integer
);

CREATE SEQUENCE public.incident_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

ALTER SEQUENCE public.incident_id_seq OWNED BY public.incident.id;

CREATE TABLE public.message (
    id integer NOT NULL,
    correlation text NOT NULL,
    payload_id integer NOT NULL,
    sha256 text NOT NULL,
    size integer NOT NULL,
    dedup_key text,
    control_id text NOT NULL,
    sender text NOT NULL,
    message_type text NOT NULL,
    peer text NOT NULL,
    state text NOT NULL,
    ack_code text,
    ack bytea,
    findings text NOT NULL,
    routing text NOT NULL,
    received_at double precision NOT NULL,
    answered_at double precision,
    node text DEFAULT ''::text NOT NULL,
    CONSTRAINT message_ack CHECK (((state = 'answered'::text) = (ack IS NOT NULL))),
    CONSTRAINT message_state CHECK ((state = ANY (ARRAY['received'::text, 'answered'::text])))
);

CREATE SEQUENCE public.message_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

ALTER SEQUENCE public.message_id_seq OWNED BY public.message.id;

CREATE TABLE public.node (
    token text NOT NULL,
    name text NOT NULL,
    beat integer NOT NULL,
    started_at double precision NOT NULL
);

CREATE TABLE public.payload (
    id integer NOT NULL,
    sha256 text NOT NULL,
    size integer NOT NULL,
    content bytea NOT NULL
);
ALTER TABLE ONLY public.payload ALTER COLUMN content SET STORAGE EXTERNAL;

CREATE SEQUENCE public.payload_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

ALTER SEQUENCE public.payload_id_seq OWNED BY public.payload.id;

CREATE TABLE public.payload_part (
    payload_id integer NOT NULL,
    "position" integer NOT NULL,
    content bytea NOT NULL
);
ALTER TABLE ONLY public.payload_part ALTER COLUMN content SET STORAGE EXTERNAL;

CREATE TABLE public.payload_pending (
    payload_id integer NOT NULL,
    node text DEFAULT ''::text NOT NULL
);

CREATE TABLE public.receipt (
    id integer NOT NULL,
    mail_id integer NOT NULL,
    delivery_id integer NOT NULL,
    event text NOT NULL,
    fact text NOT NULL,
    accepted boolean,
    recipient text NOT NULL,
    recipient_id text NOT NULL,
    code text NOT NULL,
    label text NOT NULL,
    told boolean NOT NULL,
    at double precision NOT NULL
);

CREATE SEQUENCE public.receipt_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

ALTER SEQUENCE public.receipt_id_seq OWNED BY public.receipt.id;

CREATE TABLE public.received_document (
    id integer NOT NULL,
    mail_id integer NOT NULL,
    "position" integer NOT NULL,
    uid text NOT NULL,
    set_key text NOT NULL,
    version integer,
    replaces_uid text,
    action text NOT NULL,
    type_code text NOT NULL,
    patient text NOT NULL,
    confidentiality text NOT NULL,
    sha256 text NOT NULL,
    size integer NOT NULL,
    delivery_id integer NOT NULL,
    accepted_at double precision NOT NULL
);

CREATE SEQUENCE public.received_document_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

ALTER SEQUENCE public.received_document_id_seq OWNED BY public.received_document.id;

CREATE TABLE public.received_mail (
    id integer NOT NULL,
    connector text NOT NULL,
    mailbox text NOT NULL,
    place text NOT NULL,
    payload_id integer NOT NULL,
    sha256 text NOT NULL,
    size integer NOT NULL,
    state text NOT NULL,
    kind text NOT NULL,
    reason text NOT NULL,
    findings text NOT NULL,
    attempts integer NOT NULL,
    due_at double precision NOT NULL,
    received_at double precision NOT NULL,
    treated_at double precision,
    filed_at double precision,
    CONSTRAINT received_mail_state CHECK ((state = ANY (ARRAY['received'::text, 'forwarded'::text, 'ended'::text, 'treated'::text]))),
    CONSTRAINT received_mail_treated CHECK (((state = 'treated'::text) = (treated_at IS NOT NULL)))
);

CREATE SEQUENCE public.received_mail_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

ALTER SEQUENCE public.received_mail_id_seq OWNED BY public.received_mail.id;

CREATE TABLE public.report_to (
    delivery_id integer NOT NULL,
    message_id integer NOT NULL
);

CREATE TABLE public.reported_incident (
    delivery_id integer NOT NULL,
    incident_id integer NOT NULL
);

CREATE TABLE public.schema_version (
    version integer NOT NULL
);

CREATE TABLE public.writer (
    process text NOT NULL,
    thread integer NOT NULL,
    done bigint NOT NULL,
    at double precision NOT NULL
);

ALTER TABLE ONLY public.attempt ALTER COLUMN id SET DEFAULT nextval('public.attempt_id_seq'::regclass);

ALTER TABLE ONLY public.delivery ALTER COLUMN id SET DEFAULT nextval('public.delivery_id_seq'::regclass);

ALTER TABLE ONLY public.document ALTER COLUMN id SET DEFAULT nextval('public.document_id_seq'::regclass);

ALTER TABLE ONLY public.fact ALTER COLUMN id SET DEFAULT nextval('public.fact_id_seq'::regclass);

ALTER TABLE ONLY public.incident ALTER COLUMN id SET DEFAULT nextval('public.incident_id_seq'::regclass);

ALTER TABLE ONLY public.message ALTER COLUMN id SET DEFAULT nextval('public.message_id_seq'::regclass);

ALTER TABLE ONLY public.payload ALTER COLUMN id SET DEFAULT nextval('public.payload_id_seq'::regclass);

ALTER TABLE ONLY public.receipt ALTER COLUMN id SET DEFAULT nextval('public.receipt_id_seq'::regclass);

ALTER TABLE ONLY public.received_document ALTER COLUMN id SET DEFAULT nextval('public.received_document_id_seq'::regclass);

ALTER TABLE ONLY public.received_mail ALTER COLUMN id SET DEFAULT nextval('public.received_mail_id_seq'::regclass);

ALTER TABLE ONLY public.attempt
    ADD CONSTRAINT attempt_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.awaited
    ADD CONSTRAINT awaited_pkey PRIMARY KEY (delivery_id);

ALTER TABLE ONLY public.delivery_document
    ADD CONSTRAINT delivery_document_pkey PRIMARY KEY (delivery_id, "position");

ALTER TABLE ONLY public.delivery_key
    ADD CONSTRAINT delivery_key_pkey PRIMARY KEY (key);

ALTER TABLE ONLY public.delivery
    ADD CONSTRAINT delivery_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.document
    ADD CONSTRAINT document_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.duty
    ADD CONSTRAINT duty_pkey PRIMARY KEY (name);

ALTER TABLE ONLY public.error_report
    ADD CONSTRAINT error_report_pkey PRIMARY KEY (delivery_id);

ALTER TABLE ONLY public.fact
    ADD CONSTRAINT fact_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.incident
    ADD CONSTRAINT incident_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.message
    ADD CONSTRAINT message_dedup_key_key UNIQUE (dedup_key);

ALTER TABLE ONLY public.message
    ADD CONSTRAINT message_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.node
    ADD CONSTRAINT node_pkey PRIMARY KEY (token);

ALTER TABLE ONLY public.payload_part
    ADD CONSTRAINT payload_part_pkey PRIMARY KEY (payload_id, "position");

ALTER TABLE ONLY public.payload_pending
    ADD CONSTRAINT payload_pending_pkey PRIMARY KEY (payload_id);

ALTER TABLE ONLY public.payload
    ADD CONSTRAINT payload_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.receipt
    ADD CONSTRAINT receipt_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.received_document
    ADD CONSTRAINT received_document_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.received_mail
    ADD CONSTRAINT received_mail_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.report_to
    ADD CONSTRAINT report_to_pkey PRIMARY KEY (delivery_id, message_id);

ALTER TABLE ONLY public.reported_incident
    ADD CONSTRAINT reported_incident_pkey PRIMARY KEY (delivery_id, incident_id);

ALTER TABLE ONLY public.writer
    ADD CONSTRAINT writer_pkey PRIMARY KEY (process, thread);

CREATE INDEX delivery_due ON public.delivery USING btree (destination, due_at, id) WHERE ((state = ANY (ARRAY['ready'::text, 'uncertain'::text, 'suspended'::text])) AND (claimed_by IS NULL));

CREATE INDEX delivery_in_hand ON public.delivery USING btree (id) WHERE (state = 'sending'::text);

CREATE INDEX delivery_of_mail ON public.delivery USING btree (mail_id) WHERE (mail_id IS NOT NULL);

CREATE INDEX delivery_open ON public.delivery USING btree (destination) WHERE (state <> ALL (ARRAY['cancelled'::text, 'expired'::text, 'refused'::text, 'succeeded'::text]));

CREATE INDEX document_by_set ON public.document USING btree (set_key, version);

CREATE INDEX error_report_recent ON public.error_report USING btree (at);

CREATE INDEX error_report_unresolved ON public.error_report USING btree (failed_at) WHERE ((failed_at IS NOT NULL) AND (resolved_at IS NULL));

CREATE INDEX incident_to_report ON public.incident USING btree (id) WHERE (report_id IS NULL);

CREATE INDEX ix_attempt_delivery_id ON public.attempt USING btree (delivery_id);

CREATE INDEX ix_awaited_due_at ON public.awaited USING btree (due_at);

CREATE INDEX ix_delivery_document_set_key ON public.delivery_document USING btree (set_key);

CREATE INDEX ix_delivery_document_uid ON public.delivery_document USING btree (uid);

CREATE INDEX ix_delivery_message_id ON public.delivery USING btree (message_id);

CREATE INDEX ix_document_message_id ON public.document USING btree (message_id);

CREATE INDEX ix_document_uid ON public.document USING btree (uid);

CREATE INDEX ix_incident_delivery_id ON public.incident USING btree (delivery_id);

CREATE INDEX ix_incident_report_id ON public.incident USING btree (report_id);

CREATE INDEX ix_receipt_delivery_id ON public.receipt USING btree (delivery_id);

CREATE INDEX ix_receipt_mail_id ON public.receipt USING btree (mail_id);

CREATE INDEX ix_received_document_mail_id ON public.received_document USING btree (mail_id);

CREATE INDEX ix_received_document_uid ON public.received_document USING btree (uid);

CREATE INDEX ix_reported_incident_incident_id ON public.reported_incident USING btree (incident_id);

CREATE INDEX message_by_control_id ON public.message USING btree (control_id);

CREATE INDEX message_unanswered ON public.message USING btree (id) WHERE (state = 'received'::text);

CREATE INDEX received_document_by_set ON public.received_document USING btree (set_key, version);

CREATE INDEX received_mail_content ON public.received_mail USING btree (sha256);

CREATE INDEX received_mail_due ON public.received_mail USING btree (due_at, id) WHERE (state = ANY (ARRAY['received'::text, 'ended'::text]));

CREATE UNIQUE INDEX received_mail_place ON public.received_mail USING btree (mailbox, place);

CREATE INDEX received_mail_to_file ON public.received_mail USING btree (id) WHERE ((treated_at IS NOT NULL) AND (filed_at IS NULL));

ALTER TABLE ONLY public.attempt
    ADD CONSTRAINT attempt_delivery_id_fkey FOREIGN KEY (delivery_id) REFERENCES public.delivery(id);

ALTER TABLE ONLY public.awaited
    ADD CONSTRAINT awaited_delivery_id_fkey FOREIGN KEY (delivery_id) REFERENCES public.delivery(id);

ALTER TABLE ONLY public.delivery_document
    ADD CONSTRAINT delivery_document_delivery_id_fkey FOREIGN KEY (delivery_id) REFERENCES public.delivery(id);

ALTER TABLE ONLY public.delivery_document
    ADD CONSTRAINT delivery_document_document_id_fkey FOREIGN KEY (document_id) REFERENCES public.document(id);

ALTER TABLE ONLY public.delivery_key
    ADD CONSTRAINT delivery_key_delivery_id_fkey FOREIGN KEY (delivery_id) REFERENCES public.delivery(id);

ALTER TABLE ONLY public.delivery
    ADD CONSTRAINT delivery_mail_id_fkey FOREIGN KEY (mail_id) REFERENCES public.received_mail(id);

ALTER TABLE ONLY public.delivery
    ADD CONSTRAINT delivery_message_id_fkey FOREIGN KEY (message_id) REFERENCES public.message(id);

ALTER TABLE ONLY public.delivery
    ADD CONSTRAINT delivery_payload_id_fkey FOREIGN KEY (payload_id) REFERENCES public.payload(id);

ALTER TABLE ONLY public.document
    ADD CONSTRAINT document_message_id_fkey FOREIGN KEY (message_id) REFERENCES public.message(id);

ALTER TABLE ONLY public.document
    ADD CONSTRAINT document_payload_id_fkey FOREIGN KEY (payload_id) REFERENCES public.payload(id);

ALTER TABLE ONLY public.error_report
    ADD CONSTRAINT error_report_delivery_id_fkey FOREIGN KEY (delivery_id) REFERENCES public.delivery(id);

ALTER TABLE ONLY public.fact
    ADD CONSTRAINT fact_delivery_id_fkey FOREIGN KEY (delivery_id) REFERENCES public.delivery(id);

ALTER TABLE ONLY public.fact
    ADD CONSTRAINT fact_message_id_fkey FOREIGN KEY (message_id) REFERENCES public.message(id);

ALTER TABLE ONLY public.incident
    ADD CONSTRAINT incident_delivery_id_fkey FOREIGN KEY (delivery_id) REFERENCES public.delivery(id);

ALTER TABLE ONLY public.incident
    ADD CONSTRAINT incident_mail_id_fkey FOREIGN KEY (mail_id) REFERENCES public.received_mail(id);

ALTER TABLE ONLY public.incident
    ADD CONSTRAINT incident_message_id_fkey FOREIGN KEY (message_id) REFERENCES public.message(id);

ALTER TABLE ONLY public.incident
    ADD CONSTRAINT incident_report_id_fkey FOREIGN KEY (report_id) REFERENCES public.delivery(id);

ALTER TABLE ONLY public.message
    ADD CONSTRAINT message_payload_id_fkey FOREIGN KEY (payload_id) REFERENCES public.payload(id);

ALTER TABLE ONLY public.payload_part
    ADD CONSTRAINT payload_part_payload_id_fkey FOREIGN KEY (payload_id) REFERENCES public.payload(id);

ALTER TABLE ONLY public.payload_pending
    ADD CONSTRAINT payload_pending_payload_id_fkey FOREIGN KEY (payload_id) REFERENCES public.payload(id);

ALTER TABLE ONLY public.receipt
    ADD CONSTRAINT receipt_delivery_id_fkey FOREIGN KEY (delivery_id) REFERENCES public.delivery(id);

ALTER TABLE ONLY public.receipt
    ADD CONSTRAINT receipt_mail_id_fkey FOREIGN KEY (mail_id) REFERENCES public.received_mail(id);

ALTER TABLE ONLY public.received_document
    ADD CONSTRAINT received_document_delivery_id_fkey FOREIGN KEY (delivery_id) REFERENCES public.delivery(id);

ALTER TABLE ONLY public.received_document
    ADD CONSTRAINT received_document_mail_id_fkey FOREIGN KEY (mail_id) REFERENCES public.received_mail(id);

ALTER TABLE ONLY public.received_mail
    ADD CONSTRAINT received_mail_payload_id_fkey FOREIGN KEY (payload_id) REFERENCES public.payload(id);

ALTER TABLE ONLY public.report_to
    ADD CONSTRAINT report_to_delivery_id_fkey FOREIGN KEY (delivery_id) REFERENCES public.delivery(id);

ALTER TABLE ONLY public.report_to
    ADD CONSTRAINT report_to_message_id_fkey FOREIGN KEY (message_id) REFERENCES public.message(id);

ALTER TABLE ONLY public.reported_incident
    ADD CONSTRAINT reported_incident_delivery_id_fkey FOREIGN KEY (delivery_id) REFERENCES public.error_report(delivery_id);

ALTER TABLE ONLY public.reported_incident
    ADD CONSTRAINT reported_incident_incident_id_fkey FOREIGN KEY (incident_id) REFERENCES public.incident(id);

INSERT INTO public.schema_version VALUES (4);
