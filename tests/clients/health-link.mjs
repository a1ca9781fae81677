// What a receiver of a SMART Health Link does with kill-the-clipboard: opens the link at argv[2]
// with the passcode at argv[3]. Prints what it found, or why not, as JSON; the test compares it.
import { SHLViewer } from "kill-the-clipboard";

const [, , link, passcode] = process.argv;
const viewer = new SHLViewer({ shlinkURI: link });
const found = { label: viewer.shl.label, passcode: viewer.shl.requiresPasscode,
  long: viewer.shl.isLongTerm };
for (const [name, more] of [["embedded", {}], ["apart", { embeddedLengthMax: 1 }]]) {
  try {
    const resolved = await viewer.resolveSHL({ recipient: "Dr Far Away", passcode, ...more });
    found.status = resolved.manifest.status;
    const [bundle] = resolved.fhirResources;
    found[name] = bundle.entry.map(({ resource }) => `${resource.resourceType}/${resource.id}`);
    found.title = bundle.entry[0].resource.title;
  } catch (error) {
    found[name] = error.constructor.name;
  }
}
process.stdout.write(JSON.stringify(found));
