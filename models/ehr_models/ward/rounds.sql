-- One row per round of signs on a ward, as it stood at the round's last sign (instants and
-- spans in milliseconds). Whatever became known later is not looked at; only the outcome is. The aggregates
-- of each sign and laboratory value are filled in by rounds.py.

-- `place` puts a person's measurements in order, whatever the order of the rows: of several at one
-- instant the one that became known last comes last, then the larger.
CREATE TABLE ordered AS
SELECT *, name IN (SELECT unnest($signs)) AS is_sign,
  row_number() OVER (PARTITION BY patient_id ORDER BY at_ms, known_ms, value NULLS FIRST, name) AS place
FROM measurements;
CREATE TABLE signs AS SELECT * FROM ordered WHERE is_sign;
-- What was measured together is one row with a column for each name.
CREATE TABLE sign_rows AS
SELECT patient_id, at_ms, known_ms, max(place) AS place, {sign_values}
FROM signs WHERE value IS NOT NULL GROUP BY patient_id, at_ms, known_ms;
CREATE TABLE laboratory_rows AS
SELECT patient_id, at_ms, known_ms, max(place) AS place, {result_values}
FROM ordered WHERE NOT is_sign AND value IS NOT NULL GROUP BY patient_id, at_ms, known_ms;

-- A round ends where no sign follows within the window; of continuous monitoring each hour is one.
CREATE TABLE rounds AS
WITH instants AS (SELECT DISTINCT patient_id, known_ms FROM signs),
gaps AS (
  SELECT *, coalesce(known_ms - lag(known_ms) OVER w > $round_ms, true) AS is_first
  FROM instants WINDOW w AS (PARTITION BY patient_id ORDER BY known_ms)
),
numbered AS (
  SELECT *, sum(is_first::INT) OVER (PARTITION BY patient_id ORDER BY known_ms) AS number FROM gaps
),
hours AS (
  SELECT *, (known_ms - min(known_ms) OVER (PARTITION BY patient_id, number)) // $hour_ms AS hour
  FROM numbered
)
SELECT row_number() OVER (ORDER BY patient_id, instant) AS round, * FROM (
  SELECT patient_id, max(known_ms) AS instant FROM hours GROUP BY patient_id, number, hour
);

-- On a ward, alive, and not in intensive care at that instant.
CREATE TABLE on_ward AS
SELECT r.round, r.patient_id, r.instant, s.encounter_id, s.provider, s.started_ms,
  p.sex, p.born_ms
FROM rounds r
JOIN stays s ON s.patient_id = r.patient_id AND NOT s.is_intensive
  AND s.started_ms <= r.instant AND coalesce(s.ended_ms >= r.instant, true)
LEFT JOIN people p ON p.patient_id = r.patient_id
WHERE coalesce(p.died_ms > r.instant, true)
  AND NOT EXISTS (
    SELECT 1 FROM stays i WHERE i.patient_id = r.patient_id AND i.is_intensive
      AND i.started_ms <= r.instant AND coalesce(i.ended_ms > r.instant, true)
  )
QUALIFY row_number() OVER (PARTITION BY r.round ORDER BY s.started_ms DESC, s.encounter_id) = 1;

-- The newest of each sign within the window, usable or not.
CREATE TABLE round_signs AS
SELECT r.round, m.name, m.value, m.reason
FROM on_ward r JOIN signs m ON m.patient_id = r.patient_id
  AND m.known_ms <= r.instant AND m.at_ms BETWEEN r.instant - $round_ms AND r.instant
QUALIFY row_number() OVER (PARTITION BY r.round, m.name ORDER BY m.place DESC) = 1;

CREATE TABLE current_signs AS
SELECT round, count(value) AS signs, {current}
FROM round_signs GROUP BY round;

CREATE TABLE trends AS
SELECT r.round, {trends}
FROM on_ward r JOIN sign_rows m ON m.patient_id = r.patient_id
  AND m.known_ms <= r.instant AND m.at_ms BETWEEN r.instant - $trend_ms AND r.instant
GROUP BY r.round;

CREATE TABLE results AS
SELECT r.round, {results}
FROM on_ward r JOIN laboratory_rows m ON m.patient_id = r.patient_id
  AND m.known_ms <= r.instant AND m.at_ms BETWEEN r.instant - $result_ms AND r.instant
GROUP BY r.round;

CREATE TABLE unusable_results AS
SELECT r.round, array_to_string(list_sort(list(DISTINCT m.name || ': ' || m.reason)), '; ') AS reasons
FROM on_ward r JOIN ordered m ON m.patient_id = r.patient_id AND m.value IS NULL AND NOT m.is_sign
  AND m.known_ms <= r.instant AND m.at_ms BETWEEN r.instant - $result_ms AND r.instant
GROUP BY r.round;

-- The newest decision for a scale up to the instant.
CREATE TABLE scale_2 AS
SELECT r.round, s.scale_2
FROM on_ward r JOIN scales s ON s.patient_id = r.patient_id AND s.at_ms <= r.instant
QUALIFY row_number() OVER (PARTITION BY r.round ORDER BY s.at_ms DESC, s.scale_2 DESC) = 1;

-- Death, or intensive care that begins.
CREATE TABLE events AS
SELECT patient_id, died_ms AS event FROM people WHERE died_ms IS NOT NULL
UNION SELECT patient_id, ended_ms FROM stays WHERE died AND ended_ms IS NOT NULL
UNION SELECT patient_id, started_ms FROM stays WHERE is_intensive;

CREATE TABLE next_events AS
SELECT r.round, min(e.event) AS event
FROM on_ward r JOIN events e ON e.patient_id = r.patient_id AND e.event > r.instant
GROUP BY r.round;

CREATE TABLE frame AS
SELECT
  r.patient_id, r.encounter_id, r.instant, e.event, coalesce(c.signs, 0) AS signs,
  concat_ws('; ', {missing}, ur.reasons) AS incomplete,
  (r.instant - r.born_ms) / 31557600000.0 AS age,
  CASE r.sex WHEN 'female' THEN 1.0 WHEN 'male' THEN 0.0 END AS female,
  (r.instant - r.started_ms) / 3600000.0 AS hours_since_admission,
  coalesce(s.scale_2, false)::DOUBLE AS scale_2,
  {signs}, t.* EXCLUDE (round), l.* EXCLUDE (round),
  r.sex AS group_sex, r.provider AS group_provider,
  CASE
    WHEN e.event <= r.instant + $horizon_ms THEN 1.0
    WHEN r.instant + $horizon_ms <= $end_of_data THEN 0.0
  END AS deteriorated
FROM on_ward r
LEFT JOIN current_signs c USING (round)
LEFT JOIN unusable_results ur USING (round)
LEFT JOIN trends t USING (round)
LEFT JOIN results l USING (round)
LEFT JOIN scale_2 s USING (round)
LEFT JOIN next_events e USING (round)
ORDER BY r.patient_id, r.instant;
