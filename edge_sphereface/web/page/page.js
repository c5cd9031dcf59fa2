// Which cameras there are, what is wrong and what happened; one camera is always shown large, several as a grid.
import { $, ask, ended, make, pause, say } from "./tools.js";
import { arrange, focusTile, keepTilesNew, showTiles, words } from "./grid.js";
import { offerCapture } from "./capture.js";
import { hide, show, tellAbsence } from "./large.js";
import { loadPeople, markPeople, tellHint } from "./people.js";
import { loadStrangers } from "./strangers.js";

const MOST_EVENTS = 30;
let cameras = [];
let large = null;
let newest = 0;
let keepsStrangers = false;

const several = () => cameras.length !== 1;
const wanted = () => decodeURIComponent(location.hash.slice(1));

function choose() {
  const name = several() ? wanted() : cameras[0].name;
  const next = cameras.some((camera) => camera.name === name) ? name : null;
  $("view").hidden = next === null;
  $("grid").hidden = next !== null || !cameras.length;
  $("nothing").hidden = cameras.length > 0;
  $("back").hidden = next === null || !several();
  if (next !== large) {
    const before = large;
    large = next;
    if (next === null) hide();
    else show(next);
    if (next === null && before !== null) focusTile(before);
    else if (next !== null && several()) $("back").focus();
  }
  offerCapture(large);
  tellHint();
  const title = large ?? (cameras.length ? `${cameras.length} cameras` : "no cameras");
  say("stream", title);
  if (document.title !== title) document.title = title;
}

function tellWrong(problems) {
  const down = cameras.filter((camera) => !camera.healthy && camera.state !== "starting");
  const wrong = [
    ...down.map((camera) => `${camera.name}: ${ended(words(camera) || "no picture")}`),
    ...problems.map(ended),
  ];
  $("wrong").hidden = !wrong.length;
  const list = $("problems");
  if (list.textContent !== wrong.join("")) list.replaceChildren(...wrong.map((text) => make("li", "", text)));
  if (large !== null) return;
  const isWell = !down.length && cameras.length > 0;
  $("dot").className = `dot ${isWell ? "up" : "down"}`;
  say("state", !cameras.length ? "" : down.length ? `${down.length} of ${cameras.length} without a picture` : "");
}

function tellRecent(recent) {
  for (const event of recent.filter(({ number }) => number > newest)) {
    newest = event.number;
    const item = make("li", event.name === null ? "unknown" : "identified");
    const time = make("time", "", new Date(event.unix_time * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" }));
    item.append(time, ` ${event.name ?? "somebody unknown"}`, several() ? `, ${event.camera}` : "");
    $("recent").prepend(item);
  }
  while ($("recent").children.length > MOST_EVENTS) $("recent").lastChild.remove();
  $("happened").hidden = !$("recent").children.length;
}

async function keepStateNew() {
  for (;;) {
    try {
      const state = await (await ask("api/state")).json();
      cameras = state.cameras;
      showTiles(several() ? cameras : [], (name) => (location.hash = encodeURIComponent(name)));
      choose();
      tellWrong(state.problems);
      tellRecent(state.recent);
      if (state.keeps_strangers && !keepsStrangers) loadStrangers().catch(() => {});
      keepsStrangers = state.keeps_strangers;
      if (large === null) markPeople(cameras.flatMap(({ names }) => names));
    } catch (error) {
      tellAbsence(error.status ? error.message : "the program does not answer");
    }
    await pause(document.hidden ? 5000 : 1000);
  }
}

function onKey(event) {
  if (large === null || !several() || document.querySelector("dialog[open]") || event.target.matches("input")) return;
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  const at = cameras.findIndex(({ name }) => name === large);
  if (event.key === "Escape") location.hash = "";
  else if (step) location.hash = encodeURIComponent(cameras.at((at + step) % cameras.length).name);
}

$("back").addEventListener("click", () => (location.hash = ""));
addEventListener("hashchange", () => cameras.length && choose());
addEventListener("keydown", onKey);
new ResizeObserver(arrange).observe($("cameras"));
setInterval(() => document.hidden || loadPeople().catch(() => {}), 5000);
setInterval(() => document.hidden || !keepsStrangers || loadStrangers().catch(() => {}), 5000);
loadPeople().catch(() => {});
keepStateNew();
keepTilesNew(() => large === null);
