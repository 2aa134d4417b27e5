// The API as its OpenAPI document tells it: from this server alone, so that it reads without the internet too.

import { session } from "./api.js";
import { copyButton, el, heading } from "./dom.js";
import { tableOf } from "./table.js";

const ORDER = ["classify", "label sets", "embeddings", "score", "rerank", "chat", "search", "models", "usage", "account", "admin", "probes"];

export default async function reference() {
  const about = await (await fetch("/openapi.json", { credentials: "same-origin" })).json();
  const groups = new Map(ORDER.map((tag) => [tag, []]));
  for (const [path, methods] of Object.entries(about.paths)) {
    for (const [method, operation] of Object.entries(methods)) {
      const tag = operation.tags?.[0] ?? "more";
      if (!groups.has(tag)) groups.set(tag, []);
      groups.get(tag).push(entry(about, method.toUpperCase(), path, operation));
    }
  }
  const [first, ...rest] = about.info.description.split("\n\n");
  return [
    heading("API", first, el("a", { class: "button", href: "/openapi.json" }, "OpenAPI document")),
    ...rest.map((text) => el("p", { class: "card prose" }, coded(text))),
    ...[...groups].filter(([, entries]) => entries.length).map(([tag, entries]) => el("section", { class: "card", "aria-label": tag },
      el("h2", {}, tag[0].toUpperCase() + tag.slice(1)), entries)),
  ];
}

// `words` in backticks become code.
function coded(text) { return text.split("`").map((part, index) => (index % 2 ? el("code", {}, part) : part)); }

function resolved(about, schema) {
  const name = schema?.$ref?.split("/").at(-1);
  return name ? about.components.schemas[name] : schema ?? {};
}

function typeOf(schema) {
  if (schema.$ref) return schema.$ref.split("/").at(-1);
  const several = schema.anyOf ?? schema.oneOf;
  if (several) return [...new Set(several.map(typeOf))].join(" or ");
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" or ");
  if ("const" in schema) return JSON.stringify(schema.const);
  if (schema.type === "array") return `list of ${typeOf(schema.items ?? {})}`;
  return schema.type ?? "anything";
}

// `lines`: [name, whether it must be given, schema, description]
function fields(label, heading_, lines) {
  const told = lines.some(([, , , description]) => description);
  const table = tableOf(label, [[heading_], ["Type"], ...told ? [["Meaning"]] : []]);
  table.add(lines.map(([name, must, schema, description]) => [
    [el("code", {}, name), must ? el("span", { class: "badge" }, "required") : null],
    el("span", {}, typeOf(schema)), ...told ? [description ? el("span", {}, coded(description)) : null] : [],
  ]));
  return table.place;
}

function fieldsOf(about, label, schema, asked) {
  const { properties = {}, required = [] } = resolved(about, schema);
  const lines = Object.entries(properties).map(([name, each]) => [name, asked && required.includes(name), each, each.description]);
  return lines.length ? fields(label, "Field", lines) : null;
}

function curl(method, path, operation, example) {
  const key = session.accounts && operation.security ? ' \\\n  -H "Authorization: Bearer $SIGLIP2_KEY"' : "";
  const body = example === undefined ? "" : ` \\\n  -H "Content-Type: application/json" \\\n  -d '${JSON.stringify(example).replaceAll("'", "'\\''")}'`;
  return `curl ${method === "GET" || body ? "" : `-X ${method} `}'${location.origin}${path}'${key}${body}`;
}

function firstSentence(operation) { return (operation.description ?? operation.summary).split(/[.;:](?:\s|$)/)[0]; }

function entry(about, method, path, operation) {
  const asked = operation.requestBody?.content?.["application/json"]?.schema;
  const example = resolved(about, asked).examples?.[0];
  const parameters = (operation.parameters ?? []).filter((each) => each.in !== "cookie");
  const [status, answer] = Object.entries(operation.responses).find(([code]) => code.startsWith("2")) ?? [];
  const said = answer?.content?.["application/json"]?.schema;
  const code = curl(method, path, operation, example);
  const failures = Object.entries(operation.responses).filter(([code_]) => code_ >= "4");
  const lines = [
    el("p", {}, coded(operation.description ?? "")),
    parameters.length ? fields(`Parameters of ${path}`, "Parameter",
      parameters.map((each) => [each.name, each.required, each.schema, each.description ?? each.schema.description])) : null,
    asked ? fieldsOf(about, `Request of ${path}`, asked, true) : null,
    el("div", { class: "row between head" }, el("h3", {}, "Example"), copyButton(code)),
    el("pre", { class: "code", tabindex: "0", role: "region", "aria-label": `Example of ${method} ${path}` }, el("code", {}, code)),
    said ? el("h3", {}, `Answer ${status}`) : null,
    said ? fieldsOf(about, `Answer of ${path}`, said, false) ?? el("p", {}, typeOf(said)) : null,
    failures.length ? el("p", { class: "note" }, `Failures: ${failures.map(([code_]) => code_).join(", ")}.`) : null,
  ];
  const details = el("details", { class: "route" },
    el("summary", {}, el("span", { class: `badge verb` }, method), el("code", {}, path), el("span", { class: "note" }, coded(firstSentence(operation)))));
  // Only when it is looked at: fifty tables at once would be slow.
  details.addEventListener("toggle", () => { if (details.children.length === 1) details.append(el("div", { class: "stack" }, lines)); });
  return details;
}
