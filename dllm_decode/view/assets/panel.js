"use strict";
/* One decode on the page: its answer as positions, and the lines under it. */
const READABLE = { "\n": "⏎", "\r": "␍", "\t": "⇥" };
const make = (name, className, text) => {
  const element = document.createElement(name);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
};
const columns = (text) => [...text].reduce((sum, letter) => sum + (letter.codePointAt(0) > 0x1100 ? 2 : 1), 0);
const plural = (count, one) => `${count} ${one}${count === 1 ? "" : "s"}`;
const scoreText = (score) => (Number.isNaN(score) ? "no score" : `score ${Number(score.toFixed(4))}`);

class Panel {
  constructor(story, number, page) {
    this.story = story; this.number = number; this.page = page;
    this.element = make("section", "panel");
    const heading = make("h2", "", `${story.name} `);
    heading.id = `name-${number}`;
    this.element.setAttribute("aria-labelledby", heading.id);
    this.answer = make("div", "answer");
    this.answer.tabIndex = 0;
    this.answer.setAttribute("role", "listbox");
    this.answer.setAttribute("aria-label", `Answer of ${story.name}, position by position`);
    this.summary = make("p", "summary");
    this.counts = make("p", "counts");
    const details = make("details"), yaml = make("pre", "", story.yaml);
    yaml.tabIndex = 0;
    details.append(make("summary", "", `Strategy ${story.digest}`), yaml);
    this.element.append(heading, this.answer, this.summary, this.counts, details);
    this.listen();
  }

  show(row) {
    this.decode = new Decode(this.story, row);
    this.active = -1;
    this.answer.removeAttribute("aria-activedescendant");
    this.range();
    const finals = this.finals();
    this.tokens = finals.map(({ width, breaks }, p) => {
      const token = make("span", "token");
      token.id = `t-${this.number}-${p}`;
      token.dataset.p = p;
      token.setAttribute("role", "option");
      token.style.setProperty("--w", `${width}ch`);
      token.after_ = breaks;
      return token;
    });
    this.answer.replaceChildren(...this.tokens.flatMap((token) => (token.after_ ? [token, make("br")] : [token])));
    for (let p = 0; p < this.tokens.length; p += 1) this.draw(p);
  }

  /* Each position's width in letters, and whether a line ends there, over all that is ever committed to it. */
  finals() {
    const widths = this.decode.row.start.map((token) => columns(this.text(token)));
    const last = this.decode.row.start.slice();
    for (const step of this.decode.steps) {
      for (let i = 0; i < step.written.length; i += 3) {
        const [p, token] = [step.written[i], step.written[i + 1]];
        widths[p] = Math.max(widths[p], columns(this.text(token)));
        last[p] = token;
      }
    }
    return widths.map((width, p) => ({ width: Math.min(Math.max(width, 1), 24), breaks: this.raw(last[p]).includes("\n") }));
  }

  /* Scores are not always probabilities: the scale runs from the least to the greatest where they leave 0 to 1. */
  range() {
    let [low, high] = [0, 1];
    for (const step of this.decode.steps) {
      for (let i = 2; i < step.written.length; i += 3) {
        const score = step.written[i];
        if (score !== null) { low = Math.min(low, score); high = Math.max(high, score); }
      }
    }
    this.low = low; this.high = high;
  }

  raw(token) { return this.story.texts[token] ?? ` ${token}`; }

  text(token) {
    if (token === this.story.mask) return "·";
    if (this.story.ends.includes(token)) return "▫";
    return [...this.raw(token)].map((letter) => READABLE[letter] ?? letter).join("") || "▫";
  }

  go(call) {
    for (const p of this.decode.go(call)) this.draw(p);
    const { decode, story } = this, found = decode.counts();
    const open = decode.given.filter((given) => !given).length, given = decode.size - open;
    this.decidedText = `${decode.decided - given} of ${open} decided`;
    this.summary.textContent = `${this.decidedText} · ${plural(decode.row.forwards, "forward pass").replace("passs", "passes")}`
      + ` · ${plural(story.calls, "model call")} · ${story.seconds.toFixed(2)} s`
      + (story.rows.length > 1 ? ` for ${story.rows.length} prompts` : "");
    const words = { ...Object.fromEntries(story.kinds.map((kind) => [kind, kind])), proposed: "newly proposed", dropped: "dropped" };
    const told = Object.entries(found).filter(([, count]) => count).map(([kind, count]) => `${count} ${words[kind]}`);
    const done = decode.call >= decode.last && this.page.call > decode.last ? "finished before" : "nothing new";
    const now = this.page.call <= decode.last && told.length ? told.join(", ") : done;
    this.countsText = this.page.call === 0 ? "not begun" : now;
    this.counts.textContent = `This forward: ${this.countsText}`;
  }

  draw(p) {
    const { decode } = this, token = this.tokens[p], open = decode.isOpen(p);
    const step = decode.by[p] < 0 ? null : decode.steps[decode.by[p]];
    const fresh = step !== null && step.call === decode.call && this.page.call <= decode.last;
    const proposed = open && decode.proposal[p] >= 0 && this.page.proposals;
    const names = ["token", open ? "open" : "decided"];
    if (!open && decode.given[p] && !step) names.push("given");
    if (fresh) names.push("fresh", step.kind);
    if (proposed) {
      names.push("proposed");
      if (decode.steps[decode.proposalBy[p]].call === decode.call && decode.dropped(p)) names.push("dropped");
    }
    if (p === this.active) names.push("active");
    const name = names.join(" "), text = this.text(proposed ? decode.proposal[p] : decode.token[p]);
    if (token.className !== name) token.className = name;
    if (token.firstChild?.data !== text) token.textContent = text;
    const colour = open || !step ? "" : this.colour(step, decode.score[p]);
    token.style.backgroundColor = colour;
    token.style.color = colour ? inkOn(colour) : "";
  }

  colour(step, score) {
    const by = this.page.colour;
    if (by === "stage") return stageColour(step.stage, this.page.stages);
    if (by === "block") return blockColour(step.block);
    if (by === "step") return between(VIRIDIS, this.page.last > 1 ? (step.call - 1) / (this.page.last - 1) : 0);
    return Number.isNaN(score) ? "" : between(CIVIDIS, (score - this.low) / (this.high - this.low));
  }

  /* What there is to say of a position. */
  tell(p) {
    const { decode } = this, place = `${this.story.name}, position ${p + 1} of ${decode.size}`;
    const number = decode.by[p], step = number < 0 ? null : decode.steps[number];
    const how = (one, score) => `forward ${one.call}, block ${one.block + 1}, stage ${one.stage}, step ${one.step + 1}, ${scoreText(score)}`;
    const parts = [];
    if (!step) parts.push(decode.given[p] ? "given" : "undecided");
    else parts.push(`“${this.text(decode.token[p])}” ${step.kind} at ${how(step, decode.score[p])}`);
    if (decode.isOpen(p) && decode.proposal[p] >= 0) {
      const by = decode.steps[decode.proposalBy[p]];
      parts.push(`“${this.text(decode.proposal[p])}” proposed since ${how(by, decode.proposalScore[p])}`);
    }
    return `${place}: ${parts.join("; ")}`;
  }

  activate(p) {
    const before = this.active;
    this.active = p;
    if (before >= 0) this.draw(before);
    if (p < 0) { this.answer.removeAttribute("aria-activedescendant"); return; }
    this.draw(p);
    const token = this.tokens[p];
    token.setAttribute("aria-label", this.tell(p));
    this.answer.setAttribute("aria-activedescendant", token.id);
    token.scrollIntoView({ block: "nearest" });
    this.page.tell(this.tell(p));
  }

  listen() {
    this.answer.addEventListener("pointerover", (event) => {
      if (event.target.dataset.p !== undefined) this.page.tell(this.tell(Number(event.target.dataset.p)));
    });
    this.answer.addEventListener("click", (event) => {
      if (event.target.dataset.p !== undefined) this.activate(Number(event.target.dataset.p));
    });
    this.answer.addEventListener("blur", () => this.activate(-1));
    this.answer.addEventListener("keydown", (event) => {
      const at = this.active, end = this.decode.size - 1;
      const to = { ArrowRight: at + 1, ArrowLeft: at - 1, ArrowDown: at + 10, ArrowUp: at - 10, Home: 0, End: end }[event.key];
      if (to === undefined) return;
      event.preventDefault(); event.stopPropagation();
      this.activate(Math.min(Math.max(to, 0), end));
    });
  }
}
