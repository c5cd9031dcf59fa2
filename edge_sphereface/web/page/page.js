// The page asks for one frame at a time and for the next when it has shown that one: a slow line gets fewer, never older.
const $ = (id) => document.getElementById(id);
const pause = (ms) => new Promise((done) => setTimeout(done, ms));
let shown = { number: 0, faces: [], width: 1, height: 1 };
let pictureUrl = "";
let people = [];
let chosen = 0;

async function ask(path, body) {
  const options = body && { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  const answer = await fetch(path, options);
  if (answer.ok) return answer;
  const { error } = await answer.json().catch(() => ({ error: { message: `the server answered ${answer.status}` } }));
  throw Object.assign(new Error(error.hint ? `${error.message} ${error.hint}.` : error.message), { status: answer.status });
}

async function frames() {
  for (;;) {
    const began = performance.now();
    try {
      const answer = await ask(`api/frame?after=${shown.number}`);
      const arrived = performance.now();
      const data = await answer.arrayBuffer();
      const head = new DataView(data).getUint32(0);
      const about = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, head)));
      tellState(about);
      if (about.number) {
        await showPicture(new Blob([new Uint8Array(data, 4 + head)], { type: "image/jpeg" }));
        shown = about;
        showFaces();
        tellLatency(about, performance.now() - arrived);
      }
      await pause(Math.max(about.wait_ms - (performance.now() - began), 0));
    } catch (error) {
      $("dot").className = "dot down";
      $("state").textContent = error.status ? error.message : "the program does not answer";
      $("stage").classList.add("old");
      await pause(1000);
    }
  }
}

async function showPicture(blob) {
  const url = URL.createObjectURL(blob);
  const picture = $("picture");
  picture.src = url;
  await picture.decode();
  picture.hidden = false;
  URL.revokeObjectURL(pictureUrl);
  pictureUrl = url;
}

function showFaces() {
  const old = new Map([...$("faces").children].map((box) => [Number(box.dataset.track), box]));
  for (const face of shown.faces) {
    const box = old.get(face.track) ?? newBox(face.track);
    old.delete(face.track);
    const [left, top, right, bottom] = face.box;
    const share = (value, whole) => `${((100 * value) / whole).toFixed(2)}%`;
    box.className = `face ${face.standing}${top < 0.06 * shown.height ? " low" : ""}`;
    box.style.left = share(left, shown.width);
    box.style.top = share(top, shown.height);
    box.style.width = share(right - left, shown.width);
    box.style.height = share(bottom - top, shown.height);
    const name = face.standing === "undecided" ? "…" : face.name ?? "unknown";
    const similarity = face.similarity === null ? "" : ` ${face.similarity.toFixed(2)}`;
    box.firstChild.textContent = name + similarity;
    box.title = `face ${face.track}: click to enroll`;
  }
  for (const box of old.values()) box.remove();
  const here = new Set(shown.faces.map((face) => face.name));
  for (const item of $("people").children) item.classList.toggle("here", here.has(item.dataset.name));
}

function newBox(track) {
  const box = document.createElement("button");
  box.dataset.track = track;
  box.append(document.createElement("span"));
  box.addEventListener("click", () => openEnroll(track));
  $("faces").append(box);
  return box;
}

function tellState({ stream, statistics }) {
  document.title = stream;
  $("stream").textContent = stream;
  $("dot").className = `dot ${statistics.healthy ? "up" : "down"}`;
  $("stage").classList.toggle("old", !statistics.healthy);
  $("state").textContent = statistics.problems[0] ?? (statistics.source_up ? "" : "no picture from the source");
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
  $("latency").textContent = parts.join(" · ");
}

async function loadPeople() {
  const { people: found, total } = await (await ask("api/gallery")).json();
  people = found ?? [];
  $("count").textContent = found ? `(${total})` : "";
  $("hint").textContent = found ? "Click on a face to enroll it." : "The program runs without a gallery: faces have no names.";
  $("filter").hidden = people.length < 10;
  $("names").replaceChildren(...people.map(({ name }) => new Option(name)));
  listPeople();
}

function listPeople() {
  const wanted = $("filter").value.toLowerCase();
  const items = people.filter(({ name }) => name.toLowerCase().includes(wanted)).map(({ name, embeddings }) => {
    const item = document.createElement("li");
    item.dataset.name = name;
    const [label, count, remove] = ["span", "small", "button"].map((kind) => document.createElement(kind));
    label.textContent = name;
    count.textContent = embeddings;
    count.title = `${embeddings} looks`;
    remove.textContent = "×";
    remove.title = remove.ariaLabel = `delete ${name}`;
    remove.addEventListener("click", () => openRemove(name));
    item.append(label, count, remove);
    return item;
  });
  $("people").replaceChildren(...items);
}

function openEnroll(track) {
  const face = shown.faces.find((other) => other.track === track);
  if (!face) return;
  chosen = track;
  $("portrait").src = cutOut(face.box);
  $("name").value = face.name ?? "";
  $("problem").textContent = "";
  $("enroll").showModal();
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
    const { name, lookalikes } = await (await ask("api/enroll", { track: chosen, name: $("name").value })).json();
    $("enroll").close();
    await loadPeople();
    if (lookalikes.length) $("hint").textContent = `${name} looks like ${lookalikes.join(", ")}: two names for one face?`;
  } catch (error) {
    $("problem").textContent = error.message;
  } finally {
    $("save").disabled = false;
  }
}

function openRemove(name) {
  $("removed").textContent = name;
  const dialog = $("remove");
  dialog.returnValue = "no";
  dialog.onclose = async () => {
    if (dialog.returnValue !== "yes") return;
    await ask("api/remove", { name }).catch((error) => ($("hint").textContent = error.message));
    await loadPeople();
  };
  dialog.showModal();
}

$("enroll").querySelector("form").addEventListener("submit", enroll);
$("cancel").addEventListener("click", () => $("enroll").close());
$("filter").addEventListener("input", listPeople);
setInterval(() => document.hidden || loadPeople().catch(() => {}), 10000);
loadPeople().catch(() => {});
frames();
