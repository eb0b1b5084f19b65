"use strict";
/* The page: the slider, the keys, the clock and what they do to every panel at once. */
const page = {
  call: 0, last: 0, row: 0, colour: "step", proposals: true, stages: [], panels: [], timer: null,
  data: JSON.parse(document.getElementById("data").textContent),
  part(id) { return document.getElementById(id); },

  begin() {
    const { decodes } = this.data, rows = decodes[0].rows;
    this.stages = [...new Set(decodes.flatMap((one) => one.stages))];
    this.panels = decodes.map((story, number) => new Panel(story, number, this));
    this.part("panels").append(...this.panels.map((panel) => panel.element));
    this.part("row-label").hidden = rows.length < 2;
    rows.forEach((row, number) => {
      const option = make("option", "", `${number + 1}: ${row.prompt.slice(0, 40)}`);
      option.value = number;
      this.part("row").append(option);
    });
    this.listen();
    this.show(0);
  },

  show(row) {
    this.stop();
    this.row = row;
    this.part("prompt").replaceChildren(make("b", "", "Prompt: "), this.data.decodes[0].rows[row].prompt);
    this.call = 0;
    this.last = Math.max(...this.data.decodes.map((story) => story.rows[row].calls));
    this.part("slider").max = this.last;
    this.panels.forEach((panel) => panel.show(row));
    this.legend();
    this.go(this.last);
  },

  go(call) {
    this.call = Math.min(Math.max(call, 0), this.last);
    this.part("slider").value = this.call;
    this.part("where").textContent = `forward ${this.call} of ${this.last}`;
    this.part("slider").setAttribute("aria-valuetext", `forward ${this.call} of ${this.last}`);
    this.panels.forEach((panel) => panel.go(this.call));
    if (this.timer === null) this.say();
  },

  /* Told to screen readers when something was gone to, and when playing ends; not sixty times a second. */
  say() {
    const each = this.panels.map((panel) => `${panel.story.name}: ${panel.decidedText}, ${panel.countsText}`);
    this.part("live").textContent = `Forward ${this.call} of ${this.last}. ${each.join(". ")}.`;
  },

  tell(text) { this.part("told").textContent = text; },

  redraw() {
    this.panels.forEach((panel) => panel.tokens.forEach((_, p) => panel.draw(p)));
    this.legend();
  },

  play() {
    if (this.timer !== null) { this.stop(); return; }
    if (this.call >= this.last) this.go(0);
    this.part("play").textContent = "Pause";
    let begun = performance.now(), first = this.call;
    const tick = (now) => {
      const speed = Number(this.part("speed").value), to = first + Math.floor(Math.max(now - begun, 0) / 1000 * speed);
      if (speed !== this.speed) { this.speed = speed; begun = now; first = this.call; }
      else if (to > this.call) this.go(to);
      if (this.call >= this.last) { this.stop(); return; }
      this.timer = requestAnimationFrame(tick);
    };
    this.speed = Number(this.part("speed").value);
    this.timer = requestAnimationFrame(tick);
  },

  stop() {
    if (this.timer === null) return;
    cancelAnimationFrame(this.timer);
    this.timer = null;
    this.part("play").textContent = "Play";
    this.say();
  },

  legend() {
    const swatch = (colour, text) => {
      const item = make("span"), box = make("i", "swatch");
      box.style.background = colour;
      item.append(box, text);
      return item;
    };
    const scale = (colours, low, high) => {
      const item = make("span"), box = make("i", "scale");
      box.style.background = gradient(colours);
      item.append(low, box, high);
      return item;
    };
    const items = [];
    if (this.colour === "stage") this.stages.forEach((name) => items.push(swatch(stageColour(name, this.stages), name)));
    if (this.colour === "step") items.push(scale(VIRIDIS, "forward 1", String(Math.max(this.last, 1))));
    if (this.colour === "confidence") {
      const own = this.panels.map((panel) => `${+panel.low.toFixed(2)} to ${+panel.high.toFixed(2)}`);
      items.push(scale(CIVIDIS, "least sure", `surest (${[...new Set(own)].join("; ")})`));
    }
    if (this.colour === "block") {
      const blocks = Math.max(...this.panels.flatMap((panel) => panel.decode.steps.map((step) => step.block)), 0) + 1;
      for (let n = 0; n < Math.min(blocks, 8); n += 1) items.push(swatch(blockColour(n), `block ${n + 1}`));
      if (blocks > 8) items.push(make("span", "", `and again, to block ${blocks}`));
    }
    this.part("legend").replaceChildren(...items);
  },

  listen() {
    this.part("play").addEventListener("click", () => this.play());
    this.part("slider").addEventListener("input", (event) => { this.stop(); this.go(Number(event.target.value)); });
    this.part("row").addEventListener("change", (event) => this.show(Number(event.target.value)));
    this.part("colour").addEventListener("change", (event) => { this.colour = event.target.value; this.redraw(); });
    this.part("proposals").addEventListener("change", (event) => { this.proposals = event.target.checked; this.redraw(); });
    document.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const busy = event.target.closest("select, summary, pre");
      const moves = { ",": this.call - 1, ".": this.call + 1 };
      if (!busy) Object.assign(moves, { ArrowLeft: this.call - 1, ArrowRight: this.call + 1, Home: 0, End: this.last });
      if (event.key === " " && !event.target.closest("select, summary, button, input[type=checkbox]")) {
        event.preventDefault();
        this.play();
      } else if (moves[event.key] !== undefined) {
        event.preventDefault();
        this.stop();
        this.go(moves[event.key]);
      }
    });
  },
};
page.begin();
