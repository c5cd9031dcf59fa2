// The page asks for one frame at a time and for the next when it has shown that one: a slow line gets fewer, never older.
const $ = (id) => document.getElementById(id);
const sentence = (hint) => (hint ? `${hint[0].toUpperCase()}${hint.slice(1)}.` : "");
const pause = (ms) => new Promise((done) => setTimeout(done, ms));
let shown = { number: 0, faces: [], width: 1, height: 1 };
let pictureUrl = "";
let people = [];
let hasGallery = false;
let chosen = 0;

async function ask(path, body) {
  const options = body && { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  const answer = await fetch(path, options);
  if (answer.ok) return answer;
  const { error } = await answer.json().catch(() => ({ error: { message: `the server answered ${answer.status}` } }));
  throw Object.assign(new Error([error.message, sentence(error.hint)].join(" ").trim()), { status: answer.status });
}

async function frames() {
  for (;;) {
    const began = performance.now();
    try {
      const answer = await ask(shown.number ? `api/frame?after=${shown.number}` : "api/frame");
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
      } else if (shown.number) {
        $("latency").textContent = `no new picture for ${Math.round(about.statistics.frame_s)} s`;
      }
      await pause(Math.max((shown.number ? about.wait_ms : 500) - (performance.now() - began), 0));
    } catch (error) {
      tellAbsence(error.status ? error.message : "the program does not answer");
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
  $("view").style.setProperty("--ratio", picture.naturalWidth / picture.naturalHeight);
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
    box.title = `${name}${hasGallery ? ": click to enroll" : ""}`;
    box.disabled = !hasGallery;
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
  if (!statistics.healthy) return tellAbsence(statistics.problems[0] ?? "no picture from the source");
  $("dot").className = "dot up";
  $("stage").classList.remove("old");
  $("state").textContent = statistics.problems[0] ?? "";
}

function tellAbsence(reason) {
  $("dot").className = "dot down";
  $("stage").classList.add("old");
  $("state").textContent = $("absence").textContent = reason;
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
  hasGallery = Boolean(found);
  $("count").textContent = !found ? "" : found.length < total ? `(${found.length} of ${total})` : `(${total})`;
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
    label.title = name;
    count.title = `${embeddings} embedding${embeddings === 1 ? "" : "s"}`;
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
  tellEffect();
  $("enroll").showModal();
  $("name").select();
}

function tellEffect() {
  const known = people.find(({ name }) => name === $("name").value.trim());
  $("effect").textContent = known ? `${known.name} is enrolled already. This face is added to that person.` : "";
}

function tell(note) {
  $("note").textContent = note;
  $("note").hidden = !note;
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
    const twice = `${name} looks like ${lookalikes.join(", ")}. If this is one person, delete the wrong name with ×.`;
    tell(lookalikes.length ? twice : `${name} is enrolled.`);
    await loadPeople();
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
    await ask("api/remove", { name }).then(() => tell(`${name} is deleted.`), (error) => tell(error.message));
    await loadPeople().catch((error) => tell(error.message));
  };
  dialog.showModal();
}

$("enroll").querySelector("form").addEventListener("submit", enroll);
$("cancel").addEventListener("click", () => $("enroll").close());
$("name").addEventListener("input", tellEffect);
$("filter").addEventListener("input", listPeople);
setInterval(() => document.hidden || loadPeople().catch(() => {}), 10000);
loadPeople().catch(() => {});
frames();
