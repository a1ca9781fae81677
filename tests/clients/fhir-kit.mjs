// What a user of fhir-kit-client does, against the gateway at argv[2] with the token at argv[3].
// Prints what it found as JSON; the test compares it.
import { Client } from "fhir-kit-client";

const client = new Client({ baseUrl: process.argv[2], bearerToken: process.argv[3] });
const found = {};

const statement = await client.capabilityStatement();
found.version = statement.fhirVersion;

const name = [{ system: "http://node", value: "1" }];
const organization = { resourceType: "Observation", status: "final", identifier: name,
  code: { text: "from node" }, subject: { reference: "Patient/pat-1" } };
const made = await client.create({ resourceType: "Observation", body: organization });
found.made = made.status;

const read = await client.read({ resourceType: "Observation", id: made.id });
const update = await client.update({ resourceType: "Observation", id: made.id,
  body: { ...read, status: "amended" } });
found.updated = [update.status, update.meta.versionId];

const patched = await client.patch({ resourceType: "Observation", id: made.id,
  jsonPatch: [{ op: "replace", path: "/status", value: "corrected" }] });
found.patched = patched.status;

const version = await client.vread({ resourceType: "Observation", id: made.id, version: "1" });
found.first = version.status;

const history = await client.resourceHistory({ resourceType: "Observation", id: made.id });
found.history = history.entry.map((entry) => entry.request.method);

const page = await client.resourceSearch({ resourceType: "Observation",
  searchParams: { patient: "pat-1", _count: 1 } });
const next = await client.nextPage({ bundle: page });
found.pages = [page.entry.length, next.entry.length];

const posted = await client.resourceSearch({ resourceType: "Observation",
  searchParams: { identifier: "http://node|1" }, options: { postSearch: true } });
found.posted = posted.entry.length;

const compartment = await client.compartmentSearch({ resourceType: "Condition",
  compartment: { resourceType: "Patient", id: "pat-1" } });
found.compartment = compartment.entry.length;

const batch = await client.batch({ body: { resourceType: "Bundle", type: "batch",
  entry: [{ request: { method: "GET", url: "Organization/hospital-a" } }] } });
found.batch = batch.entry[0].response.status;

await client.delete({ resourceType: "Observation", id: made.id });
found.gone = await client.read({ resourceType: "Observation", id: made.id })
  .then(() => "still there", (error) => error.response.status);

process.stdout.write(JSON.stringify(found));
