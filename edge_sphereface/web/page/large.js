// One camera, large. It asks for one frame at a time and for the next when it has shown that one: a slow line gets fewer,
// never older.
import { $, ask, askFrame, pause, place, say, showBlob } from "./tools.js";
import { hasGallery, loadPeople, markPeople, people, tell } from "./people.js";

const NOTHING = { number: 0, faces: [], width: 1, height: 1 };
let shown = NOTHING;
let camera = "";
let turn = 0;
let chosen = 0;

export function show(name) {
  camera = name;
  shown = NOTHING;
  turn += 1;
  $("picture").hidden = true;
  $("picture").alt = `live picture of ${name}`;
  $("faces").replaceChildren();
  $("stage").classList.add("old");
  say("absence", "no picture yet");
  say("latency", "\u00a0");
  frames(turn);
}

export function hide() {
  turn += 1;
  camera = "";
}

async function frames(mine) {
  while (mine === turn) {
    const began = performance.now();
    try {
      const { about, arrived, picture } = await askFrame(camera, shown.number ? { after: shown.number } : {});
      if (mine !== turn) return;
      tellState(about);
      if (about.number) {
        await showBlob($("picture"), picture);
        if (mine !== turn) return;
        $("view").style.setProperty("--ratio", $("picture").naturalWidth / $("picture").naturalHeight);
        shown = about;
        showFaces();
        tellLatency(about, performance.now() - arrived);
      } else if (shown.number) {
        say("latency", `no new picture for ${Math.round(about.statistics.frame_s)} s`);
      }
      await pause(Math.max((shown.number ? about.wait_ms : 500) - (performance.now() - began), 0));
    } catch (error) {
      if (mine !== turn) return;
      tellAbsence(error.status ? error.message : "the program does not answer");
      await pause(1000);
    }
  }
}

function showFaces() {
  const old = new Map([...$("faces").children].map((box) => [Number(box.dataset.track), box]));
  for (const face of shown.faces) {
    const box = old.get(face.track) ?? newBox(face.track);
    old.delete(face.track);
    box.className = `face ${face.standing}${face.box[1] < 0.06 * shown.height ? " low" : ""}`;
    place(box, face.box, shown);
    const name = face.name ?? { undecided: "…", ignored: "ignored" }[face.standing] ?? "unknown";
    const similarity = face.similarity === null || face.standing === "ignored" ? "" : ` ${face.similarity.toFixed(2)}`;
    box.firstChild.textContent = name + similarity;
    box.title = `${name}${hasGallery() ? ": click to enroll" : ""}`;
    if (box.ariaLabel !== box.title) box.ariaLabel = box.title;
    box.disabled = !hasGallery();
  }
  for (const box of old.values()) box.remove();
  markPeople(shown.faces.map((face) => face.name));
}

function newBox(track) {
  const box = document.createElement("button");
  box.dataset.track = track;
  box.append(document.createElement("span"));
  box.addEventListener("click", () => openEnroll(track));
  $("faces").append(box);
  return box;
}

function tellState({ statistics }) {
  if (!statistics.healthy) return tellAbsence(statistics.problems[0] ?? "no picture from the source");
  $("dot").className = "dot up";
  $("stage").classList.remove("old");
  say("state", statistics.problems[0] ?? "");
}

export function tellAbsence(reason) {
  $("dot").className = "dot down";
  $("stage").classList.add("old");
  say("state", reason);
  say("absence", reason);
}

function tellLatency({ statistics, age_ms }, since) {
  const { fps, work_ms, embeddings, seconds, detect_fps, detect_side } = statistics;
  const parts = [
    `picture ${Math.round(age_ms + since)} ms old`,
    `${fps.toFixed(1)} frames/s`,
    `${(work_ms ?? 0).toFixed(1)} ms work a frame`,
    `${detect_fps.toFixed(1)} detections/s at ${detect_side} px`,
    `${((60 * embeddings) / Math.max(seconds, 1)).toFixed(1)} embeddings/min`,
  ];
  say("latency", parts.join(" · "));
}

function openEnroll(track) {
  const face = shown.faces.find((other) => other.track === track);
  if (!face) return;
  chosen = track;
  $("portrait").src = cutOut(face.box);
  $("name").value = face.name ?? "";
  $("problem").textContent = "";
  tellEffect();
  $("enroll").showModal();
  $("name").select();
}

function tellEffect() {
  const known = people().find(({ name }) => name === $("name").value.trim());
  say("effect", known ? `${known.name} is enrolled already. This face is added to that person.` : "");
}

function cutOut([left, top, right, bottom]) {
  const picture = $("picture");
  const scale = picture.naturalWidth / shown.width;
  const canvas = document.createElement("canvas");
  canvas.width = Math.max((right - left) * scale, 1);
  canvas.height = Math.max((bottom - top) * scale, 1);
  canvas.getContext("2d").drawImage(picture, left * scale, top * scale, canvas.width, canvas.height, 0, 0, canvas.width, canvas.height);
  return canvas.toDataURL("image/jpeg");
}

async function enroll(event) {
  event.preventDefault();
  $("save").disabled = true;
  try {
    const { name, lookalikes } = await (await ask(`api/enroll?${new URLSearchParams({ camera })}`, { track: chosen, name: $("name").value })).json();
    $("enroll").close();
    const twice = `${name} looks like ${lookalikes.join(", ")}. If this is one person, delete the wrong name with ×.`;
    tell(lookalikes.length ? twice : `${name} is enrolled.`);
    await loadPeople();
  } catch (error) {
    $("problem").textContent = error.message;
  } finally {
    $("save").disabled = false;
  }
}

$("enroll").querySelector("form").addEventListener("submit", enroll);
$("cancel").addEventListener("click", () => $("enroll").close());
$("name").addEventListener("input", tellEffect);
