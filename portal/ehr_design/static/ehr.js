// Keyboard shortcuts and live rows of a clinician's pages. Every page works without this script.

// How long the second key of "g m" may take. Chosen: as Gmail and GitHub do.
const SEQUENCE_MS = 1500;
const ROWS = "main .ehr-lines > li, main .ehr-board__rows > li, main [data-row]";
const FIELDS = "input, textarea, select, [contenteditable]";
// "on", "alt" (each shortcut with the Alt key) or "off": WCAG 2.1.4, Character Key Shortcuts.
const mode = document.body.dataset.keys;

// ---- keyboard

const keyOf = (event) => {
  // With Alt a key may type another character, as on a Mac; where it lies stays the same.
  if (mode !== "alt") return event.key;
  if (event.code === "Slash") return event.shiftKey ? "?" : "/";
  return event.code.startsWith("Key") ? event.code.slice(3).toLowerCase() : "";
};

const isShortcut = (event) =>
  !event.defaultPrevented && !event.ctrlKey && !event.metaKey && !event.isComposing &&
  event.altKey === (mode === "alt") &&
  !(event.target instanceof Element && event.target.closest(FIELDS));

const focusSearch = () => {
  const field = document.querySelector("[role=search] input:not([type=hidden]), input[type=search]");
  if (!field) return location.assign("/patients#who");
  field.focus();
  field.select();
};

const moveRow = (step) => {
  const links = [...document.querySelectorAll(ROWS)]
    .filter((row) => row.checkVisibility())
    .map((row) => row.querySelector("a[href], button"))
    .filter(Boolean);
  const current = links.findIndex((link) => link.closest(ROWS).contains(document.activeElement));
  const next = links[Math.min(Math.max(current + step, 0), links.length - 1)];
  next?.focus();
  next?.closest(ROWS).scrollIntoView({ block: "nearest" });
};

const toggleHelp = () => {
  const help = document.getElementById("keys-help");
  if (help?.open) help.close();
  else help?.showModal();
};

let goUntil = 0;
const ACTIONS = {
  "/": focusSearch,
  "?": toggleHelp,
  j: () => moveRow(1),
  k: () => moveRow(-1),
  g: () => { goUntil = Date.now() + SEQUENCE_MS; },
};

const onKey = (event) => {
  if (!isShortcut(event)) return;
  const key = keyOf(event);
  const isSecond = Date.now() < goUntil;
  const target = isSecond && /^[a-z]$/.test(key) && document.querySelector(`a[data-go="${key}"]`);
  const action = target ? () => location.assign(target.href) : ACTIONS[key];
  // While the help is open, only the key that closes it counts.
  if (!action || (document.querySelector("dialog[open]") && key !== "?")) return;
  event.preventDefault();
  goUntil = 0;
  action();
};

if (mode === "on" || mode === "alt") document.addEventListener("keydown", onKey);

// ---- live rows: the server sends them whole, each time as the reader may see them then

const showState = (list, isLive) => {
  for (const element of document.querySelectorAll("[data-live-state]")) {
    element.hidden = (element.dataset.liveState === "on") !== isLive;
  }
  list.toggleAttribute("data-stale", !isLive);
};

const replaceRows = (list, html) => {
  const focusedId = list.contains(document.activeElement) ? document.activeElement.id : "";
  const received = new DOMParser().parseFromString(html, "text/html").body;
  const known = new Map([...list.querySelectorAll("[data-row]")].map((row) => [row.dataset.row, row]));
  for (const row of received.querySelectorAll("[data-row]")) {
    const old = known.get(row.dataset.row);
    // What says the same stays as it is: a reader's focus and a screen reader's place with it.
    if (old && old.outerHTML === row.outerHTML) row.replaceWith(old);
  }
  list.replaceChildren(...received.childNodes);
  if (focusedId) document.getElementById(focusedId)?.focus();
};

const followRows = (list) => {
  let source = null;
  const stop = () => { source?.close(); source = null; };
  const start = () => {
    if (source) return;
    source = new EventSource(list.dataset.live);
    source.addEventListener("open", () => showState(list, true));
    source.addEventListener("rows", (event) => replaceRows(list, JSON.parse(event.data)));
    // Logged out, here or in another window: nobody's patients stay on the screen.
    source.addEventListener("end", () => { stop(); location.reload(); });
    source.addEventListener("error", () => showState(list, false));
  };
  // A page that nobody looks at asks for nothing.
  document.addEventListener("visibilitychange", () => (document.hidden ? stop() : start()));
  window.addEventListener("pagehide", stop);
  window.addEventListener("pageshow", start);
  if (!document.hidden) start();
};

const list = document.querySelector("[data-live]");
if (list && window.EventSource) followRows(list);
