// The chart as SVG: centile lines of the reference, and the measurements of one child.
import { UNITS, lmsAt, tablesOf, valueAt } from "./growth.js";

const SVG = "http://www.w3.org/2000/svg";
const MARGIN = { left: 40, right: 30, top: 26, bottom: 40 };
// Centile and its z score.
const LINES = [[3, -1.880794], [10, -1.281552], [25, -0.67449], [50, 0], [75, 0.67449],
  [90, 1.281552], [97, 1.880794]];

/** Draw the points of a measure, so many pixels wide; `tables` is null where no reference fits. */
export function drawChart(measure, points, tables, words, width) {
  const height = Math.min(460, Math.max(300, width * 0.6));
  const ages = points.map((point) => point.age);
  // Whole years around the points, two at least.
  const from = Math.max(0, Math.floor(Math.min(...ages) / 12 - 0.5));
  const to = Math.max(from + 2, Math.ceil(Math.max(...ages) / 12 + 0.5));
  const lines = tables ? centileLines(measure, tables, from * 12, to * 12) : [];
  const values = [...points, ...lines.flatMap((line) => line.points)].map((point) => point.value);
  const step = niceStep((Math.max(...values) - Math.min(...values)) / 8 || 1);
  const low = Math.floor(Math.min(...values) / step) * step;
  const high = Math.ceil(Math.max(...values) / step) * step || low + step;
  const x = (age) => MARGIN.left
    + (age / 12 - from) / (to - from) * (width - MARGIN.left - MARGIN.right);
  const y = (value) => height - MARGIN.bottom
    - (value - low) / (high - low) * (height - MARGIN.top - MARGIN.bottom);

  const svg = element("svg", { viewBox: `0 0 ${width} ${height}`, role: "img" });
  svg.append(element("title", {}, words.drawing(words[measure], points.length)));
  const yearStep = Math.max(1, Math.ceil((to - from) / 12));
  for (let year = from; year <= to; year += yearStep) {
    svg.append(element("line", { class: "grid", x1: x(year * 12), x2: x(year * 12), y1: y(low), y2: y(high) }));
    svg.append(element("text", { x: x(year * 12), y: y(low) + 16, "text-anchor": "middle" }, year));
  }
  for (let at = low; at <= high + step / 2; at += step) {
    svg.append(element("line", { class: "grid", x1: x(from * 12), x2: x(to * 12), y1: y(at), y2: y(at) }));
    svg.append(element("text", { x: MARGIN.left - 6, y: y(at) + 4, "text-anchor": "end" }, Number(at.toFixed(2))));
  }
  svg.append(element("text", { x: width / 2, y: height - 6, "text-anchor": "middle" }, words.axis));
  svg.append(element("text", { x: 4, y: 14 }, UNITS[measure]));
  const named = new Map();
  for (const { name, points: drawn } of lines) {
    svg.append(element("polyline", { class: name === 50 ? "median" : "centile", points: path(drawn, x, y) }));
    named.set(name, drawn.at(-1));
  }
  for (const [name, end] of named) {
    svg.append(element("text", { class: "name", x: x(end.age) + 4, y: y(end.value) + 4 }, name));
  }
  svg.append(element("polyline", { class: "child", points: path(points, x, y) }));
  for (const point of points) {
    svg.append(element("circle", { class: "child", cx: x(point.age), cy: y(point.value), r: 4.5 }));
  }
  return svg;
}

function centileLines(measure, tables, from, to) {
  const found = [];
  for (const table of tablesOf(measure, tables)) {
    const ages = [from, ...table.map((row) => row[0]).filter((age) => age > from && age < to), to];
    const known = ages.map((age) => [age, lmsAt(table, age)]).filter(([, lms]) => lms);
    if (known.length < 2) continue;
    for (const [name, z] of LINES) {
      found.push({ name, points: known.map(([age, lms]) => ({ age, value: valueAt(lms, z) })) });
    }
  }
  return found;
}

function niceStep(rough) {
  const power = 10 ** Math.floor(Math.log10(rough));
  return [1, 2, 5, 10].find((factor) => factor * power >= rough) * power;
}

function path(points, x, y) {
  return points.map((point) => `${x(point.age).toFixed(1)},${y(point.value).toFixed(1)}`).join(" ");
}

function element(name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}
