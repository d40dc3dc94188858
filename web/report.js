// Draws the charts of a report from the numbers in #data, and lets the reader choose runs, range and axis.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const range = document.getElementById("range");
  const logarithmic = document.getElementById("logarithmic");
  const hidden = new Set();
  const charts = [];
  const NUM_COLOURS = 6;

  const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const colour = (run) => style(`--run-${run % NUM_COLOURS}`);
  const transparent = (hex, alpha) => hex + Math.round(alpha * 255).toString(16).padStart(2, "0");

  // 1234567 -> "1.23 M"
  function quantity(value) {
    if (value === 0) return "0";
    const prefixes = [[1e18, "E"], [1e15, "P"], [1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]];
    const [size, prefix] = prefixes.find(([limit]) => Math.abs(value) >= limit * 0.9995) ?? [1, ""];
    const digits = Number((value / size).toPrecision(3));
    return prefix ? `${digits} ${prefix}` : `${digits}`;
  }
  const fixed = (digits) => (value) => value.toFixed(digits).replace("-", "−");
  const percent = (value) => `${value > 0 ? "+" : ""}${fixed(2)(value)} %`;
  const plain = (value) => `${Number(value.toPrecision(4))}`.replace("-", "−");

  const points = (pairs) => pairs.map(([x, y]) => ({x, y}));
  const column = (run, x, y, scale = 1) =>
    run.validation.filter((row) => row[x] !== null && row[y] !== null).map((row) => ({x: row[x] * scale, y: row[y]}));

  // One line of one run. `run` is its index in data.runs, or -1 for a line that belongs to none.
  const line = (run, label, content, more = {}) => ({
    run, label, data: content, borderWidth: 1.8, pointRadius: 0, pointHitRadius: 6, tension: 0, spanGaps: true, clip: 4, ...more,
  });
  const measured = (content) => ({pointRadius: content.length > 60 ? 0 : 2.5, borderWidth: 2});

  function validation(x, y, scale = () => 1) {
    return data.runs.flatMap((run, index) => {
      const factor = scale(run);
      const content = factor === null ? [] : column(run, x, y, factor);
      return content.length ? [line(index, run.name, content, measured(content))] : [];
    });
  }
  const series = (key) => data.runs.flatMap(
    (run, index) => run[key].length ? [line(index, run.name, points(run[key]))] : []);

  // The columns of a row of `validation`.
  const STEP = 0, TOKENS = 1, BITS = 2, RATIO = 3, HALF = 4, LOW = 5, HIGH = 6;

  // The first steps, before the parser has found its ratio, may lie far above all others: they are cut off.
  function highestRatio() {
    const targets = data.runs.map((run) => run.target).filter((value) => value !== null);
    const highest = Math.max(...ratioLines().flatMap((one) => one.data.map((point) => point.y)));
    return targets.length && highest > 3 * Math.max(...targets) ? 3 * Math.max(...targets) : undefined;
  }

  function ratioLines() {
    const lines = [];
    let last = 0;
    data.runs.forEach((run, index) => {
      const stored = column(run, STEP, RATIO);
      const half = column(run, STEP, HALF);
      const sampled = points(run.ratio);
      const low = column(run, STEP, LOW);
      const high = column(run, STEP, HIGH);
      if (!stored.length && !sampled.length) return;
      for (const content of [stored, sampled]) last = Math.max(last, content.at(-1)?.x ?? 0);
      if (sampled.length) lines.push(line(index, `${run.name}, as sampled`, sampled, {borderWidth: 1, alpha: 0.55}));
      if (stored.length) lines.push(line(index, `${run.name}, stored threshold`, stored, {...measured(stored), borderWidth: 2.6}));
      if (half.length) lines.push(line(index, `${run.name}, threshold 0.5`, half, {borderDash: [2, 3]}));
      if (low.length && low.length === high.length) {
        lines.push(line(index, `${run.name}, 10 % of documents below`, low, {borderWidth: 0, fill: "+1", band: true}));
        lines.push(line(index, `${run.name}, 10 % of documents above`, high, {borderWidth: 0, band: true}));
      }
    });
    for (const target of new Set(data.runs.map((run) => run.target).filter((value) => value !== null))) {
      lines.push(line(-1, "target", [{x: 1, y: target}, {x: last, y: target}], {borderDash: [7, 4], borderWidth: 1.4}));
    }
    return last ? lines : [];
  }

  const kinds = {
    bits_tokens: {x: "tokens", y: "bits per byte", lines: validation(TOKENS, BITS), show: fixed(3)},
    bits_flops: {x: "training FLOPs", y: "bits per byte", lines: validation(TOKENS, BITS, (run) => run.flops), show: fixed(3)},
    gap: {
      x: "tokens", y: "difference, %", show: percent, zero: true,
      lines: data.gaps.map(({run, points: pairs}) => line(run, data.runs[run].name, points(pairs), measured(pairs))),
    },
    loss: {x: "tokens", y: "nats per token", lines: series("loss"), show: fixed(3)},
    ratio: {x: "steps", y: "tokens per concept", lines: ratioLines(), show: fixed(2), end: highestRatio()},
    rate: {x: "tokens", y: "learning rate", lines: series("rate"), show: (value) => value.toExponential(2), ticks: (value) => value === 0 ? "0" : value.toExponential(1).replace("-", "−")},
    speed: {x: "tokens", y: "tokens per second", lines: series("speed"), show: quantity, ticks: quantity, begin: 0},
  };

  function axisX(kind) {
    const isLogarithmic = logarithmic.checked;
    const last = Math.max(...kind.lines.flatMap((one) => one.data.map((point) => point.x)));
    const first = Math.min(...kind.lines.flatMap((one) => one.data.map((point) => point.x)).filter((x) => x > 0));
    const from = Number(range.value) * last;
    return {
      type: isLogarithmic ? "logarithmic" : "linear",
      min: from > 0 ? from : isLogarithmic ? first : 0,
      max: last,
      title: {display: true, text: kind.x, color: style("--muted")},
      grid: {color: style("--line"), drawTicks: false, drawBorder: false},
      ticks: {
        color: style("--muted"), padding: 6, maxRotation: 0, autoSkip: true, autoSkipPadding: 14, includeBounds: false,
        // A logarithmic axis names 1, 2 and 5 of each power of ten.
        callback: (value) => !isLogarithmic || [1, 2, 5].includes(Math.round(value / 10 ** Math.floor(Math.log10(value) + 1e-9)))
          ? quantity(value) : null,
      },
    };
  }

  function paint(one) {
    const base = one.run < 0 ? style("--muted") : colour(one.run);
    one.borderColor = one.alpha ? transparent(base, one.alpha) : base;
    one.backgroundColor = one.band ? transparent(base, 0.13) : base;
    one.pointBackgroundColor = base;
    one.pointBorderWidth = 0;
    one.hidden = hidden.has(one.run);
    if (one.run >= NUM_COLOURS && !one.borderDash) one.borderDash = [6, 2, 1, 2];
  }

  function options(kind) {
    return {
      animation: false, responsive: true, maintainAspectRatio: false, normalized: true,
      interaction: {mode: "nearest", axis: "x", intersect: false},
      plugins: {
        legend: {display: false},
        tooltip: {
          filter: (item) => item.dataset.run >= 0,
          callbacks: {
            title: (items) => items.length ? `${quantity(items[0].parsed.x)} ${kind.x}` : "",
            label: (item) => ` ${item.dataset.label}: ${kind.show(item.parsed.y)}`,
          },
        },
      },
      scales: {
        x: axisX(kind),
        y: {
          min: kind.begin, max: kind.end,
          beginAtZero: kind.zero,
          title: {display: true, text: kind.y, color: style("--muted")},
          grid: {
            color: (context) => kind.zero && context.tick?.value === 0 ? style("--muted") : style("--line"),
            drawTicks: false, drawBorder: false,
          },
          ticks: {color: style("--muted"), padding: 6, maxTicksLimit: 7, callback: kind.ticks ?? plain},
        },
      },
    };
  }

  function redraw() {
    for (const {chart, kind} of charts) {
      kind.lines.forEach(paint);
      chart.options = options(kind);
      chart.update("none");
    }
  }

  Chart.defaults.font.family = getComputedStyle(document.body).fontFamily;
  for (const figure of document.querySelectorAll("figure[data-chart]")) {
    const kind = kinds[figure.dataset.chart];
    if (!kind.lines.length) {
      figure.remove();
      continue;
    }
    const plot = document.createElement("div");
    const canvas = document.createElement("canvas");
    plot.className = "plot";
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `${figure.querySelector("h3").textContent}: ${kind.y} over ${kind.x}; the numbers are in the tables`);
    plot.append(canvas);
    figure.append(plot);
    kind.lines.forEach(paint);
    charts.push({kind, chart: new Chart(canvas, {type: "line", data: {datasets: kind.lines}, options: options(kind)})});
  }

  const legend = document.getElementById("legend");
  data.runs.forEach((run, index) => {
    const button = document.createElement("button");
    const swatch = document.createElement("span");
    button.type = "button";
    button.setAttribute("aria-pressed", "true");
    swatch.className = "swatch";
    swatch.style.setProperty("--colour", `var(--run-${index % NUM_COLOURS})`);
    button.append(swatch, run.name);
    button.addEventListener("click", () => {
      hidden.has(index) ? hidden.delete(index) : hidden.add(index);
      button.setAttribute("aria-pressed", String(!hidden.has(index)));
      redraw();
    });
    legend.append(button);
  });
  const controls = document.getElementById("controls");
  controls.hidden = charts.length === 0;
  controls.addEventListener("submit", (event) => event.preventDefault());
  range.addEventListener("change", redraw);
  logarithmic.addEventListener("change", redraw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
})();
