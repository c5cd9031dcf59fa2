// People without a name who were seen more than once: how often, when and where; and who they are.
import { $, ask, make, say } from "./tools.js";
import { loadPeople, moment, people, tell } from "./people.js";

const LEAST = 2;
const items = new Map();
let chosen = null;

const times = (count, noun) => `${count} ${noun}${count === 1 ? "" : "s"}`;
const picture = ({ id }) => `api/strangers/${id}/crop`;
const at = (time) => moment(new Date(time).getTime() / 1000);

export function about({ sightings, days, first, last, cameras }) {
  const since = days > 1 ? ` on ${days} days since ${new Date(first).toLocaleDateString()}` : "";
  return [`seen ${times(sightings, "time")}${since}`, `last ${at(last)}, ${cameras.join(", ")}`];
}

export async function loadStrangers() {
  const { strangers } = await (await ask(`api/strangers?least=${LEAST}`)).json();
  $("strange").hidden = !strangers.length;
  say("stranger-count", strangers.length ? `(${strangers.length})` : "");
  for (const id of [...items.keys()]) if (!strangers.some((stranger) => stranger.id === id)) items.delete(id);
  const children = strangers.map((stranger) => {
    if (!items.has(stranger.id)) items.set(stranger.id, newItem());
    return renewed(items.get(stranger.id), stranger);
  });
  const list = $("strangers");
  if (list.children.length !== children.length || children.some((item, index) => list.children[index] !== item)) list.replaceChildren(...children);
}

function newItem() {
  const [item, button, image, text] = [make("li"), make("button"), make("img", "crop"), make("div")];
  button.type = "button";
  image.alt = "";
  image.loading = "lazy";
  text.append(make("span"), make("small"));
  button.append(image, text);
  item.append(button);
  return { item, button, image, text, shown: "" };
}

function renewed(kept, stranger) {
  const [often, last] = about(stranger);
  const [first, second] = kept.text.children;
  if (first.textContent !== often) first.textContent = often;
  if (second.textContent !== last) second.textContent = last;
  const label = `unknown person, ${often}, ${last}: say who this is`;
  if (kept.button.ariaLabel !== label) kept.button.ariaLabel = label;
  if (kept.shown !== picture(stranger)) kept.image.src = kept.shown = picture(stranger);
  kept.button.onclick = () => open(stranger);
  return kept.item;
}

function open(stranger) {
  chosen = stranger;
  $("stranger-crop").src = picture(stranger);
  say("stranger-about", about(stranger).join("; "));
  $("stranger-name").value = "";
  $("stranger-problem").textContent = "";
  tellEffect();
  $("stranger").showModal();
  $("stranger-name").focus();
}

function tellEffect() {
  const known = people().find(({ name }) => name === $("stranger-name").value.trim());
  say("stranger-effect", known ? `${known.name} is enrolled already. These pictures are added to that person.` : "");
}

async function act(button, work) {
  button.disabled = true;
  try {
    tell(await work());
    $("stranger").close();
    await Promise.all([loadPeople(), loadStrangers()]);
  } catch (error) {
    $("stranger-problem").textContent = error.message;
  } finally {
    button.disabled = false;
  }
}

function enroll(button, ignores) {
  act(button, async () => {
    const path = `api/strangers/${chosen.id}/${ignores ? "ignore" : "name"}`;
    const { name, lookalikes } = await (await ask(path, { name: $("stranger-name").value })).json();
    const twice = lookalikes.map((other) => other.name).join(", ");
    const done = ignores ? `${name} is ignored: known, and never reported.` : `${name} is enrolled.`;
    return twice ? `${done} ${name} looks like ${twice}.` : done;
  });
}

function openForget() {
  $("forgotten").textContent = times(chosen.sightings, "sighting");
  const dialog = $("forget");
  dialog.returnValue = "no";
  dialog.onclose = () => {
    if (dialog.returnValue !== "yes") return;
    act($("stranger-forget"), async () => {
      await ask(`api/strangers/${chosen.id}`, undefined, "DELETE");
      return "The person is forgotten.";
    });
  };
  dialog.showModal();
}

$("stranger").querySelector("form").addEventListener("submit", (event) => {
  event.preventDefault();
  enroll($("stranger-save"), false);
});
$("stranger-ignore").addEventListener("click", () => $("stranger-name").reportValidity() && enroll($("stranger-ignore"), true));
$("stranger-cancel").addEventListener("click", () => $("stranger").close());
$("stranger-forget").addEventListener("click", openForget);
$("stranger-name").addEventListener("input", tellEffect);
