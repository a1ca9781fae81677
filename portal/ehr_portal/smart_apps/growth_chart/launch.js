// SMART App Launch 2.2: from `iss` and `launch` to the authorization endpoint, with PKCE (S256).
import { CLIENT, FHIR, REDIRECT, SCOPES, base64url, digest, random } from "./smart.js";
import { texts } from "./texts.js";

async function begin() {
  const query = new URLSearchParams(location.search);
  const launch = query.get("launch");
  // It is an app of this service alone: another address would get its requests, and its trust.
  if ((query.get("iss") ?? FHIR).replace(/\/$/, "") !== FHIR) throw new Error("iss");
  const response = await fetch(`${FHIR}/.well-known/smart-configuration`, { credentials: "omit" });
  if (!response.ok) throw new Error("smart-configuration");
  const configuration = await response.json();
  const state = random(), verifier = random();
  sessionStorage.setItem(`smart-${state}`, verifier);
  const address = new URL(configuration.authorization_endpoint);
  address.search = new URLSearchParams({
    response_type: "code",
    client_id: CLIENT,
    redirect_uri: REDIRECT,
    scope: `${launch ? "launch" : "launch/patient"} ${SCOPES}`,
    state,
    aud: FHIR,
    code_challenge: base64url(await digest(verifier)),
    code_challenge_method: "S256",
    ...(launch ? { launch } : {}),
  }).toString();
  location.replace(address);
}

begin().catch(() => { document.querySelector("#message").textContent = texts().notStarted; });
