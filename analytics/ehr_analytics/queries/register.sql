CREATE TABLE IF NOT EXISTS project (
    id TEXT PRIMARY KEY,
    title TEXT NOT NULL,
    purpose TEXT NOT NULL,
    applicant TEXT NOT NULL,
    ethics TEXT NOT NULL,
    items TEXT NOT NULL,      -- JSON array of view.column
    people TEXT NOT NULL,     -- JSON array of log-ins
    period_from TEXT NOT NULL,
    period_to TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('draft', 'submitted', 'approved', 'open', 'closed')),
    policy TEXT NOT NULL DEFAULT 'opensafely-7-5',  -- of disclosure control, as agreed
    dates TEXT NOT NULL DEFAULT 'shift',  -- the form in which its people read dates
    rare_code_persons INTEGER NOT NULL DEFAULT 0  -- 0: the number of the rules
);

CREATE TABLE IF NOT EXISTS approval (
    project TEXT NOT NULL REFERENCES project(id),
    person TEXT NOT NULL,
    at TEXT NOT NULL,
    PRIMARY KEY (project, person)
);

-- An open project with a row here is suspended.
CREATE TABLE IF NOT EXISTS suspension (
    project TEXT PRIMARY KEY REFERENCES project(id)
);

CREATE TABLE IF NOT EXISTS training (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    person TEXT NOT NULL,     -- as tokens name them
    affiliation TEXT NOT NULL,
    course TEXT NOT NULL,
    day TEXT NOT NULL,        -- on which it was taken
    expires TEXT NOT NULL,    -- the first day on which it holds no more
    withdrawn INTEGER NOT NULL,
    who TEXT NOT NULL,        -- recorded it
    at TEXT NOT NULL
);

CREATE TRIGGER IF NOT EXISTS training_is_never_changed BEFORE UPDATE ON training
BEGIN SELECT RAISE(ABORT, 'a record of training is never changed'); END;

CREATE TRIGGER IF NOT EXISTS training_is_never_removed BEFORE DELETE ON training
BEGIN SELECT RAISE(ABORT, 'a record of training is never removed'); END;

CREATE TABLE IF NOT EXISTS justification (
    project TEXT NOT NULL REFERENCES project(id),
    view TEXT NOT NULL,
    text TEXT NOT NULL,       -- why the project needs the columns of this view
    PRIMARY KEY (project, view)
);

CREATE TABLE IF NOT EXISTS run (
    id TEXT PRIMARY KEY,
    project TEXT NOT NULL REFERENCES project(id),
    study TEXT NOT NULL,
    who TEXT NOT NULL,
    at TEXT NOT NULL,
    code TEXT NOT NULL,       -- SHA-256 of the study file and of the code that ran it
    version TEXT NOT NULL,    -- of this package
    tables TEXT NOT NULL,     -- JSON object: view -> Delta version read
    state TEXT NOT NULL CHECK (state IN ('done', 'proposed', 'failed', 'released', 'rejected')),
    outputs TEXT NOT NULL DEFAULT '{}'  -- JSON object: file -> SHA-256, as checked
);

CREATE TABLE IF NOT EXISTS decision (
    run TEXT NOT NULL REFERENCES run(id),
    person TEXT NOT NULL,
    verdict TEXT NOT NULL CHECK (verdict IN ('approve', 'reject')),
    reason TEXT NOT NULL,
    at TEXT NOT NULL,
    PRIMARY KEY (run, person)
);

-- Whom released cells were about: see disclosure/release_history.py.
CREATE TABLE IF NOT EXISTS release_person (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    tag BLOB NOT NULL UNIQUE  -- HMAC of the pseudonym in the lake, under keys/releases.key
);

CREATE TABLE IF NOT EXISTS release (
    run TEXT PRIMARY KEY,
    sealed BLOB NOT NULL      -- AES-GCM of the cells' persons, amounts and shown values
);

CREATE TABLE IF NOT EXISTS export (
    id TEXT PRIMARY KEY,
    project TEXT NOT NULL REFERENCES project(id),
    who TEXT NOT NULL,
    state TEXT NOT NULL
        CHECK (state IN ('accepted', 'in-progress', 'completed', 'cancelled', 'failed')),
    started REAL NOT NULL,    -- seconds since 1970
    expires REAL NOT NULL,
    detail TEXT NOT NULL      -- JSON object: format, views, files, error
);

-- Runs that were asked for over the API, in their order: see run_queue.py.
CREATE TABLE IF NOT EXISTS requested_run (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    project TEXT NOT NULL REFERENCES project(id),
    who TEXT NOT NULL,
    names TEXT NOT NULL,      -- JSON array: of all accounts of the person, when they asked
    kind TEXT NOT NULL CHECK (kind IN ('cohort-study', 'code')),
    title TEXT NOT NULL,
    definition TEXT NOT NULL, -- the study's TOML, or the code
    outputs TEXT NOT NULL,    -- JSON array: files that code declares
    state TEXT NOT NULL CHECK (state IN ('queued', 'running', 'ended', 'failed')),
    asked REAL NOT NULL,      -- seconds since 1970
    started REAL,
    ended REAL,
    fault TEXT NOT NULL DEFAULT '',
    steps TEXT NOT NULL DEFAULT '[]'  -- JSON array of [step, people or null], as people may see it
);

CREATE TABLE IF NOT EXISTS run_line (
    run TEXT NOT NULL REFERENCES requested_run(id),
    at REAL NOT NULL,
    text TEXT NOT NULL        -- the platform's own words, never those of an error or of code
);

-- Answers of live counts, which are limited in number: see live_counts.py.
CREATE TABLE IF NOT EXISTS live_count (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    project TEXT NOT NULL REFERENCES project(id),
    who TEXT NOT NULL,
    at REAL NOT NULL,
    question TEXT NOT NULL,   -- SHA-256 of the cohort without its labels
    answer TEXT               -- JSON array of people with noise; null until it is there
);

CREATE TABLE IF NOT EXISTS event (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    at TEXT NOT NULL,
    project TEXT NOT NULL,
    run TEXT,
    who TEXT NOT NULL,
    action TEXT NOT NULL,
    before TEXT,
    after TEXT,
    detail TEXT NOT NULL
);

CREATE INDEX IF NOT EXISTS event_of_run ON event(run) WHERE run IS NOT NULL;

-- Up to which event the platform's log was told: see lineage.py.
CREATE TABLE IF NOT EXISTS event_on_record (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    seq INTEGER NOT NULL
);

CREATE TRIGGER IF NOT EXISTS event_is_never_changed BEFORE UPDATE ON event
BEGIN SELECT RAISE(ABORT, 'the log is never changed'); END;

CREATE TRIGGER IF NOT EXISTS event_is_never_removed BEFORE DELETE ON event
BEGIN SELECT RAISE(ABORT, 'the log is never cut'); END;

-- Open data: the declaration that is proposed or published, who approved just its text, and what
-- was published of each month, which is never made again.
CREATE TABLE IF NOT EXISTS open_dataset (
    id TEXT PRIMARY KEY,
    declaration TEXT NOT NULL,
    digest TEXT NOT NULL,     -- SHA-256 of the declaration
    state TEXT NOT NULL CHECK (state IN ('proposed', 'published', 'withdrawn')),
    proposed_by TEXT NOT NULL,
    at TEXT NOT NULL
);

CREATE TABLE IF NOT EXISTS open_approval (
    dataset TEXT NOT NULL REFERENCES open_dataset(id),
    digest TEXT NOT NULL,
    person TEXT NOT NULL,
    reason TEXT NOT NULL,
    at TEXT NOT NULL,
    PRIMARY KEY (dataset, digest, person)
);

CREATE TABLE IF NOT EXISTS open_month (
    dataset TEXT NOT NULL REFERENCES open_dataset(id),
    month TEXT NOT NULL,
    rows TEXT NOT NULL,       -- JSON array: labels, numbers as shown
    control TEXT NOT NULL,    -- JSON object: the record of disclosure control
    at TEXT NOT NULL,
    PRIMARY KEY (dataset, month)
);
