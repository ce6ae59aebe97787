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

async function columns(name, inputs, signature = "serving_default") {
  const payload = { signature_name: signature, inputs };
  return (await ask(`/v1/models/${encodeURIComponent(name)}:predict`, payload)).outputs;
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

  async forecasting(name, text, result) {
    const inputs = parsed(text), found = await columns(name, inputs), horizon = found.median[0].length;
    const history = inputs.history[0].slice(0, inputs.lengths[0]), seen = history.slice(-4 * horizon - 20);
    const first = seen.length, times = timesOf(found.times[0]), levels = found.levels[0];
    found.targets[0].forEach((target, c) => {
      const at = (q) => found.quantiles[0].map((step) => step[c][q]), middle = (levels.length - 1) / 2;
      const band = (q, style) => ({ kind: "band", first, low: at(q), high: at(levels.length - 1 - q), style });
      const parts = [...(middle > 0 ? [band(0, "wide")] : []), ...(middle > 1 ? [band(1, "narrow")] : [])];
      parts.push({ kind: "line", first: 0, values: seen.map((step) => step[c]), style: "came" });
      parts.push({ kind: "line", first, values: at(middle), style: "middle" });
      const labels = [[first, times[0], "end"], [first + horizon - 1, times[horizon - 1], "end"]];
      const about = `${target}: ${first} steps, then the median and the intervals of ${horizon} more`;
      result.append(make("h2", target), chart(parts, about, labels));
      const shown = [0, middle, levels.length - 1];
      const lines = times.map((time, t) => [time, ...shown.map((q) => shortly(at(q)[t]))]);
      result.append(tableOf(["", ...shown.map((q) => percent(levels[q]))], lines));
    });
  },

  async "anomaly-values"(name, text, result) {
    const inputs = parsed(text), found = await columns(name, inputs), size = inputs.lengths[0];
    const values = inputs.history[0].slice(0, size), rare = 0.001;
    const odd = [...Array(size).keys()].filter((t) => found.is_judged[0][t] && found.p_values[0][t] < rare);
    found.targets[0].forEach((target, c) => {
      const of = (part) => part[0].slice(0, size).map((step) => step[c]), came = values.map((step) => step[c]);
      const parts = [
        { kind: "band", first: 0, low: of(found.low), high: of(found.high), style: "wide" },
        { kind: "line", first: 0, values: of(found.expected), style: "middle" },
        { kind: "line", first: 0, values: came, style: "came" },
        { kind: "marks", places: odd, values: odd.map((t) => came[t]) },
      ];
      result.append(make("h2", target), chart(parts, `${target}: values, what was expected, and ${odd.length} unusual steps`));
    });
    const judged = found.is_judged[0].filter(Boolean).length;
    result.append(make("p", `${judged} of ${size} steps were judged; ${odd.length} ${odd.length === 1 ? "has" : "have"} a score that fewer than one in 1,000 normal steps reach.`));
    const worst = odd.sort((a, b) => found.scores[0][b] - found.scores[0][a]).slice(0, 20);
    const lines = worst.map((t) => [t, shortly(found.scores[0][t]), shortly(found.p_values[0][t]), values[t].join(", ")]);
    if (worst.length) result.append(tableOf(["step", "score", "p", "values"], lines));
  },

  async anomaly(name, text, result) {
    if (!text.trim()) throw new Error("Give the events of a session.");
    const [row] = await rows(name, [text]);
    const isOdd = row.p_value < 0.01;
    result.append(make("p", `${isOdd ? "Unusual" : "Usual"}: score ${shortly(row.score)}, which ${percent(row.p_value)} of normal sessions reach.`, "strong"));
    if (row.unknown) result.append(make("p", `${row.unknown} of ${row.events} events were not seen in training.`));
    const events = text.includes("\n") ? text.split("\n").filter((one) => one.trim()) : text.trim().split(/\s+/u);
    const why = new Map(row.why_place.map((place, i) => [place, i]).filter(([place]) => place));
    const list = make("ol", undefined, "events");
    events.slice(0, row.events).forEach((event, i) => {
      const line = make("li", event), reason = why.get(i + 1);
      if (reason !== undefined) {
        line.className = "odd";
        const likelier = row.why_expected[reason].filter(Boolean).slice(0, 3).join(", ");
        line.append(make("small", ` ${shortly(row.why_surprise[reason])} nats` + (likelier ? `; likelier: ${likelier}` : ""), "faint"));
      }
      list.append(line);
    });
    result.append(make("h2", "What surprised most"), list);
  },

  async speech(name, text, result) {
    if (!sound) throw new Error("Choose a recording, or record one.");
    const inputs = sound;
    const found = await columns(name, inputs), samples = inputs.audio[0], seconds = found.seconds[0];
    result.append(make("p", found.text[0] || "Nothing was understood.", "text strong"));
    const size = Math.max(1, Math.floor(samples.length / 700)), low = [], high = [];
    for (let i = 0; i < samples.length; i += size) {
      const some = samples.slice(i, i + size);
      low.push(Math.min(...some));
      high.push(Math.max(...some));
    }
    const place = (time) => (time / seconds) * (low.length - 1);
    const words = found.words[0].map((word, i) => [word, found.starts[0][i], found.ends[0][i], found.confidences[0][i]]).filter(([word]) => word);
    const labels = words.map(([word, start, end]) => [place((start + end) / 2), word, "middle"]);
    result.append(chart([{ kind: "band", first: 0, low, high, style: "narrow" }], `The recording, ${shortly(seconds)} seconds`, labels));
    const lines = words.map(([word, start, end, p]) => [word, `${start.toFixed(2)} to ${end.toFixed(2)} s`, percent(p)]);
    if (lines.length) result.append(tableOf(["word", "when", "confidence"], lines));
  },

  async other(name, text, result, about) {
    const isOne = Object.keys(about.signatures.serving_default.inputs).length === 1;
    const found = isOne ? await rows(name, [text]) : await columns(name, parsed(text));
    result.append(make("pre", JSON.stringify(found, null, 1)));
  },
};

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Error(`This is not JSON: ${error.message}`);
  }
}

// Recordings, as the model's signature takes them: mixed, at 16,000 samples a second.
let sound = null, recorder = null;
const RATE = 16000;

async function listenTo(content) {
  const decoded = await new OfflineAudioContext(1, 1, RATE).decodeAudioData(content); // which needs no closing
  const samples = new Array(decoded.length).fill(0);
  for (let c = 0; c < decoded.numberOfChannels; c++) {
    decoded.getChannelData(c).forEach((value, i) => { samples[i] += value / decoded.numberOfChannels; });
  }
  sound = { audio: [samples.map((value) => +value.toFixed(5))], lengths: [samples.length], rate: [RATE] };
}

async function chosenFile() {
  const [file] = at("file").files;
  sound = null;
  at("result").replaceChildren();
  if (!file) return;
  try {
    await listenTo(await file.arrayBuffer());
    say(`${file.name}: ${(sound.lengths[0] / RATE).toFixed(1)} s.`);
    at("form").requestSubmit();
  } catch (error) {
    say(`${file.name} cannot be read as sound (${error.message}).`, true);
  }
}

async function record() {
  if (recorder) {
    recorder.stop();
    return;
  }
  try {
    const stream = await navigator.mediaDevices.getUserMedia({ audio: true }), parts = [];
    recorder = new MediaRecorder(stream);
    recorder.addEventListener("dataavailable", (event) => parts.push(event.data));
    recorder.addEventListener("stop", async () => {
      stream.getTracks().forEach((track) => track.stop());
      recorder = null;
      at("record").textContent = "Record";
      at("file").value = "";
      try {
        await listenTo(await new Blob(parts).arrayBuffer());
        at("form").requestSubmit();
      } catch (error) {
        say(`The recording cannot be read as sound (${error.message}).`, true);
      }
    });
    recorder.start();
    at("record").textContent = "Stop recording";
    say("Recording…");
  } catch (error) {
    recorder = null;
    say(`No microphone can be used: ${error.message}`, true);
  }
}

function chosen() {
  const name = at("model").value;
  return [name, models[name]];
}

function choose() {
  const [name, { metadata: about, model_spec: spec }] = chosen();
  const example = about.signatures.serving_default.example;
  const given = about.task === "language-modeling" ? "The " : example ? Object.values(example.inputs)[0][0] : "";
  const isSound = about.task === "speech";
  at("text").value = typeof given === "string" ? given : isSound ? "" : JSON.stringify(example.inputs);
  at("text").hidden = at("text-label").hidden = isSound;
  at("sound").hidden = !isSound;
  at("text-label").textContent = about.input[0].toUpperCase() + about.input.slice(1);
  at("about").textContent = `${about.task}, version ${spec.version}` + (about.labels.length ? `: ${about.labels.join(", ")}` : "");
  at("settings").hidden = about.task !== "language-modeling";
  at("code").textContent =
    `from nlp_rnn.serving import Client\n\nmodel = Client(${JSON.stringify(location.origin)})[${JSON.stringify(name)}]\n` +
    (isSound ? 'model("recording.wav")'
      : typeof given === "string" ? `model(${JSON.stringify(at("text").value)})`
        : `model.columns(${at("text").value.replaceAll("null", "None")})`);
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
  at("file").addEventListener("change", chosenFile);
  at("record").addEventListener("click", record);
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
