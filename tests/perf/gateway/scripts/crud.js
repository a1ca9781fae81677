// Create, read, update and delete one resource of each type, again and again.
import http from 'k6/http';
import { Counter } from 'k6/metrics';
import { report } from './report.js';

const templates = JSON.parse(open(__ENV.DATA));
const errors = new Counter('errors');
const headers = { 'Content-Type': 'application/fhir+json', Accept: 'application/fhir+json' };
if (__ENV.TOKEN) headers.Authorization = __ENV.TOKEN;

export const options = {
  vus: Number(__ENV.VUS), duration: `${__ENV.SECONDS}s`,
  summaryTrendStats: ['med', 'p(99)'],
};

function expect(answer, ...statuses) {
  if (!statuses.includes(answer.status)) errors.add(1);
  return answer;
}

export default function () {
  for (const template of templates) {
    const type = `${__ENV.BASE}/${template.resourceType}`;
    const made = expect(http.post(type, JSON.stringify(template), { headers, tags: { name: 'create' } }), 201);
    const place = made.headers['Location'];
    if (!place) continue;
    const id = place.split('/_history')[0].split('/').pop();
    const one = `${type}/${id}`;
    expect(http.get(one, { headers, tags: { name: 'read' } }), 200);
    const next = JSON.stringify({ ...template, id, language: 'en' });
    expect(http.put(one, next, { headers, tags: { name: 'update' } }), 200);
    // A Patient is not for a hospital to delete (docs/explanation/consent.md).
    if (template.resourceType === 'Patient') continue;
    expect(http.del(one, null, { headers, tags: { name: 'delete' } }), 200, 204);
  }
}

export const handleSummary = report;
