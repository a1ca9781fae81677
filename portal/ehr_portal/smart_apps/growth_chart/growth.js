// Ages, measurements and centiles. Nothing here touches the page.

// LOINC codes of each measure; the first unit of each table is that of the reference.
const CODES = {
  height: ["8302-2", "8306-3", "3137-7"],
  weight: ["29463-7", "3141-9"],
  bmi: ["39156-5"],
  head: ["9843-4", "8287-5"],
};
export const MEASURES = Object.keys(CODES);
export const CODE_LIST = Object.values(CODES).flat().map((code) => `http://loinc.org|${code}`).join(",");
const FACTORS = {
  height: { cm: 1, m: 100, mm: 0.1, "[in_i]": 2.54, "[in_us]": 2.54, "[ft_i]": 30.48 },
  weight: { kg: 1, g: 0.001, "[lb_av]": 0.45359237, "[oz_av]": 0.028349523125 },
  bmi: { "kg/m2": 1, "kg/m^2": 1 },
};
FACTORS.head = FACTORS.height;
export const UNITS = { height: "cm", weight: "kg", bmi: "kg/m²", head: "cm" };
const DAY_MS = 86_400_000;
// Not what was entered in error, cancelled, or is not measured yet.
const STATUSES = new Set(["final", "amended", "corrected", "preliminary"]);
// Mean length of a month, as CDC counts ages in months.
const DAYS_OF_MONTH = 30.4375;

/** Return the points of a measure: date, age in months, value in the reference's unit, in order. */
export function pointsOf(measure, observations, birthDate) {
  const points = [];
  for (const one of observations) {
    const date = one.effectiveDateTime ?? one.effectivePeriod?.start ?? one.effectiveInstant;
    const isOfMeasure = one.code?.coding?.some(
      (coding) => coding.system === "http://loinc.org" && CODES[measure].includes(coding.code));
    const { value, comparator, code, unit } = one.valueQuantity ?? {};
    const factor = FACTORS[measure][code ?? unit];
    // A day that is not known would be a wrong age; a unit that is not known a wrong value.
    if (!isOfMeasure || !STATUSES.has(one.status) || comparator || !Number.isFinite(value)
      || value <= 0 || !factor || !/^\d{4}-\d\d-\d\d/.test(date ?? "")) continue;
    const age = ageInMonths(birthDate, date);
    if (age >= 0) points.push({ date: date.slice(0, 10), age, value: value * factor, id: one.id });
  }
  return points.sort((one, other) => one.age - other.age || one.date.localeCompare(other.date));
}

/** Return the body mass index of each day with a weight and a height and none that was recorded. */
export function workedOutBmi(heights, weights, recorded) {
  const taken = new Set(recorded.map((point) => point.date));
  const byDate = new Map(heights.map((point) => [point.date, point]));
  return weights
    .filter((point) => byDate.has(point.date) && !taken.has(point.date))
    .map((point) => ({
      ...point, value: point.value / (byDate.get(point.date).value / 100) ** 2, isWorkedOut: true,
    }));
}

export function ageInMonths(birthDate, date) {
  const days = (Date.parse(date.slice(0, 10)) - Date.parse(birthDate.slice(0, 10))) / DAY_MS;
  return days / DAYS_OF_MONTH;
}

/** Return the tables of a measure for a sex: two for height, which is lying before two years. */
export function tablesOf(measure, tables) {
  if (measure === "height") return [tables.length, tables.stature];
  return [tables[measure]];
}

/** Return L, M and S at an age, between two rows in proportion; null outside of the table. */
export function lmsAt(table, age) {
  const last = table.length - 1;
  if (age < table[0][0] || age > table[last][0]) return null;
  const at = Math.max(1, table.findIndex((row) => row[0] >= age));
  const [before, after] = [table[at - 1], table[at]];
  const part = (age - before[0]) / (after[0] - before[0]);
  return [1, 2, 3].map((place) => before[place] + part * (after[place] - before[place]));
}

/** Return the value of a centile (a z score), by the LMS method (Cole and Green 1992). */
export function valueAt([l, m, s], z) {
  return Math.abs(l) < 1e-9 ? m * Math.exp(s * z) : m * (1 + l * s * z) ** (1 / l);
}

export function zScore([l, m, s], value) {
  return Math.abs(l) < 1e-9 ? Math.log(value / m) / s : ((value / m) ** l - 1) / (l * s);
}

/** Return the centile of a z score, 0 to 100 (Abramowitz and Stegun 26.2.17, error below 1e-7). */
export function centile(z) {
  const t = 1 / (1 + 0.2316419 * Math.abs(z));
  const tail = Math.exp(-z * z / 2) / Math.sqrt(2 * Math.PI) * t * (0.31938153
    + t * (-0.356563782 + t * (1.781477937 + t * (-1.821255978 + t * 1.330274429))));
  return 100 * (z > 0 ? 1 - tail : tail);
}

/** Return the centile of a point; null where the reference has no table for its age. */
export function centileOf(measure, tables, point) {
  for (const table of tablesOf(measure, tables)) {
    const lms = lmsAt(table, point.age);
    if (lms) return centile(zScore(lms, point.value));
  }
  return null;
}
