// People at the portal: each opens the pages of their role one after the other, with pauses.
import http from 'k6/http';
import { sleep } from 'k6';
import { Counter, Trend } from 'k6/metrics';

const people = JSON.parse(open(__ENV.DATA));
const errors = new Counter('errors');
const took = {};
// By page and status; 200 is a page that is not the one that was asked for, 0 no answer at all.
const STATUSES = [0, 200, 303, 403, 404, 429, 500, 502, 503, 504];
const failed = {};
// k6 takes letters, digits and underscores.
const metricName = (name) => `took_${name.replace(/[^a-z]/g, '_')}`;
for (const person of people) {
  for (const page of person.pages) {
    if (took[page.name]) continue;
    took[page.name] = new Trend(metricName(page.name), true);
    for (const status of STATUSES) {
      failed[`${page.name} ${status}`] = new Counter(`failed_${metricName(page.name)}_${status}`);
    }
  }
}

export const options = {
  vus: Number(__ENV.VUS), duration: `${__ENV.SECONDS}s`,
  summaryTrendStats: ['med', 'p(95)', 'max'],
};

export default function () {
  const person = people[(__VU - 1) % people.length];
  const headers = { Cookie: person.cookie, 'Accept-Encoding': 'gzip' };
  for (const page of person.pages) {
    // One to three seconds of reading.
    sleep(1 + 2 * Math.random());
    const answer = http.get(`${__ENV.BASE}${page.path}`, { headers, redirects: 0, tags: { name: page.name } });
    if (answer.status === 200 && answer.body.includes('<h1')) took[page.name].add(answer.timings.duration);
    else {
      errors.add(1);
      const counter = failed[`${page.name} ${answer.status}`];
      if (counter) counter.add(1);
    }
  }
}

export function handleSummary(data) {
  const pages = {};
  for (const name of Object.keys(took)) {
    const metric = data.metrics[metricName(name)];
    if (metric) pages[name] = { median: metric.values.med, p95: metric.values['p(95)'], max: metric.values.max };
  }
  const count = (name) => (data.metrics[name] ? data.metrics[name].values.count : 0);
  const failures = {};
  for (const name of Object.keys(failed)) {
    const place = name.slice(0, name.lastIndexOf(' '));
    const number = count(`failed_${metricName(place)}_${name.slice(place.length + 1)}`);
    if (number) failures[name] = number;
  }
  return { stdout: JSON.stringify({ requests: count('http_reqs'), errors: count('errors'), pages, failures }) + '\n' };
}
