// What both pages know of the service: its address is that of the origin they come from.
export const CLIENT = "growth-chart";
export const FHIR = `${location.origin}/fhir`;
export const TOKEN = `${location.origin}/oauth/token`;
export const REDIRECT = new URL("index.html", location.href).href.split(/[?#]/)[0];
const VITAL_SIGNS = "http://terminology.hl7.org/CodeSystem/observation-category|vital-signs";
export const SCOPES = `openid fhirUser patient/Patient.r patient/Observation.rs?category=${VITAL_SIGNS}`;

export function base64url(bytes) {
  return btoa(String.fromCharCode(...new Uint8Array(bytes)))
    .replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

export function random() {
  return base64url(crypto.getRandomValues(new Uint8Array(32)));
}

export function digest(text) {
  return crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
}

/** Exchange the code of the address for tokens; the address keeps neither code nor state. */
export async function exchangeCode() {
  const query = new URLSearchParams(location.search);
  history.replaceState(null, "", location.pathname);
  const key = `smart-${query.get("state")}`;
  const verifier = sessionStorage.getItem(key);
  sessionStorage.removeItem(key);
  if (query.get("error") || !query.get("code") || verifier === null) {
    throw new Error(query.get("error") ?? "ended");
  }
  const response = await fetch(TOKEN, {
    method: "POST",
    credentials: "omit",
    body: new URLSearchParams({
      grant_type: "authorization_code",
      code: query.get("code"),
      redirect_uri: REDIRECT,
      client_id: CLIENT,
      code_verifier: verifier,
    }),
  });
  if (!response.ok) throw new Error("ended");
  // In memory alone: a page that is closed or loaded anew has no token any more.
  return response.json();
}

export async function read(path, tokens) {
  const response = await fetch(`${FHIR}/${path}`, {
    credentials: "omit",
    headers: { Accept: "application/fhir+json", Authorization: `Bearer ${tokens.access_token}` },
  });
  if (!response.ok) throw new Error(response.status === 401 ? "ended" : "unreadable");
  return response.json();
}

/** Return all matches of a search. */
export async function search(path, tokens) {
  const found = [];
  for (let next = path; next; ) {
    const page = await read(next, tokens);
    found.push(...(page.entry ?? [])
      .filter((entry) => entry.search?.mode !== "outcome").map((entry) => entry.resource));
    const link = page.link?.find((one) => one.relation === "next")?.url;
    next = link?.startsWith(`${FHIR}/`) ? link.slice(FHIR.length + 1) : null;
  }
  return found;
}
