// One search after the other, each of a named kind; every answer is a Bundle that holds something.
import http from 'k6/http';
import { Counter, Trend } from 'k6/metrics';
import { report } from './report.js';

const queries = JSON.parse(open(__ENV.DATA));
const errors = new Counter('errors');
const kinds = {};
for (const { kind } of queries) {
  kinds[kind] = { took: new Trend(`took_${kind}`), errors: new Counter(`errors_${kind}`) };
}
const headers = { Accept: 'application/fhir+json' };
if (__ENV.TOKEN) headers.Authorization = __ENV.TOKEN;

export const options = {
  vus: Number(__ENV.VUS), duration: `${__ENV.SECONDS}s`,
  summaryTrendStats: ['med', 'p(99)'],
};

let position = (__VU || 0) * 5;

export default function () {
  const { kind, path } = queries[position++ % queries.length];
  const answer = http.get(`${__ENV.BASE}/${path}`, { headers, tags: { name: kind } });
  kinds[kind].took.add(answer.timings.duration);
  if (answer.status !== 200 || !answer.body.includes('"fullUrl"')) {
    errors.add(1);
    kinds[kind].errors.add(1);
  }
}

export const handleSummary = report;
