// The page of the app: one child's measurements against published centiles.
import { drawChart } from "./chart.js";
import { CODE_LIST, MEASURES, UNITS, centileOf, pointsOf, workedOutBmi } from "./growth.js";
import { exchangeCode, read, search } from "./smart.js";
import { LANGUAGES, chooseLanguage, language, texts } from "./texts.js";

const page = (id) => document.getElementById(id);
// What is shown: the message's key until there is a record.
const shown = { message: "loading", record: null, measure: null };

async function start() {
  render();
  try {
    const tokens = await exchangeCode();
    if (tokens.smart_style_url) await useStyle(tokens.smart_style_url);
    const subject = encodeURIComponent(tokens.patient);
    const [patient, observations, reference] = await Promise.all([
      read(`Patient/${subject}`, tokens),
      search(`Observation?patient=${subject}&code=${encodeURIComponent(CODE_LIST)}&_count=500`, tokens),
      fetch("cdc-2000.json", { credentials: "omit" }).then((response) => response.json()),
    ]);
    // Where the record is shown around it, nobody is named twice (SMART's need_patient_banner).
    const isNamed = tokens.need_patient_banner ?? true;
    shown.record = { patient, observations, tables: reference.tables, isNamed };
    shown.measure = MEASURES.find((measure) => points(measure).length) ?? MEASURES[0];
    shown.message = null;
  } catch (error) {
    shown.message = ["ended", "access_denied"].includes(error.message) ? error.message : "unreadable";
  }
  render();
}

/** Take the colours of the place the app is launched from (SMART's smart_style_url). */
async function useStyle(address) {
  if (new URL(address).origin !== location.origin) return;
  const response = await fetch(address, { credentials: "omit" });
  if (!response.ok) return;
  const style = await response.json();
  for (const name of ["background", "text", "highlight"]) {
    if (CSS.supports("color", style[`color_${name}`])) {
      document.documentElement.style.setProperty(`--${name}`, style[`color_${name}`]);
    }
  }
}

function points(measure) {
  const { patient, observations } = shown.record;
  if (!/^\d{4}-\d\d-\d\d$/.test(patient.birthDate ?? "")) return [];
  const of = (name) => pointsOf(name, observations, patient.birthDate);
  if (measure !== "bmi") return of(measure);
  const recorded = of("bmi");
  return [...recorded, ...workedOutBmi(of("height"), of("weight"), recorded)]
    .sort((one, other) => one.age - other.age);
}

function render() {
  const words = texts();
  document.documentElement.lang = language();
  document.title = page("title").textContent = words.title;
  page("languages").replaceChildren(...Object.entries(LANGUAGES).map(([tag, name]) => {
    const button = make("button", name, { lang: tag, "aria-pressed": tag === language() });
    button.addEventListener("click", () => { chooseLanguage(tag); render(); });
    return button;
  }));
  const { record, measure, message } = shown;
  page("message").replaceChildren(message ? words[message] : "");
  if (["ended", "unreadable", "access_denied"].includes(message)) {
    page("message").append(" ", make("a", words.again, { href: "launch.html" }));
  }
  if (!record) return;
  renderBanner(record, words);
  page("measures").replaceChildren(...MEASURES.map((name) => {
    const button = make("button", words[name], { "aria-pressed": name === measure });
    button.addEventListener("click", () => { shown.measure = name; render(); });
    return button;
  }));
  const found = points(measure), tables = record.tables[record.patient.gender] ?? null;
  page("figure").hidden = found.length === 0;
  page("values").replaceChildren();
  const hints = [];
  if (!record.patient.birthDate || record.patient.birthDate.length < 10) hints.push(words.noBirth);
  else if (!found.length) hints.push(words.none);
  else if (!tables) hints.push(words.noSex);
  // Where a reference has no table for any of the ages, nothing is said of it.
  const isCompared = tables !== null
    && found.some((point) => centileOf(measure, tables, point) !== null);
  if (found.length && tables && !isCompared) hints.push(words.noLines);
  page("message").textContent = hints.join(" ");
  if (!found.length) return;
  const width = Math.max(280, page("chart").clientWidth);
  page("chart").replaceChildren(drawChart(measure, found, tables, words, width));
  page("source").textContent = isCompared ? words.source : "";
  page("values").append(table(measure, found, tables, words));
}

function renderBanner({ patient, isNamed }, words) {
  const name = patient.name?.[0];
  const who = name?.text ?? [name?.family, ...(name?.given ?? [])].filter(Boolean).join(" ");
  const facts = [words.of(who || "?"), words[patient.gender], patient.birthDate && words.born(patient.birthDate)];
  page("banner").hidden = !isNamed;
  page("banner").textContent = facts.filter(Boolean).join(", ");
}

function table(measure, found, tables, words) {
  const rows = [...found].reverse().map((point) => {
    const place = tables ? centileOf(measure, tables, point) : null;
    const value = `${point.value.toFixed(1)} ${UNITS[measure]}`;
    return [point.date, ageText(point.age, words),
      point.isWorkedOut ? `${value} (${words.workedOut})` : value, centileText(measure, place, words)];
  });
  const made = document.createElement("table");
  const head = made.createTHead().insertRow();
  for (const key of ["date", "age", "value", "centile"]) head.append(make("th", words[key], { scope: "col" }));
  const body = made.createTBody();
  for (const cells of rows) body.insertRow().append(...cells.map((cell) => make("td", cell)));
  return made;
}

function ageText(age, words) {
  return age < 36 ? words.months(Math.floor(age)) : words.years((Math.floor(age / 1.2) / 10).toFixed(1));
}

function centileText(measure, place, words) {
  if (place === null) return words.noCentile;
  // CDC's 2000 reference is not meant for a body mass index above its 97th centile.
  if (measure === "bmi" && place > 97) return "> 97";
  if (place < 0.1) return "< 0.1";
  return place > 99.9 ? "> 99.9" : place.toFixed(place < 1 || place > 99 ? 1 : 0);
}

function make(name, text, attributes = {}) {
  const made = document.createElement(name);
  made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

addEventListener("resize", render);
start();
