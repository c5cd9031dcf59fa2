// All cameras side by side, with small pictures, over one connection.
import { $, askFrame, make, pause, place, showBlob } from "./tools.js";

const CAPTION = 34; // px
const GAP = 12;
const EVERY_MS = 300;
const tiles = new Map();

export const words = ({ state, reason }) => ({
  up: "",
  starting: "connecting",
  down: `no picture${reason ? `: ${reason}` : ""}`,
  failed: `stopped${reason ? `: ${reason}` : ""}`,
  ended: "the recording is over",
})[state];

export function whoIsThere({ names, strangers }) {
  const unknown = strangers ? [`${strangers} unknown`] : [];
  return [...names, ...unknown].join(", ");
}

export function showTiles(cameras, open) {
  for (const [name, tile] of tiles) {
    if (cameras.some((camera) => camera.name === name)) continue;
    tile.item.remove();
    tiles.delete(name);
  }
  for (const camera of cameras) {
    if (!tiles.has(camera.name)) tiles.set(camera.name, newTile(camera.name, open));
    const { button, there, absence } = tiles.get(camera.name);
    const wrong = camera.healthy ? "" : words(camera) || "no picture";
    there.textContent = whoIsThere(camera);
    absence.textContent = wrong;
    button.classList.toggle("old", Boolean(wrong));
    const label = [camera.name, wrong || whoIsThere(camera) || "nobody", "show large"].join(", ");
    if (button.ariaLabel !== label) button.ariaLabel = label;
  }
  arrange();
}

function newTile(name, open) {
  const [item, button, stage, image, boxes] = ["li", "button", "span", "img", "span"].map((kind) => make(kind));
  const [absence, caption, there] = [make("span", "absence"), make("span", "caption"), make("span", "there")];
  button.className = "tile";
  button.dataset.camera = name;
  stage.className = "inner";
  image.alt = "";
  image.hidden = true;
  caption.append(make("strong", "", name), there);
  stage.append(image, boxes);
  button.append(stage, absence, caption);
  button.addEventListener("click", () => open(name));
  item.append(button);
  $("grid").append(item);
  return { item, button, stage, image, boxes, absence, there, number: 0 };
}

export const focusTile = (name) => tiles.get(name)?.button.focus();

// As many columns as make the tiles largest.
export function arrange() {
  const { clientWidth: width, clientHeight: height } = $("cameras");
  const count = tiles.size;
  if (!count || !width) return;
  const isNarrow = matchMedia("(max-width: 800px)").matches;
  let best = { columns: 1, side: 0 };
  for (let columns = 1; columns <= count; columns += 1) {
    const rows = Math.ceil(count / columns);
    const tall = (height - (rows - 1) * GAP) / rows - CAPTION;
    const side = Math.min((width - (columns - 1) * GAP) / columns, (tall * 16) / 9);
    if (side > best.side) best = { columns, side };
  }
  const side = Math.max(Math.floor(best.side), 160);
  const columns = Math.min(best.columns, Math.max(Math.floor((width + GAP) / (side + GAP)), 1));
  $("grid").style.gridTemplateColumns = isNarrow ? "minmax(0, 1fr)" : `repeat(${columns}, ${side}px)`;
}

export async function keepTilesNew(isShown) {
  for (;;) {
    const began = performance.now();
    if (isShown() && !document.hidden) {
      for (const [name, tile] of tiles) await renew(name, tile).catch(() => {});
    }
    await pause(Math.max(EVERY_MS - (performance.now() - began), 50));
  }
}

async function renew(name, tile) {
  const { about, picture } = await askFrame(name, { after: tile.number, small: 1 });
  if (!about.number) return;
  await showBlob(tile.image, picture);
  tile.number = about.number;
  const ratio = about.width / about.height;
  tile.stage.style.setProperty("--ratio", ratio);
  tile.stage.classList.toggle("tall", ratio < 16 / 9);
  tile.boxes.replaceChildren(
    ...about.faces.map((face) => {
      const box = make("span", `mark ${face.standing}`);
      place(box, face.box, about);
      return box;
    }),
  );
}
