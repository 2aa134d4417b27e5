// Stacked bars by day, as SVG. The numbers stand in a table beside it: the chart is for the eye alone.

import { svg } from "./dom.js";

const HEIGHT = 240;
const LEFT = 52;
const BOTTOM = 24;
const RIGHT = 16;
const TOP = 10;

// The least of 1, 2, 5 times a power of ten from which five lines reach the top.
function step(most) {
  const rough = most / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  return [1, 2, 5, 10].find((factor) => factor * power >= rough) * power;
}

// `days`: ["2026-01-31", ...]; `series`: [{ name, values }], values as long as days.
export function stackedBars(days, series, format) {
  const narrow = innerWidth < 600; // or else its writing would be too small to read
  const width = narrow ? 360 : 760;
  const totals = days.map((_, index) => series.reduce((sum, { values }) => sum + values[index], 0));
  const most = Math.max(...totals);
  const line = most > 0 ? step(most) : 1;
  const top = Math.max(line, Math.ceil(most / line - 1e-9) * line);
  const y = (value) => TOP + (HEIGHT - TOP - BOTTOM) * (1 - value / top);
  const slot = (width - LEFT - RIGHT) / days.length;
  const parts = [];
  for (let value = 0; value <= top * 1.0001; value += line) {
    parts.push(svg("line", { class: "rule", x1: LEFT, x2: width - RIGHT, y1: y(value), y2: y(value) }),
      svg("text", { x: LEFT - 8, y: y(value) + 4, "text-anchor": "end" }, format(value)));
  }
  const every = Math.ceil(days.length / (narrow ? 4 : 8));
  days.forEach((day, index) => {
    const x = LEFT + index * slot;
    let below = 0;
    series.forEach(({ name, values }, number) => {
      if (!values[index]) return;
      const bar = svg("rect", {
        class: `s${number % 5}`, x: x + slot * 0.15, width: slot * 0.7, y: y(below + values[index]),
        height: Math.max(0.5, y(below) - y(below + values[index])), rx: Math.min(2, slot * 0.1),
      }, svg("title", {}, `${day}, ${name}: ${format(values[index])}`));
      below += values[index];
      parts.push(bar);
    });
    if ((days.length - 1 - index) % every === 0) {
      const text = new Date(`${day}T00:00Z`).toLocaleDateString("en", { month: "short", day: "numeric", timeZone: "UTC" });
      parts.push(svg("text", { x: x + slot / 2, y: HEIGHT - 6, "text-anchor": "middle" }, text));
    }
  });
  return svg("svg", { class: "chart", viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", "aria-label": "Bars by day; the table below has the numbers" }, ...parts);
}
