export const $ = (id) => document.getElementById(id);
export const pause = (ms) => new Promise((done) => setTimeout(done, ms));
export const ended = (text) => `${text}${/[.!?]$/.test(text) ? "" : "."}`;
export const sentence = (text) => (text ? ended(`${text[0].toUpperCase()}${text.slice(1)}`) : "");

// An unchanged text is left alone: a screen reader would read it again.
export function say(id, text) {
  if ($(id).textContent !== text) $(id).textContent = text;
}

export function make(kind, className = "", text = "") {
  const made = document.createElement(kind);
  made.className = className;
  made.textContent = text;
  return made;
}

export async function ask(path, body, method = body ? "POST" : "GET") {
  const options = { method, ...(body && { headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) }) };
  const answer = await fetch(path, options);
  if (answer.ok) return answer;
  const { error } = await answer.json().catch(() => ({ error: { message: `the server answered ${answer.status}` } }));
  throw Object.assign(new Error([error.message, sentence(error.hint)].join(" ").trim()), { status: answer.status });
}

// A frame is the length of its description, the description and the JPEG file.
export async function askFrame(camera, options) {
  const answer = await ask(`api/frame?${new URLSearchParams({ camera, ...options })}`);
  const arrived = performance.now();
  const data = await answer.arrayBuffer();
  const head = new DataView(data).getUint32(0);
  const about = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, head)));
  return { about, arrived, picture: new Blob([new Uint8Array(data, 4 + head)], { type: "image/jpeg" }) };
}

export async function showBlob(image, blob) {
  const before = image.src;
  image.src = URL.createObjectURL(blob);
  await image.decode();
  image.hidden = false;
  if (before) URL.revokeObjectURL(before);
}

export function place(box, [left, top, right, bottom], { width, height }) {
  const share = (value, whole) => `${((100 * value) / whole).toFixed(2)}%`;
  box.style.left = share(left, width);
  box.style.top = share(top, height);
  box.style.width = share(right - left, width);
  box.style.height = share(bottom - top, height);
}
