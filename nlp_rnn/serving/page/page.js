"use strict";
// What models and people say is put into the page as text, never as HTML.

const at = (id) => document.getElementById(id);
const kinds = new Map(); // label -> number of its colour
let models = {}, running = null;

function make(tag, text, kind) {
  const found = document.createElement(tag);
  if (text !== undefined) found.textContent = text;
  if (kind) found.className = kind;
  return found;
}

function say(text, isWrong = false) {
  at("status").textContent = text;
  at("status").classList.toggle("wrong", isWrong);
}

async function ask(path, payload) {
  const signal = running ? running.signal : undefined;
  const options = payload === undefined ? { signal } : {
    method: "POST", signal, body: JSON.stringify(payload), headers: { "Content-Type": "application/json" },
  };
  const response = await fetch(path, options);
  const content = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(content.error || `The server answers ${response.status}.`);
  return content;
}

async function rows(name, inputs, signature = "serving_default") {
  const payload = { signature_name: signature, instances: inputs };
  return (await ask(`/v1/models/${encodeURIComponent(name)}:predict`, payload)).predictions;
}

const percent = (number) => `${(100 * number).toFixed(1)} %`;

function bars(row) {
  const list = make("div");
  const order = row.labels.map((_, i) => i).sort((a, b) => row.probabilities[b] - row.probabilities[a]);
  for (const i of order) {
    const line = make("div", undefined, "bar"), meter = make("meter");
    meter.value = row.probabilities[i];
    meter.setAttribute("aria-label", row.labels[i]);
    line.append(make("span", row.labels[i], i === order[0] ? "strong" : ""), meter, make("span", percent(row.probabilities[i])));
    list.append(line);
  }
  return list;
}

// What each word adds to the first label: how much less probable that is without the word.
async function weights(name, text, row) {
  const found = [...text.matchAll(/\S+/gu)].slice(0, 100);
  if (found.length < 2) return null;
  const without = found.map((m) => text.slice(0, m.index) + text.slice(m.index + m[0].length));
  const label = row.labels.indexOf(row.label);
  const changes = (await rows(name, without)).map((one) => row.probabilities[label] - one.probabilities[label]);
  const most = Math.max(...changes.map(Math.abs), 1e-9);
  const shown = make("p", undefined, "text");
  let last = 0;
  found.forEach((m, i) => {
    shown.append(text.slice(last, m.index));
    const token = make("span", m[0], `token ${changes[i] > 0 ? "for" : "against"}`);
    token.style.borderBottomColor = Math.abs(changes[i]) < 0.05 * most ? "transparent" : "";
    token.style.borderBottomWidth = `${1 + Math.round((5 * Math.abs(changes[i])) / most)}px`;
    token.title = `${changes[i] > 0 ? "+" : "−"}${percent(Math.abs(changes[i]))}`;
    shown.append(token);
    last = m.index + m[0].length;
  });
  shown.append(text.slice(last));
  return shown;
}

const tasks = {
  async sentiment(name, text, result) {
    const [row] = await rows(name, [text]);
    result.append(bars(row));
    const shown = await weights(name, text, row);
    if (!shown) return;
    result.append(make("h2", `What each word does for “${row.label}”`), shown);
    result.append(make("p", "Green lines: it would be less probable without the word; red ones: more probable.", "faint"));
  },

  async ner(name, text, result) {
    const [row] = await rows(name, [text], "spans");
    const shown = make("p", undefined, "text");
    let last = 0;
    for (let i = 0; i < row.count; i++) {
      const label = row.labels[i], begin = row.starts_utf16[i], end = row.ends_utf16[i];
      if (!kinds.has(label)) kinds.set(label, kinds.size % 6);
      const mark = make("mark", text.slice(begin, end), `kind-${kinds.get(label)}`);
      mark.append(make("small", `${label} ${Math.round(100 * row.confidences[i])} %`));
      shown.append(text.slice(last, begin), mark);
      last = end;
    }
    shown.append(text.slice(last));
    result.append(shown, make("p", row.count === 1 ? "1 entity." : `${row.count} entities.`, "faint"));
  },

  async translation(name, text, result) {
    const [row] = await rows(name, [text], "n_best");
    result.append(make("p", row.translations[0], "text strong"));
    const source = make("p", undefined, "text"), target = make("p", undefined, "text");
    const places = row.source_tokens.map((token) => {
      const shown = make("span", token, "token");
      source.append(shown, " ");
      return shown;
    });
    row.target_tokens[0].forEach((token, t) => {
      if (!token) return;
      const shown = make("button", token, "token");
      shown.type = "button";
      const light = (on) => row.attention[0][t].forEach((weight, p) => {
        places[p].style.backgroundColor = on ? `color-mix(in srgb, var(--accent) ${Math.round(80 * weight)}%, transparent)` : "";
      });
      for (const name of ["pointerenter", "focus"]) shown.addEventListener(name, () => light(true));
      for (const name of ["pointerleave", "blur"]) shown.addEventListener(name, () => light(false));
      target.append(shown, " ");
    });
    result.append(make("h2", "Where each word looked"), source, target);
    result.append(make("p", "Point at a word of the translation, or reach it with Tab.", "faint"));
    const others = row.translations.map((one, i) => [one, row.scores[i]]).slice(1).filter(([, score]) => score > -1e8);
    if (!others.length) return;
    const table = make("table");
    for (const [one, score] of others) {
      const line = make("tr");
      line.append(make("td", score.toFixed(2), "faint"), make("td", one));
      table.append(line);
    }
    result.append(make("h2", "Other translations"), table);
  },

  async "language-modeling"(name, text, result) {
    const shown = make("p", text, "text"), parameters = {};
    for (const one of ["max_tokens", "temperature", "top_p", "seed"]) parameters[one] = Number(at(one).value);
    const written = make("span");
    shown.append(written);
    result.append(shown);
    const path = `/v2/models/${encodeURIComponent(name)}/generate_stream`;
    const response = await fetch(path, {
      method: "POST", signal: running.signal, headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ text_input: text, parameters }),
    });
    if (!response.ok) throw new Error((await response.json()).error);
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let held = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const events = (held + value).split("\n\n");
      held = events.pop();
      for (const event of events) {
        const found = JSON.parse(event.slice("data: ".length));
        if (found.error) throw new Error(found.error);
        written.append(found.text_output);
      }
    }
  },

  async other(name, text, result, about) {
    const inputs = Object.keys(about.signatures.serving_default.inputs).length > 1 ? JSON.parse(text) : text;
    result.append(make("pre", JSON.stringify(await rows(name, [inputs]), null, 1)));
  },
};

function chosen() {
  const name = at("model").value;
  return [name, models[name]];
}

function choose() {
  const [name, { metadata: about, model_spec: spec }] = chosen();
  const example = about.signatures.serving_default.example;
  const given = about.task === "language-modeling" ? "The " : example ? Object.values(example.inputs)[0][0] : "";
  at("text").value = typeof given === "string" ? given : JSON.stringify(example.inputs);
  at("text-label").textContent = about.input[0].toUpperCase() + about.input.slice(1);
  at("about").textContent = `${about.task}, version ${spec.version}` + (about.labels.length ? `: ${about.labels.join(", ")}` : "");
  at("settings").hidden = about.task !== "language-modeling";
  at("code").textContent =
    `from nlp_rnn.serving import Client\n\nmodel = Client(${JSON.stringify(location.origin)})[${JSON.stringify(name)}]\n` +
    `model(${JSON.stringify(at("text").value)})`;
  at("result").replaceChildren();
  say("");
}

async function run(event) {
  event.preventDefault();
  if (running) return;
  const [name, { metadata: about }] = chosen(), result = at("result"), text = at("text").value;
  running = new AbortController();
  at("run").disabled = true;
  at("stop").hidden = false;
  result.replaceChildren();
  say("…");
  const began = performance.now();
  try {
    await (tasks[about.task] || tasks.other)(name, text, result, about);
    say(`${Math.round(performance.now() - began)} ms`);
  } catch (error) {
    if (error.name === "AbortError") say("Stopped.");
    else say(error.message, true);
  } finally {
    running = null;
    at("run").disabled = false;
    at("stop").hidden = true;
  }
}

async function begin() {
  at("form").addEventListener("submit", run);
  at("stop").addEventListener("click", () => running && running.abort());
  at("model").addEventListener("change", choose);
  at("text").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) at("form").requestSubmit();
  });
  try {
    for (const name of (await ask("/v1/models")).models) {
      models[name] = await ask(`/v1/models/${encodeURIComponent(name)}/metadata`);
      at("model").append(make("option", name));
    }
    choose();
  } catch (error) {
    say(error.message, true);
  }
}

begin();
