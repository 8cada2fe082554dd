// The browser of test instances. Texts of models reach the page as text nodes only: nothing here parses markup.
"use strict";
(() => {
  const { tasks, arms, instances } = JSON.parse(document.getElementById("instances").textContent);
  const byId = (id) => document.getElementById(id);
  const controls = Object.fromEntries(["task", "language", "query", "order", "arm", "marks"].map((id) => [id, byId(id)]));
  const list = byId("list");
  const hidden = new Set();
  const haystacks = new Map();
  let shown = [];
  let current = 0;

  function make(tag, properties = {}, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(properties)) {
      if (name === "class") node.className = value;
      else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
    }
    node.append(...children.filter((child) => child !== null));
    return node;
  }

  // --- filters ---

  function fold(text) {
    return text.normalize("NFC").toLocaleLowerCase();
  }

  function haystack(instance) {
    if (!haystacks.has(instance)) {
      const texts = [instance.id, instance.input, ...instance.references, ...instance.outputs.map((output) => output[1])];
      haystacks.set(instance, fold(texts.join("\n")));
    }
    return haystacks.get(instance);
  }

  function outputOf(instance, arm) {
    return instance.outputs.find((output) => output[0] === arm);
  }

  function scoreOf(instance, arm) {
    const output = outputOf(instance, arm);
    return output === undefined ? null : output[2];
  }

  function select() {
    const arm = Number(controls.arm.value);
    const query = fold(controls.query.value.trim());
    shown = instances.filter((instance) => {
      const task = tasks[instance.task];
      return (controls.task.value === "" || controls.task.value === task.name)
        && (controls.language.value === "" || controls.language.value === task.language)
        && (query === "" || haystack(instance).includes(query));
    });
    if (controls.order.value !== "file") {
      const sign = controls.order.value === "worst" ? 1 : -1;
      // Without an output of this arm there is nothing to order by: last either way.
      const key = (instance) => { const score = scoreOf(instance, arm); return score === null ? Infinity : sign * score; };
      const keys = new Map(shown.map((instance) => [instance, key(instance)]));
      shown.sort((a, b) => (keys.get(a) === keys.get(b) ? 0 : keys.get(a) - keys.get(b)));
    }
  }

  function refresh() {
    select();
    const count = `${shown.length} of ${instances.length} instances`;
    byId("count").textContent = shown.length ? count : `${count}: nothing matches these filters`;
    const arm = Number(controls.arm.value);
    list.replaceChildren(...shown.map((instance, place) => option(instance, place, arm)));
    go(0, false);
  }

  function option(instance, place, arm) {
    const task = tasks[instance.task];
    const snippet = instance.input.slice(0, 120).replace(/\s+/g, " ");
    return make("li", { id: `option-${place}`, role: "option", "aria-selected": "false" },
      make("span", { class: "snippet", lang: task.inputCode, dir: task.inputDir }, snippet || "(empty input)"),
      make("span", { class: "task" }, nameOf(instance)),
      score(scoreOf(instance, arm)));
  }

  function nameOf(instance) {
    const task = tasks[instance.task].name;
    return instance.id.startsWith(task) ? instance.id : `${task} · ${instance.id}`;
  }

  function score(value) {
    if (value === null) return make("span", { class: "score" }, "–");
    return make("span", { class: "score" }, value.toFixed(1), make("meter", { min: 0, max: 100, value, "aria-hidden": "true" }));
  }

  // --- one instance ---

  function go(place, scroll = true) {
    const before = list.children[current];
    if (before) before.setAttribute("aria-selected", "false");
    current = Math.max(0, Math.min(place, shown.length - 1));
    const option = list.children[current];
    if (option) {
      option.setAttribute("aria-selected", "true");
      list.setAttribute("aria-activedescendant", option.id);
      reveal(option);
    } else {
      list.removeAttribute("aria-activedescendant");
    }
    byId("previous").disabled = current === 0;
    byId("next").disabled = current >= shown.length - 1;
    show(shown[current]);
    if (scroll) {
      const box = byId("detail").getBoundingClientRect();
      if (box.top > innerHeight * 0.8 || box.top < -box.height / 2) byId("detail").scrollIntoView({ block: "start" });
    }
  }

  // scrollIntoView would move the page too.
  function reveal(option) {
    const top = option.offsetTop - list.offsetTop;
    if (top < list.scrollTop) list.scrollTop = top;
    else if (top + option.offsetHeight > list.scrollTop + list.clientHeight) list.scrollTop = top + option.offsetHeight - list.clientHeight;
  }

  function show(instance) {
    const given = byId("given"), outputs = byId("outputs");
    byId("detail-title").textContent = instance ? nameOf(instance) : "Nothing to show";
    given.replaceChildren();
    outputs.replaceChildren();
    if (!instance) return;
    const task = tasks[instance.task];
    given.append(
      make("div", {}, make("p", { class: "label" }, "input"), text(instance.input, task.inputCode, task.inputDir)),
      make("div", {}, make("p", { class: "label" }, instance.references.length > 1 ? "references" : "reference"),
        ...instance.references.map((one) => make("div", { class: "reference" }, text(one, task.code, task.dir)))));
    const known = controls.marks.checked ? new Set(instance.references.flatMap((one) => words(one, task.code).map(fold))) : null;
    arms.forEach((arm, number) => { if (!hidden.has(number)) outputs.append(card(instance, task, arm, number, known)); });
  }

  function text(content, lang, dir, known = null) {
    if (content.trim() === "") return make("p", { class: "nothing" }, "(empty)");
    const node = make("p", { class: "text", lang, dir });
    if (known === null) node.append(content);
    else node.append(...marked(content, lang, known));
    return node;
  }

  function card(instance, task, arm, number, known) {
    const output = outputOf(instance, number);
    const kinds = ["output", arm.baseline ? "baseline" : "", number === Number(controls.arm.value) ? "chosen" : ""];
    return make("section", { class: kinds.join(" ").trim(), "aria-label": arm.label },
      make("header", {}, make("h4", {}, arm.label), output ? score(output[2]) : null),
      output ? text(output[1], task.code, task.dir, known) : make("p", { class: "nothing" }, arm.why || "no output for this instance"));
  }

  function segments(content, lang) {
    try {
      return [...new Intl.Segmenter(lang === "und" ? undefined : lang, { granularity: "word" }).segment(content)];
    } catch {
      return content.split(/([^\p{L}\p{M}\p{N}]+)/u).map((segment, place) => ({ segment, isWordLike: place % 2 === 0 && segment !== "" }));
    }
  }

  function words(content, lang) {
    return segments(content, lang).filter((one) => one.isWordLike).map((one) => one.segment);
  }

  function marked(content, lang, known) {
    const nodes = [];
    let plain = "";
    for (const { segment, isWordLike } of segments(content, lang)) {
      if (isWordLike && known.has(fold(segment))) {
        nodes.push(plain, make("mark", {}, segment));
        plain = "";
      } else {
        plain += segment;
      }
    }
    return [...nodes, plain];
  }

  // --- controls ---

  function fill(select, entries) {
    select.append(...entries.map(([value, label]) => make("option", { value }, label)));
  }

  function setUp() {
    fill(controls.task, [["", "all tasks"], ...tasks.map((task) => [task.name, task.name])]);
    fill(controls.language, [["", "all languages"], ...[...new Set(tasks.map((task) => task.language))].map((one) => [one, one])]);
    const written = new Set(instances.flatMap((instance) => instance.outputs.map((output) => output[0])));
    fill(controls.arm, arms.map((arm, number) => [number, arm.label]).filter(([number]) => written.has(number)));
    arms.forEach((arm, number) => {
      const box = make("input", { type: "checkbox", checked: true });
      box.addEventListener("change", () => {
        if (box.checked) hidden.delete(number);
        else hidden.add(number);
        countLines();
        show(shown[current]);
      });
      byId("arms").append(make("label", {}, box, arm.label));
    });
    countLines();
    for (const id of ["task", "language", "order", "arm"]) controls[id].addEventListener("change", refresh);
    controls.query.addEventListener("input", refresh);
    controls.marks.addEventListener("change", () => show(shown[current]));
    byId("filters").addEventListener("submit", (event) => event.preventDefault());
    byId("previous").addEventListener("click", () => go(current - 1));
    byId("next").addEventListener("click", () => go(current + 1));
    list.addEventListener("click", (event) => {
      const option = event.target.closest("[role=option]");
      if (option) go([...list.children].indexOf(option));
    });
    list.addEventListener("keydown", moveInList);
    document.addEventListener("keydown", moveAnywhere);
  }

  function countLines() {
    byId("chosen").textContent = hidden.size ? `${arms.length - hidden.size} of ${arms.length}` : `all ${arms.length}`;
  }

  function moveInList(event) {
    const places = { ArrowDown: current + 1, ArrowUp: current - 1, Home: 0, End: shown.length - 1, PageDown: current + 8, PageUp: current - 8 };
    if (!(event.key in places) || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    go(places[event.key], false);
  }

  function moveAnywhere(event) {
    const typing = event.target.closest("input[type=search], select, textarea");
    if (typing || event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key === "j") go(current + 1);
    else if (event.key === "k") go(current - 1);
    else if (event.key === "/") { event.preventDefault(); controls.query.focus(); }
  }

  setUp();
  refresh();
})();
