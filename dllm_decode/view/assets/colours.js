"use strict";
/* Colours that colour-blind people can tell apart: viridis and cividis for what has an order, Okabe and Ito's for what has
   none. The ink on a colour is black or white, whichever stands out more. */
const VIRIDIS = ["#440154", "#472d7b", "#3b528b", "#2c728e", "#21918c", "#28ae80", "#5ec962", "#addc30", "#fde725"];
const CIVIDIS = ["#00224e", "#123570", "#3b496c", "#575d6d", "#707173", "#8a8678", "#a59c74", "#c3b369", "#e1cc55", "#fee838"];
const OKABE_ITO = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#999999"];
const KNOWN_STAGES = { scaffold: 0, easy: 1, hard: 2, all: 4, stop: 7, revise: 3 };

const channels = (colour) => [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));

function between(scale, share) {
  const at = Math.min(Math.max(share, 0), 1) * (scale.length - 1), low = Math.min(Math.floor(at), scale.length - 2);
  const [a, b] = [channels(scale[low]), channels(scale[low + 1])];
  return "#" + a.map((c, i) => Math.round(c + (b[i] - c) * (at - low)).toString(16).padStart(2, "0")).join("");
}

function inkOn(colour) {
  const linear = channels(colour).map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
  const luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
  return (luminance + 0.05) / 0.05 > 1.05 / (luminance + 0.05) ? "#000000" : "#ffffff";
}

const stageColour = (name, stages) => OKABE_ITO[(KNOWN_STAGES[name] ?? 5 + stages.indexOf(name)) % OKABE_ITO.length];
const blockColour = (block) => OKABE_ITO[block % OKABE_ITO.length];
const gradient = (scale) => `linear-gradient(to right, ${scale.join(", ")})`;
