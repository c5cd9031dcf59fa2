// Guided capture: five poses before a camera, taken by themselves when they are good enough, and enrolled after a look.
import { $, ask, make, pause, say } from "./tools.js";
import { hasGallery, loadPeople, tell } from "./people.js";

const EVERY_MS = 250;
// Poses are named by sides of the picture, words by sides of the person.
const NAMES = { frontal: "front", left: "right", right: "left", up: "up", down: "down" };
const TURN = {
  frontal: "Look straight into the camera",
  left: "Turn your head to your right",
  right: "Turn your head to your left",
  up: "Raise your chin",
  down: "Lower your chin",
};
const ASKS = { turn: (pose) => pose, more: (pose) => `${pose}, a little more` };
const HINTS = {
  nobody: "Step in front of the camera",
  several: "Only one person, please",
  closer: "Come closer",
  less: "A little less far",
  still: "Hold still",
  "other-person": "This is somebody else than before",
  taken: "Thank you",
};
let running = null;
let asking = Promise.resolve();

// How far it is. Whoever ends it waits for the answer first: the question would come too late.
async function askState(id) {
  asking = ask(`api/capture?${new URLSearchParams({ id })}`);
  return (await asking).json();
}

export function offerCapture(camera) {
  if (running && running.camera !== camera) cancel();
  $("guide-begin").hidden = camera === null || !hasGallery() || running !== null;
  $("guide-begin").onclick = () => begin(camera);
}

async function begin(camera) {
  $("guide-begin").hidden = true;
  try {
    const state = await (await ask(`api/capture?${new URLSearchParams({ camera })}`, {})).json();
    running = { camera, id: state.id };
    $("guide-poses").replaceChildren(...state.poses.map((pose) => {
      const slot = make("li", "", NAMES[pose]);
      slot.dataset.pose = pose;
      return slot;
    }));
    $("guide").hidden = false;
    $("guide-cancel").focus();
    await follow(state);
  } catch (error) {
    stop();
    tell(error.message);
  }
}

async function follow(state) {
  const { id } = running;
  while (running?.id === id) {
    showState(state);
    if (state.wanted === null) return review(state);
    await pause(EVERY_MS);
    if (running?.id === id) state = await askState(id);
  }
}

const crop = (pose) => `api/capture/crop?${new URLSearchParams({ id: running.id, pose })}`;

function pictureOf(pose) {
  const image = make("img");
  image.alt = `picture: ${NAMES[pose]}`;
  image.src = crop(pose);
  return image;
}

function showState({ taken, wanted, hint }) {
  say("guide-hint", wanted === null ? "All pictures are taken" : ASKS[hint]?.(TURN[wanted]) ?? HINTS[hint]);
  for (const slot of $("guide-poses").children) {
    const isTaken = taken.includes(slot.dataset.pose);
    slot.className = isTaken ? "taken" : slot.dataset.pose === wanted ? "wanted" : "";
    if (isTaken && !slot.querySelector("img")) slot.replaceChildren(pictureOf(slot.dataset.pose));
  }
}

async function review({ poses }) {
  $("review-crops").replaceChildren(...poses.map((pose) => {
    const item = make("li");
    item.append(pictureOf(pose));
    return item;
  }));
  $("review-name").value = "";
  $("review-problem").textContent = "";
  $("review").showModal();
  $("review-name").focus();
  const { id } = running;
  while (running?.id === id) {
    await pause(2000); // a capture that nobody asks for is dropped
    if (running?.id === id && !$("review-save").disabled) await askState(id);
  }
}

function stop() {
  running = null;
  $("guide").hidden = true;
  $("guide-poses").replaceChildren();
  $("review-crops").replaceChildren();
  if ($("review").open) $("review").close();
  $("guide-begin").hidden = !hasGallery();
}

async function cancel() {
  if (!running) return;
  const { id } = running;
  stop();
  await asking.catch(() => {});
  await ask("api/capture/cancel", { id }).catch((error) => tell(error.message));
}

async function again() {
  const { camera } = running;
  await cancel();
  begin(camera);
}

async function save(event) {
  event.preventDefault();
  $("review-save").disabled = true;
  await asking.catch(() => {});
  try {
    const { name, lookalikes } = await (await ask("api/capture/enroll", { id: running.id, name: $("review-name").value })).json();
    stop();
    tell(lookalikes.length ? `${name} is enrolled, and looks like ${lookalikes.join(", ")}.` : `${name} is enrolled.`);
    await loadPeople();
    $("guide-begin").focus();
  } catch (error) {
    $("review-problem").textContent = error.message;
  } finally {
    $("review-save").disabled = false;
  }
}

$("guide-cancel").addEventListener("click", cancel);
$("review-cancel").addEventListener("click", cancel);
$("review-again").addEventListener("click", again);
$("review").addEventListener("cancel", cancel);
$("review").querySelector("form").addEventListener("submit", save);
