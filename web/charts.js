// Draws the charts of a page from the numbers in #data: lines with intervals, points, or bars by category.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const drawn = [];
  const NUM_COLOURS = 6;
  const MOST_NAMES = 18;  // a longer legend would leave no room for the lines

  const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const colour = (index) => style(`--run-${index % NUM_COLOURS}`);
  const transparent = (hex, alpha) => hex + Math.round(alpha * 255).toString(16).padStart(2, "0");

  // 1234567 -> "1.23 M", 0.00123 -> "0.00123"
  function number(value) {
    if (value === 0) return "0";
    const size = Math.abs(value);
    if (size < 1e-4) return value.toExponential(2).replace(/-/g, "−");
    if (size < 1e4) return `${Number(value.toPrecision(4))}`.replace("-", "−");
    const [unit, prefix] = [[1e18, "E"], [1e15, "P"], [1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]]
      .find(([limit]) => size >= limit * 0.9995);
    return `${Number((value / unit).toPrecision(3))} ${prefix}`.replace("-", "−");
  }

  // A vertical line for the interval about each point; Chart.js has none of its own.
  const intervals = {
    id: "intervals",
    afterDatasetsDraw(chart) {
      chart.data.datasets.forEach((dataset, index) => {
        if (!dataset.intervals.length || !chart.isDatasetVisible(index)) return;
        const context = chart.ctx;
        context.save();
        context.strokeStyle = transparent(dataset.borderColor, 0.75);
        context.lineWidth = 1;
        chart.getDatasetMeta(index).data.forEach((element, i) => {
          const [low, high] = dataset.intervals[i] ?? [null, null];
          if (low === null || high === null) return;
          context.beginPath();
          context.moveTo(element.x, chart.scales.y.getPixelForValue(low));
          context.lineTo(element.x, chart.scales.y.getPixelForValue(high));
          context.stroke();
        });
        context.restore();
      });
    },
  };

  function dataset(chart, series, index) {
    const isBar = Boolean(chart.categories);
    const many = series.points.length > 60;
    return {
      type: isBar && !series.scattered ? "bar" : "line",
      label: series.name,
      data: isBar
        ? chart.categories.map((_, place) => series.points.find(([x]) => x === place)?.[1] ?? null)
        : series.points.map(([x, y]) => ({x, y})),
      intervals: isBar
        ? chart.categories.map((_, place) => series.intervals[series.points.findIndex(([x]) => x === place)] ?? [null, null])
        : series.intervals,
      showLine: !series.scattered,
      borderWidth: isBar && !series.scattered ? 0 : 1.8,
      borderDash: series.dashed ? [6, 4] : (series.colour < 0 ? index : series.colour) >= NUM_COLOURS ? [9, 2, 2, 2] : undefined,
      pointRadius: series.scattered ? 3 : many || series.dashed ? 0 : 2.5,
      pointHitRadius: 6,
      spanGaps: true,
      clip: 4,
      colourIndex: series.colour < 0 ? index : series.colour,
    };
  }

  function paint(one) {
    const base = colour(one.colourIndex);
    one.borderColor = base;
    one.backgroundColor = one.type === "bar" ? transparent(base, 0.8) : base;
    one.pointBackgroundColor = base;
    one.pointBorderWidth = 0;
  }

  // A logarithmic axis names 1, 2 and 5 of each power of ten.
  const named = (value) => [1, 2, 5].includes(Math.round(value / 10 ** Math.floor(Math.log10(value) + 1e-9)));

  function axis(text, logarithmic, more) {
    return {
      type: logarithmic ? "logarithmic" : "linear",
      title: {display: text !== "", text, color: style("--muted")},
      grid: {color: style("--line"), drawTicks: false, drawBorder: false},
      ticks: {
        color: style("--muted"), padding: 6, maxRotation: 0, autoSkip: true, autoSkipPadding: 14,
        callback: (value) => logarithmic && !named(value) ? null : number(value),
      },
      ...more,
    };
  }

  function options(chart) {
    const x = chart.categories
      ? {
          title: {display: chart.x !== "", text: chart.x, color: style("--muted")},
          grid: {display: false, drawBorder: false}, ticks: {color: style("--muted"), maxRotation: 50, autoSkip: false},
        }
      : axis(chart.x, chart.logarithmic_x, {});
    const y = axis(chart.y, chart.logarithmic_y, {});
    const ends = chart.series.flatMap((series) => series.intervals.flat()).filter((value) => value !== null);
    if (ends.length) {
      y.suggestedMin = Math.min(...ends);
      y.suggestedMax = Math.max(...ends);
    }
    if (chart.y_begin !== null) y.min = chart.y_begin;
    if (chart.y_end !== null) y.max = chart.y_end;
    return {
      animation: false, responsive: true, maintainAspectRatio: false, normalized: false,
      interaction: {mode: chart.categories ? "index" : "nearest", axis: "x", intersect: false},
      plugins: {
        legend: {
          display: chart.series.length > 1 && chart.series.length <= MOST_NAMES, position: "bottom",
          labels: {color: style("--text"), boxWidth: 14, boxHeight: 3, padding: 10},
        },
        tooltip: {
          callbacks: {
            title: (items) => items.length ? (chart.categories ? items[0].label : `${number(items[0].parsed.x)} ${chart.x}`) : "",
            label: (item) => {
              const [low, high] = item.dataset.intervals[item.dataIndex] ?? [null, null];
              const range = low === null || low === undefined ? "" : ` (${number(low)} to ${number(high)})`;
              return ` ${item.dataset.label}: ${number(item.parsed.y)}${range}`;
            },
          },
        },
      },
      scales: {x, y},
    };
  }

  Chart.defaults.font.family = getComputedStyle(document.body).fontFamily;
  for (const figure of document.querySelectorAll("figure[data-chart]")) {
    const chart = data[Number(figure.dataset.chart)];
    const plot = document.createElement("div");
    const canvas = document.createElement("canvas");
    plot.className = "plot";
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `${figure.querySelector("h3").textContent}: ${chart.y} over ${chart.x}; the numbers are in the tables`);
    plot.append(canvas);
    figure.append(plot);
    const datasets = chart.series.map((series, index) => dataset(chart, series, index));
    datasets.forEach(paint);
    drawn.push({chart, datasets, plot: new Chart(canvas, {
      type: chart.categories ? "bar" : "line",
      data: {labels: chart.categories, datasets}, options: options(chart), plugins: [intervals],
    })});
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    for (const {chart, datasets, plot} of drawn) {
      datasets.forEach(paint);
      plot.options = options(chart);
      plot.update("none");
    }
  });
})();
