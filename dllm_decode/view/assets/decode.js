"use strict";
/* One row's decode as it stood after any number of forwards. Steps are applied, and undone, one by one: nothing is copied
   whole, so that going on costs what changed. Knows nothing of the page. */
class Decode {
  constructor(story, row) {
    this.story = story;
    this.row = story.rows[row];
    const size = this.row.start.length, mask = story.mask;
    this.size = size;
    this.token = Int32Array.from(this.row.start);
    this.given = this.row.start.map((token) => token !== mask);
    // What happened last at each position: the number of a step, or -1.
    this.by = new Int32Array(size).fill(-1);
    this.score = new Float32Array(size).fill(NaN);
    this.proposal = new Int32Array(size).fill(-1);
    this.proposalScore = new Float32Array(size).fill(NaN);
    this.proposalBy = new Int32Array(size).fill(-1);
    this.steps = this.row.steps.map(([call, block, stage, kind, step, written, proposed]) => (
      { call, block, stage: story.stages[stage], kind: story.kinds[kind], step, written, proposed, undo: null, drops: new Set() }));
    this.done = 0;
    this.call = 0;
    this.decided = this.given.filter(Boolean).length;
  }

  get last() { return this.row.calls; }

  /* Go to the state after so many calls of the model; return the positions that may look different. */
  go(call) {
    const touched = new Set();
    const mark = (step) => {
      for (let i = 0; i < step.written.length; i += 3) touched.add(step.written[i]);
      for (let i = 0; i < step.proposed.length; i += 3) touched.add(step.proposed[i]);
    };
    const leaving = this.current();
    while (this.done < this.steps.length && this.steps[this.done].call <= call) {
      this.apply(this.done); mark(this.steps[this.done]); this.done += 1;
    }
    while (this.done > 0 && this.steps[this.done - 1].call > call) {
      this.done -= 1; this.undo(this.done); mark(this.steps[this.done]);
    }
    this.call = Math.min(call, this.last);
    for (const step of leaving) mark(step);
    for (const step of this.current()) mark(step);
    return touched;
  }

  /* The steps of the forward that was gone to last. */
  current() {
    const found = [];
    for (let n = this.done - 1; n >= 0 && this.steps[n].call === this.call; n -= 1) found.push(this.steps[n]);
    return found.reverse();
  }

  apply(number) {
    const step = this.steps[number], undo = [];
    const keep = (p) => undo.push([p, this.token[p], this.by[p], this.score[p], this.proposal[p],
      this.proposalScore[p], this.proposalBy[p]]);
    for (let i = 0; i < step.proposed.length; i += 3) {
      const p = step.proposed[i];
      keep(p);
      if (this.proposal[p] >= 0) step.drops.add(p);
      this.proposal[p] = step.proposed[i + 1];
      this.proposalScore[p] = step.proposed[i + 2] ?? NaN;
      this.proposalBy[p] = number;
    }
    for (let i = 0; i < step.written.length; i += 3) {
      const p = step.written[i];
      keep(p);
      this.count(p, step.written[i + 1]);
      this.by[p] = number;
      this.score[p] = step.written[i + 2] ?? NaN;
      this.proposal[p] = -1;
      this.proposalBy[p] = -1;
    }
    step.undo = undo;
  }

  undo(number) {
    const undo = this.steps[number].undo;
    for (let i = undo.length - 1; i >= 0; i -= 1) {
      const [p, token, by, score, proposal, proposalScore, proposalBy] = undo[i];
      this.count(p, token);
      this.by[p] = by; this.score[p] = score;
      this.proposal[p] = proposal; this.proposalScore[p] = proposalScore; this.proposalBy[p] = proposalBy;
    }
    this.steps[number].undo = null;
    this.steps[number].drops.clear();
  }

  count(p, token) {
    const mask = this.story.mask;
    this.decided += Number(token !== mask) - Number(this.token[p] !== mask);
    this.token[p] = token;
  }

  isOpen(p) { return this.token[p] === this.story.mask; }

  /* Was there another proposal at this position when the current one was made? */
  dropped(p) { return this.proposalBy[p] >= 0 && this.steps[this.proposalBy[p]].drops.has(p); }

  /* How much the current forward did, by kind. */
  counts() {
    const found = { committed: 0, filled: 0, reopened: 0, edited: 0, proposed: 0, dropped: 0 };
    for (const step of this.current()) {
      found[step.kind] += step.written.length / 3;
      found.proposed += step.proposed.length / 3;
      found.dropped += step.drops.size;
    }
    return found;
  }
}
