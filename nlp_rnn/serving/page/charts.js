"use strict";
// Lines, bands and marks over steps, as SVG.

const SVG = "http://www.w3.org/2000/svg", HEIGHT = 220, LEFT = 56, RIGHT = 8, TOP = 8, BOTTOM = 24;

function svg(tag, attributes, text) {
  const found = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) found.setAttribute(name, value);
  if (text !== undefined) found.textContent = text;
  return found;
}

const isNumber = (value) => typeof value === "number" && Number.isFinite(value);

function shortly(value) {
  return Math.abs(value) >= 1e5 || (value && Math.abs(value) < 1e-3) ? value.toExponential(1) : String(+value.toPrecision(4));
}

// parts: {kind: "band", first, low, high, style}, {kind: "line", first, values, style}, {kind: "marks", places, values}
// Values that are null leave a gap. `about` says in words what is seen.
function chart(parts, about, labels) {
  const WIDTH = Math.max(document.getElementById("result").clientWidth, 240); // so that letters keep their size
  const all = parts.flatMap((part) => [part.low, part.high, part.values]).flat().filter(isNumber);
  const least = Math.min(...all), most = Math.max(...all), room = most - least || 1;
  const ends = parts.filter((part) => part.first !== undefined)
    .map((part) => part.first + (part.values || part.low).length - 1);
  const last = Math.max(...ends, 1);
  const x = (step) => LEFT + (WIDTH - LEFT - RIGHT) * (step / last);
  const y = (value) => TOP + (HEIGHT - TOP - BOTTOM) * (1 - (value - least) / room);
  const shown = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": about, class: "chart" });
  for (const value of new Set([least, (least + most) / 2, most])) {
    shown.append(svg("line", { x1: LEFT, x2: WIDTH - RIGHT, y1: y(value), y2: y(value), class: "grid" }));
    shown.append(svg("text", { x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, shortly(value)));
  }
  const path = (first, values) => {
    let found = "", isDown = false;
    values.forEach((value, i) => {
      if (isNumber(value)) found += `${isDown ? "L" : "M"}${x(first + i).toFixed(1)},${y(value).toFixed(1)}`;
      isDown = isNumber(value);
    });
    return found;
  };
  for (const part of parts) {
    if (part.kind === "band") {
      const back = [...part.high.keys()].reverse().map((i) => `L${x(part.first + i).toFixed(1)},${y(part.high[i]).toFixed(1)}`);
      shown.append(svg("path", { d: `${path(part.first, part.low)}${back.join("")}Z`, class: part.style }));
    } else if (part.kind === "line") {
      shown.append(svg("path", { d: path(part.first, part.values), class: part.style }));
    } else {
      part.places.forEach((step, i) => isNumber(part.values[i]) &&
        shown.append(svg("circle", { cx: x(step), cy: y(part.values[i]), r: 5, class: "mark" })));
    }
  }
  let right = Infinity;
  for (const [step, text, anchor] of [...(labels || [])].reverse()) { // the last first; those that would touch it go
    const size = 7 * text.length, edge = x(step) + { end: 0, middle: size / 2, start: size }[anchor];
    if (edge > right) continue;
    right = edge - size - 8;
    shown.append(svg("text", { x: x(step), y: HEIGHT - 6, "text-anchor": anchor }, text));
  }
  return shown;
}

function tableOf(heads, rows) {
  const table = document.createElement("table");
  for (const [tag, cells] of [["th", heads], ...rows.map((row) => ["td", row])]) {
    const line = document.createElement("tr");
    for (const cell of cells) {
      const one = document.createElement(tag);
      one.textContent = cell;
      line.append(one);
    }
    table.append(line);
  }
  return table;
}

// Times of steps, as dates where all of them are midnight.
function timesOf(seconds) {
  const found = seconds.map((one) => new Date(1000 * one).toISOString().slice(0, 16).replace("T", " "));
  return found.every((one) => one.endsWith(" 00:00")) ? found.map((one) => one.slice(0, 10)) : found;
}
