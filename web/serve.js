// Lets the visitor have text written, with its concepts coloured as they close, and see any text's concepts.
"use strict";
(() => {
  const HUES = 5;
  const RATIOS_PER_DOUBLING = 10;  // steps of the ratio's slider; 0 is the model's own
  const element = (id) => document.getElementById(id);
  let hasConcepts = true;

  // Talking to the server.

  const KEY = "dlcm-api-key";
  const headers = () => {
    const key = sessionStorage.getItem(KEY);
    return {"Content-Type": "application/json", ...(key ? {Authorization: `Bearer ${key}`} : {})};
  };

  // Throws an Error with the server's own sentence.
  async function ask(path, body, signal) {
    let response;
    try {
      response = await fetch(path, body ? {method: "POST", headers: headers(), body: JSON.stringify(body), signal}
                                        : {headers: headers()});
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Error("The server cannot be reached: is it still running?");
    }
    if (response.ok) return response;
    element("key-form").hidden = response.status !== 401 && element("key-form").hidden;
    const answer = await response.json().catch(() => null);
    throw new Error(answer?.error?.message ?? `The server answered with status ${response.status}`);
  }

  function complain(error) {
    element("problem").hidden = !error;
    element("problem").textContent = error ? error.message : "";
  }

  async function* events(response) {
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let received = "";
    for (;;) {
      const {value, done} = await reader.read();
      if (done) return;
      received += value;
      const frames = received.split("\n\n");
      received = frames.pop();
      for (const frame of frames) {
        const data = frame.slice("data: ".length);
        if (data !== "[DONE]") yield JSON.parse(data);
      }
    }
  }

  // A text shown by its concepts. The pointer or the arrow keys choose one, which is then described.

  class ConceptText {
    constructor(name) {
      this.box = element(name);
      this.detail = element(`${name}-detail`);
      this.box.setAttribute("aria-label", "Text by concepts; arrow keys move from one to the next");
      this.box.addEventListener("keydown", (event) => this.key(event));
      this.box.addEventListener("pointerover", (event) => {
        const span = event.target.closest(".concept");
        if (span) this.choose(this.spans.indexOf(span));
      });
      this.clear("");
    }

    clear(given) {
      this.spans = [];
      this.chosen = -1;
      this.box.replaceChildren();
      if (given) {
        const span = document.createElement("span");
        span.className = "given";
        span.textContent = given;
        this.box.append(span);
      }
      this.box.hidden = this.detail.hidden = false;
      this.detail.textContent = "";
    }

    // Opens a concept and closes the one before it. `prob` is null where it began in the text that was given.
    open(index, prob) {
      this.close();
      const span = document.createElement("span");
      span.className = `concept open hue-${index % HUES}`;
      span.facts = {index, prob, tokens: 0};
      this.spans.push(span);
      this.box.append(span);
    }

    close() {
      this.spans.at(-1)?.classList.remove("open");
    }

    add(text, tokens = 1, place = this.spans.length - 1) {
      const span = this.spans[place];
      span.append(text);
      span.facts.tokens += tokens;
      span.title = this.describe(span);
    }

    plain(text) {
      this.box.append(text);
    }

    describe(span) {
      const {index, prob, tokens} = span.facts;
      const score = prob === null ? "began in the given text" : `boundary score ${prob.toFixed(3)}`;
      return `Concept ${index + 1}: ${score}, ${tokens} token${tokens === 1 ? "" : "s"}`;
    }

    choose(place) {
      if (this.spans.length === 0) return;
      this.spans[this.chosen]?.classList.remove("chosen");
      this.chosen = Math.max(0, Math.min(place, this.spans.length - 1));
      const span = this.spans[this.chosen];
      span.classList.add("chosen");
      this.detail.textContent = this.describe(span);
    }

    key(event) {
      const steps = {ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1};
      if (event.key in steps) this.choose(this.chosen + steps[event.key]);
      else if (event.key === "Home") this.choose(0);
      else if (event.key === "End") this.choose(this.spans.length - 1);
      else return;
      event.preventDefault();
      this.spans[this.chosen]?.scrollIntoView({block: "nearest"});
    }
  }

  // Sliders.

  const ratioOf = (slider) => (Number(slider.value) === 0 ? null : 2 ** (Number(slider.value) / RATIOS_PER_DOUBLING) * 1.5);
  const shown = {
    temperature: (slider) => Number(slider.value).toFixed(2),
    length: (slider) => slider.value,
    "write-ratio": (slider) => ratioOf(slider)?.toFixed(1) ?? "as trained",
    "cut-ratio": (slider) => ratioOf(slider)?.toFixed(1) ?? "as trained",
  };
  for (const [id, text] of Object.entries(shown)) {
    const update = () => {
      element(`${id}-shown`).textContent = text(element(id));
      element(id).setAttribute("aria-valuetext", text(element(id)));
    };
    element(id).addEventListener("input", update);
    update();
  }
  const withRatio = (body, slider) => {
    const ratio = slider.closest("[data-ratio]").hidden ? null : ratioOf(slider);
    return ratio === null ? body : {...body, ratio: Number(ratio.toFixed(2))};
  };

  // Writing.

  const written = new ConceptText("written");
  element("written").hidden = element("written-detail").hidden = true;
  let writing = null;

  class Figures {
    constructor() {
      this.tokens = 0;
      this.concepts = 0;
      element("figures").hidden = false;
      for (const name of ["concepts-rate", "ratio-reached"]) element(name).parentElement.hidden = !hasConcepts;
    }
    add(tokens, concepts) {
      this.begin ??= performance.now();
      this.tokens += tokens;
      this.concepts += concepts;
      // The first token's time is the prompt's.
      const seconds = (performance.now() - this.begin) / 1000;
      const rate = (count) => (seconds > 0 ? (count / seconds).toFixed(1) : "–");
      element("tokens-rate").textContent = rate(this.tokens - 1);
      element("concepts-rate").textContent = rate(this.concepts);
      element("ratio-reached").textContent = this.concepts > 0 ? (this.tokens / this.concepts).toFixed(2) : "–";
      element("tokens-count").textContent = this.tokens;
    }
  }

  // One event of the stream: usually one token. A character whose bytes are spread over tokens comes with the last of
  // them and belongs to the concept of the first.
  function show(choice, state) {
    const concepts = choice.concepts;
    if (!concepts) {
      written.plain(choice.text);
      if (!hasConcepts && choice.text) state.figures.add(1, 0);
      return;
    }
    concepts.concept.forEach((concept, i) => {
      if (concept === null) return;
      const opens = concepts.boundary[i];
      if (opens || written.spans.length === 0) written.open(concept, opens ? concepts.boundary_prob[i] : null);
      written.add("", 1);
      state.figures.add(1, opens ? 1 : 0);
    });
    const characters = Array.from(choice.text);
    if (characters.length === 0) {
      state.waiting ??= written.spans.length - 1;
    } else if (written.spans.length > 0) {
      if (state.waiting !== null) written.add(characters.shift(), 0, state.waiting);
      written.add(characters.join(""), 0);
      state.waiting = null;
    }
  }

  async function write() {
    if (writing) return;
    complain(null);
    writing = new AbortController();
    element("write-button").disabled = true;
    element("stop-button").disabled = false;
    const prompt = element("prompt").value;
    const body = {
      prompt,
      max_tokens: Number(element("length").value),
      temperature: Number(element("temperature").value),
      stream: true,
      return_concepts: hasConcepts,
    };
    const state = {figures: new Figures(), waiting: null};
    written.clear(prompt);
    element("figures").scrollIntoView({block: "nearest"});
    try {
      const response = await ask("v1/completions", withRatio(body, element("write-ratio")), writing.signal);
      for await (const event of events(response)) {
        if (event.error) throw new Error(event.error.message);
        for (const choice of event.choices) show(choice, state);
      }
    } catch (error) {
      if (error.name !== "AbortError") complain(error);
    }
    written.close();
    writing = null;
    element("write-button").disabled = false;
    element("stop-button").disabled = true;
  }
  const stop = () => writing?.abort();

  element("write-form").addEventListener("submit", (event) => { event.preventDefault(); write(); });
  element("stop-button").addEventListener("click", stop);

  // Seeing the concepts of a text.

  const segmented = new ConceptText("segmented");
  element("segmented").hidden = element("segmented-detail").hidden = true;

  async function cut() {
    complain(null);
    const body = withRatio({text: element("source").value}, element("cut-ratio"));
    let answer;
    try {
      answer = await (await ask("segment", body)).json();
    } catch (error) {
      return complain(error);
    }
    segmented.clear("");
    answer.concepts.forEach((concept, index) => {
      segmented.open(index, concept.boundary_prob);
      segmented.add(concept.text, concept.tokens);
    });
    segmented.close();
    element("cut-summary").hidden = false;
    element("cut-summary").textContent =
      `${answer.tokens.length} tokens in ${answer.concepts.length} concepts: ` +
      `${answer.tokens_per_concept.toFixed(2)} tokens per concept at threshold ${answer.threshold.toFixed(3)}`;
  }
  element("cut-form").addEventListener("submit", (event) => { event.preventDefault(); cut(); });

  // Tabs and keys.

  const tabs = [...document.querySelectorAll("[role=tab]")];
  function select(tab) {
    for (const other of tabs) {
      const chosen = other === tab;
      other.setAttribute("aria-selected", chosen);
      other.tabIndex = chosen ? 0 : -1;
      element(other.getAttribute("aria-controls")).hidden = !chosen;
    }
    tab.focus();
  }
  tabs.forEach((tab, i) => {
    tab.addEventListener("click", () => select(tab));
    tab.addEventListener("keydown", (event) => {
      if (event.key === "ArrowRight" || event.key === "ArrowLeft") select(tabs[(i + 1) % tabs.length]);
    });
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") stop();
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      if (element("write").hidden) cut(); else write();
    }
  });

  // The model.

  async function meet() {
    try {
      const model = (await (await ask("v1/models")).json()).data[0];
      hasConcepts = model.concepts;
      const trained = model.ratio === null ? "" : `, trained for ${model.ratio} tokens per concept`;
      element("model").textContent = hasConcepts ? `${model.id}${trained}` : `${model.id}, a model without concepts`;
      for (const control of document.querySelectorAll("[data-ratio]")) control.hidden = !model.ratio_adjustable;
      element("cut-tab").hidden = !hasConcepts;
      element("key-form").hidden = true;
      complain(null);
    } catch (error) {
      element("model").textContent = "";
      complain(error);
    }
  }
  element("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    sessionStorage.setItem(KEY, element("key").value);
    meet();
  });
  meet();
})();
