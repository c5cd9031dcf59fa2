// The gallery: who is enrolled, how they look, and when they were seen last.
import { $, ask, make, say } from "./tools.js";

let known = [];
let isKept;
let here = new Set();
const items = new Map();

export const people = () => known;
export const hasGallery = () => isKept === true;

export async function loadPeople() {
  const { people: found, total } = await (await ask("api/gallery")).json();
  known = found ?? [];
  isKept = Boolean(found);
  say("count", !found ? "" : found.length < total ? `(${found.length} of ${total})` : `(${total})`);
  tellHint();
  $("filter").hidden = known.length < 10;
  $("names").replaceChildren(...known.map(({ name }) => new Option(name)));
  listPeople();
}

export function tellHint() {
  if (isKept === undefined) return;
  const way = $("grid").hidden ? "Click on a face to enroll it." : "Open a camera, then click on a face to enroll it.";
  say("hint", isKept ? way : "The program runs without a gallery: faces have no names.");
}

// Items are kept, so that their pictures are not fetched again.
function listPeople() {
  const wanted = $("filter").value.toLowerCase();
  const listed = known.filter(({ name }) => name.toLowerCase().includes(wanted));
  for (const name of [...items.keys()]) if (!known.some((person) => person.name === name)) items.delete(name);
  const children = listed.map((person) => {
    const key = person.name;
    if (items.get(key)?.crops !== person.crops) items.set(key, { crops: person.crops, item: newItem(person) });
    const { item } = items.get(key);
    const [, about] = item.querySelector("div").children;
    const count = `${person.embeddings} picture${person.embeddings === 1 ? "" : "s"}`;
    about.textContent = person.ignored ? "ignored" : person.seen ? `seen ${moment(person.seen.unix_time)}, ${person.seen.camera}` : `not seen yet · ${count}`;
    about.title = count;
    return item;
  });
  const list = $("people");
  if (list.children.length !== children.length || children.some((item, index) => list.children[index] !== item)) list.replaceChildren(...children);
  markPeople(here);
}

export function markPeople(names) {
  here = new Set(names);
  for (const item of $("people").children) item.classList.toggle("here", here.has(item.dataset.name));
}

function newItem({ name, crops }) {
  const item = make("li");
  item.dataset.name = name;
  let portrait = make("b", "initial", [...name][0]?.toUpperCase());
  portrait.ariaHidden = "true";
  if (crops) {
    portrait = make("img", "crop");
    portrait.loading = "lazy";
    portrait.alt = `enrolled face of ${name}`;
    portrait.src = `api/portrait?${new URLSearchParams({ name })}`;
  }
  const [text, label, about, remove] = [make("div"), make("span", "", name), make("small"), make("button", "", "×")];
  label.title = name;
  remove.title = remove.ariaLabel = `delete ${name}`;
  remove.addEventListener("click", () => openRemove(name));
  text.append(label, about);
  item.append(portrait, text, remove);
  return item;
}

export function moment(unixTime) {
  const at = new Date(unixTime * 1000);
  if (Date.now() / 1000 - unixTime < 5) return "now";
  const isToday = at.toDateString() === new Date().toDateString();
  return isToday ? at.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" }) : at.toLocaleDateString();
}

export function tell(note) {
  say("note", note);
  $("note").hidden = !note;
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

$("filter").addEventListener("input", listPeople);
