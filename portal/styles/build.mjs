// Build the style sheet and the sprite of icons: `npm run build`; `npm run check` compares only.
//
// Colours are custom properties, so that one sheet serves every theme. nhsuk-frontend computes with
// its colours in Sass, where a custom property is no colour. So `token("text")` gives Sass a colour
// of its own for each token, and after the compilation each of them is replaced by `var(--ehr-text)`.
// What Sass mixed from one of them would be a colour of no theme: the build fails and names it.
//
// Of nhsuk-frontend's components, the variants that no template names are left out: half of a sheet
// that every phone has to fetch and read before it paints.
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import postcss from "postcss";
import * as sass from "sass";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const target = join(root, "ehr_design", "static");
const modules = join(root, "node_modules");

// Name -> blue part of its stand-in. Three apart, so that shades of two stay distinct when rounded.
const tokens = new Map();
const RED = 0x5a;
const GREEN = 0x1b;
// The shares of black that nhsuk-frontend mixes into a colour for a hovered or pressed link.
const SHADES = [20, 30, 50];

function colourOf(name) {
  if (!tokens.has(name)) tokens.set(name, 0x10 + 3 * tokens.size);
  // No pair of equal digits, so that the compressed output cannot shorten it.
  return new sass.SassColor({ red: RED, green: GREEN, blue: tokens.get(name), space: "rgb" });
}

function hexOf(blue, share = 1) {
  const channels = [RED, GREEN, blue].map((channel) => Math.round(channel * share));
  return `#${channels.map((channel) => channel.toString(16).padStart(2, "0")).join("")}`;
}

// Where classes are named: the templates of the portal and of the log-in pages, and their modules.
const SOURCES = ["ehr_portal", "ehr_design", "../fhir-gateway/ehr_gateway"];

function readClasses() {
  const names = new Set();
  const beginnings = [];
  for (const source of SOURCES) {
    const folder = join(root, source);
    for (const file of readdirSync(folder, { recursive: true })) {
      if (!/\.(html|py|js)$/.test(file)) continue;
      const text = readFileSync(join(folder, file), "utf8");
      for (const [name] of text.matchAll(/nhsuk-[\w-]*\w/g)) names.add(name);
      // Of a name that is put together in a template, what begins so stays.
      for (const [, start] of text.matchAll(/(nhsuk-[\w-]*-)\{\{/g)) beginnings.push(start);
    }
  }
  return (name) => names.has(name) || beginnings.some((start) => name.startsWith(start));
}

function withoutUnusedClasses(css) {
  const isUsed = readClasses();
  const sheet = postcss.parse(css);
  sheet.walkRules((rule) => {
    rule.selectors = rule.selectors.filter((selector) =>
      // What a selector excludes need not be there.
      [...selector.replace(/:not\([^)]*\)/g, "").matchAll(/\.(nhsuk-[\w-]+)/g)].every(([, name]) =>
        isUsed(name),
      ),
    );
    if (rule.selector === "") rule.remove();
  });
  sheet.walkAtRules((rule) => {
    if (rule.nodes?.length === 0) rule.remove();
  });
  return sheet.toString();
}

function buildSheet(name) {
  const { css } = sass.compile(join(root, "styles", `${name}.scss`), {
    style: "compressed",
    loadPaths: [modules],
    quietDeps: true,
    functions: { "token($name)": ([name]) => colourOf(name.assertString("name").text) },
  });
  let sheet = withoutUnusedClasses(css.replace(/^\uFEFF/, ""));
  sheet = sheet.replaceAll("rgba(0,0,0,0)", "transparent");
  // Pictures of nhsuk-frontend's own address, which nobody serves.
  sheet = sheet.replace(/url\("\/assets\/[^)]*\)/g, "none");
  for (const [name, blue] of tokens) {
    const value = `var(--ehr-${name})`;
    sheet = sheet.replaceAll(hexOf(blue), value);
    // So opaque that it is the colour itself: nhsuk-frontend's hint to one browser.
    sheet = sheet.replaceAll(`rgba(${RED},${GREEN},${blue},.99)`, value);
    for (const shade of SHADES) {
      const mixed = `color-mix(in srgb,${value} ${100 - shade}%,var(--ehr-text))`;
      sheet = sheet.replaceAll(hexOf(blue, 1 - shade / 100), mixed);
    }
  }
  const withoutTokens = sheet.replace(/--ehr-[\w-]+: ?[^;}]+/g, "");
  const left = withoutTokens.match(/#(?:[0-9a-f]{8}|[0-9a-f]{6}|[0-9a-f]{3})\b(?=[;,\s})])|\brgba?\([^)]*\)/g);
  if (left) {
    const places = [...new Set(left)].map((colour) => {
      const at = withoutTokens.indexOf(colour);
      return `${colour} in ...${withoutTokens.slice(Math.max(0, at - 100), at + 20)}`;
    });
    throw new Error(`Colours that are no tokens:\n${places.join("\n")}`);
  }
  return `${sheet}\n`;
}

function buildSprite() {
  const icons = JSON.parse(readFileSync(join(root, "styles", "icons.json"), "utf8"));
  const symbols = Object.entries(icons).map(([name, file]) => {
    const svg = readFileSync(join(modules, "lucide-static", "icons", `${file}.svg`), "utf8");
    const body = svg.slice(svg.indexOf(">", svg.indexOf("<svg")) + 1, svg.indexOf("</svg>"));
    return `<symbol id="${name}" viewBox="0 0 24 24">${body.replace(/\s*\n\s*/g, "")}</symbol>`;
  });
  // How they are drawn is the style sheet's `.ehr-icon`: a symbol inherits from where it is used.
  return ['<svg xmlns="http://www.w3.org/2000/svg">', ...symbols, "</svg>", ""].join("\n");
}

function lucideLicence() {
  const folder = join(modules, "lucide-static");
  const { version } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
  const text = readFileSync(join(folder, "LICENSE"), "utf8").trim();
  return `icons.svg holds icons of lucide-static ${version} (https://lucide.dev). Their licence:\n\n${text}\n`;
}

const built = {
  "ehr.css": buildSheet("ehr"),
  // Of the page `/style` alone.
  "style-guide.css": buildSheet("style-guide"),
  "icons.svg": buildSprite(),
  "LICENSE-lucide.txt": lucideLicence(),
};

mkdirSync(target, { recursive: true });
for (const [name, text] of Object.entries(built)) {
  const file = join(target, name);
  if (process.argv.includes("--check")) {
    if (!existsSync(file) || readFileSync(file, "utf8") !== text) {
      console.error(`${name} is not what its source gives: run \`make assets\`.`);
      process.exitCode = 1;
    }
  } else {
    writeFileSync(file, text);
  }
}
