-- One row per person and census day, the first of a month: people of 65 and more who are
-- at home and whom somebody saw in the two years before. Days are those of the jurisdiction's
-- calendar; what is dated on the census day or later is not looked at, but for the outcome.

CREATE TABLE contacts AS
SELECT patient_id, "start" AS started, class,
  coalesce("end", CASE WHEN status = 'in-progress' THEN DATE '9999-12-31' END, "start") AS ended
FROM encounter_flat
WHERE "start" IS NOT NULL
  AND coalesce(status, '') NOT IN ('planned', 'cancelled', 'entered-in-error');

CREATE TABLE diagnoses AS
SELECT patient_id, code, onset AS began
FROM condition_flat
WHERE onset IS NOT NULL AND coalesce(verification_status, '') NOT IN ('refuted', 'entered-in-error');

CREATE TABLE falls AS
SELECT patient_id, began FROM diagnoses
WHERE code IN (SELECT unnest($fall_codes)) OR regexp_matches(code, '^W[01][0-9]');

CREATE TABLE medicines AS
SELECT patient_id, medication_code AS code, authored_on AS day
FROM medication_request WHERE authored_on IS NOT NULL;

CREATE TABLE bounds AS SELECT max(started) AS last FROM contacts;

-- The firsts of months of the two years after each contact.
CREATE TABLE months AS
SELECT DISTINCT patient_id, unnest(generate_series(
  date_trunc('month', started + INTERVAL 1 MONTH),
  least(date_trunc('month', started + 730), date_trunc('month', (SELECT last FROM bounds))),
  INTERVAL 1 MONTH
))::DATE AS day
FROM contacts;

-- Whoever has died was not at home after the last contact; when they died no view says.
CREATE TABLE census AS
SELECT p.id AS patient_id, d.day, p.gender, p.region, year(d.day) - p.birth_year AS age
FROM months d JOIN patient_demographics p ON p.id = d.patient_id
WHERE year(d.day) - p.birth_year >= $oldest
  AND NOT EXISTS (
    SELECT 1 FROM contacts c WHERE c.patient_id = p.id AND c.class IN ('IMP', 'ACUTE', 'NONAC')
      AND c.started < d.day AND c.ended >= d.day
  )
  AND (NOT coalesce(p.deceased, false) OR d.day <= (
    SELECT max(c.ended) FROM contacts c WHERE c.patient_id = p.id
  ));

CREATE TABLE outcomes AS
SELECT patient_id, started AS day FROM contacts WHERE class = 'EMER'
UNION SELECT patient_id, began FROM falls;

CREATE TABLE visits AS
SELECT n.patient_id, n.day,
  count(*) FILTER (class = 'EMER' AND started >= n.day - 183) AS emergencies_6m,
  count(*) FILTER (class = 'EMER' AND started >= n.day - 365) AS emergencies_12m,
  count(*) FILTER (class IN ('IMP', 'ACUTE', 'NONAC') AND started >= n.day - 365) AS stays_12m,
  count(*) FILTER (class NOT IN ('EMER', 'IMP', 'ACUTE', 'NONAC') AND started >= n.day - 365)
    AS visits_12m,
  min(n.day - started) AS days_since_contact
FROM census n JOIN contacts c ON c.patient_id = n.patient_id AND c.started < n.day
GROUP BY n.patient_id, n.day;

CREATE TABLE problems AS
SELECT n.patient_id, n.day, count(DISTINCT g.code) AS conditions,
  count(DISTINCT g.code) FILTER (g.began >= n.day - 365) AS conditions_12m
FROM census n JOIN diagnoses g ON g.patient_id = n.patient_id AND g.began < n.day
GROUP BY n.patient_id, n.day;

CREATE TABLE fallen AS
SELECT n.patient_id, n.day, count(DISTINCT f.began) AS falls_24m
FROM census n JOIN falls f ON f.patient_id = n.patient_id
  AND f.began < n.day AND f.began >= n.day - 730
GROUP BY n.patient_id, n.day;

CREATE TABLE taken AS
SELECT n.patient_id, n.day, count(DISTINCT m.code) AS medicines_12m
FROM census n JOIN medicines m ON m.patient_id = n.patient_id
  AND m.day < n.day AND m.day >= n.day - 365
GROUP BY n.patient_id, n.day;

CREATE TABLE frame AS
SELECT n.patient_id, 'census-' || n.day AS encounter_id, n.day,
  least(n.age, 90)::DOUBLE AS age,
  CASE n.gender WHEN 'female' THEN 1.0 WHEN 'male' THEN 0.0 END AS female,
  v.* EXCLUDE (patient_id, day),
  coalesce(p.conditions, 0) AS conditions, coalesce(p.conditions_12m, 0) AS conditions_12m,
  coalesce(f.falls_24m, 0) AS falls_24m, coalesce(t.medicines_12m, 0) AS medicines_12m,
  n.gender AS group_sex, n.region AS group_district,
  CASE
    WHEN EXISTS (
      SELECT 1 FROM outcomes o WHERE o.patient_id = n.patient_id
        AND o.day >= n.day AND o.day < n.day + $horizon
    ) THEN 1.0
    WHEN n.day + $horizon <= (SELECT last FROM bounds) THEN 0.0
  END AS needed_help
FROM census n
JOIN visits v USING (patient_id, day)
LEFT JOIN problems p USING (patient_id, day)
LEFT JOIN fallen f USING (patient_id, day)
LEFT JOIN taken t USING (patient_id, day)
ORDER BY n.patient_id, n.day;
