// A target's image with its map or pseudo-mask, drawn in the browser: opacity and threshold cost no round trip.
// Maps are upsampled as `audit.images.upsample` does: bilinear between the cells' centres, constant beyond them.

const LEVELS = 256;
const UNSEEN = 0.35;        // brightness left to what the network did not see
const OUTLINE = [0, 255, 200];
const TINT = [255, 176, 0];
const KEPT = "camaudit viewer";

const choices = { kind: "heat", opacity: 0.5, outline: true, ...read() };

function read() {
  try { return JSON.parse(localStorage.getItem(KEPT)) ?? {}; } catch { return {}; }
}

function keep() {
  try { localStorage.setItem(KEPT, JSON.stringify(choices)); } catch { /* a browser that keeps nothing */ }
}

function bytes(base64) {
  return Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
}

async function pixels(uri) {
  const picture = new Image();
  picture.src = uri;
  await picture.decode();
  const canvas = new OffscreenCanvas(picture.naturalWidth, picture.naturalHeight);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(picture, 0, 0);
  return context.getImageData(0, 0, canvas.width, canvas.height);
}

// Where a pixel of [first, last) of a view's side lies between two of its cells: [before, after, share of after].
function between(cells, low, high, length) {
  return Array.from({ length }, (_, pixel) => {
    const place = Math.min(Math.max(((pixel + 0.5 - low) * cells) / (high - low) - 0.5, 0), cells - 1);
    const before = Math.floor(place);
    return [before, Math.min(before + 1, cells - 1), place - before];
  });
}

// The map [h, w] at every pixel of the image; NaN where the network saw nothing.
function upsample({ values, shape, view }, width, height) {
  const [h, w] = shape;
  const [x0, y0, x1, y1] = view;
  const across = between(w, x0, x1, width);
  const down = between(h, y0, y1, height);
  const large = new Float32Array(width * height).fill(NaN);
  const seen = (pixel, low, high) => pixel + 0.5 >= low && pixel + 0.5 <= high;
  for (let y = 0; y < height; y += 1) {
    if (!seen(y, y0, y1)) continue;
    const [above, below, lower] = down[y];
    for (let x = 0; x < width; x += 1) {
      if (!seen(x, x0, x1)) continue;
      const [before, after, share] = across[x];
      const upper = values[above * w + before] * (1 - share) + values[above * w + after] * share;
      const under = values[below * w + before] * (1 - share) + values[below * w + after] * share;
      large[y * width + x] = upper * (1 - lower) + under * lower;
    }
  }
  return large;
}

// Pixels of the mask that touch one outside it, and a rim around them, as 2 and 1.
function outline(mask, width, height) {
  const line = new Uint8Array(width * height);
  const inside = (x, y) => x < 0 || y < 0 || x >= width || y >= height || mask[(y * width + x) * 4] > 127;
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      if (!inside(x, y)) continue;
      if (inside(x - 1, y) && inside(x + 1, y) && inside(x, y - 1) && inside(x, y + 1)) continue;
      for (let j = Math.max(y - 1, 0); j <= Math.min(y + 1, height - 1); j += 1) {
        for (let i = Math.max(x - 1, 0); i <= Math.min(x + 1, width - 1); i += 1) line[j * width + i] ||= 1;
      }
      line[y * width + x] = 2;
    }
  }
  return line;
}

function paint(canvas, { image, heat, line, colours }, kind, opacity, threshold, outlined) {
  const { width, height } = image;
  const picture = new ImageData(new Uint8ClampedArray(image.data), width, height);
  const out = picture.data;
  for (let at = 0; at < width * height; at += 1) {
    const byte = at * 4;
    if (heat && kind !== "image") {
      const value = heat[at];
      if (Number.isNaN(value)) {
        for (let c = 0; c < 3; c += 1) out[byte + c] *= UNSEEN;
      } else if (kind === "heat") {
        const level = Math.round(Math.min(Math.max(value * 255, 0), 255)) * 3;
        for (let c = 0; c < 3; c += 1) out[byte + c] = (1 - opacity) * out[byte + c] + opacity * colours[level + c];
      } else {
        const within = threshold <= 0 || value >= threshold;
        for (let c = 0; c < 3; c += 1) out[byte + c] = 0.5 * out[byte + c] + (within ? 0.5 * TINT[c] : 0);
      }
    }
    if (outlined && line && line[at]) {
      for (let c = 0; c < 3; c += 1) out[byte + c] = line[at] === 2 ? OUTLINE[c] : out[byte + c] / 3;
    }
  }
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  canvas.getContext("2d").putImageData(picture, 0, 0);
}

function told({ curve, unscored, threshold: chosen }, kind, threshold) {
  if (kind !== "mask") return "";
  if (!curve) return unscored;
  const level = Math.min(Math.round(threshold * LEVELS), LEVELS - 1);
  const best = curve.reduce((place, value, at) => (value > curve[place] ? at : place), 0);
  const here = `IoU ${curve[level].toFixed(3)} at threshold ${threshold.toFixed(3)}`;
  const least = `best ${curve[best].toFixed(3)} at ${(best / LEVELS).toFixed(3)}`;
  return `${here}; ${least}${chosen === null ? "; no threshold was chosen for this run" : ""}`;
}

export default function (component) {
  const { parentElement, data, setTriggerValue } = component;
  const root = parentElement.querySelector(".viewer");
  const find = (name) => root.querySelector(`[data-name=${name}]`);
  const canvas = root.querySelector("canvas");
  const stage = root.querySelector(".stage");
  const buttons = [...root.querySelectorAll("[data-kind]")];
  // The same element gets the next target: what the last one left behind ends first.
  root.stop?.();
  let drawn = null;
  let gone = false;
  let looking = null;       // what is shown while Z is held or toggled, instead of what was chosen
  let threshold = data.threshold ?? 0.5;
  let corner = null;
  let boxing = false;

  const kind = () => looking ?? (data.heat ? choices.kind : "image");

  function draw() {
    if (!drawn) return;
    paint(canvas, drawn, kind(), choices.opacity, threshold, choices.outline && looking === null);
    for (const button of buttons) button.setAttribute("aria-pressed", String(button.dataset.kind === kind()));
    find("opacity-of").textContent = choices.opacity.toFixed(2);
    find("threshold-of").textContent = threshold.toFixed(3);
    find("opacity-label").hidden = kind() !== "heat";
    find("threshold-label").hidden = kind() !== "mask";
    find("about").textContent = told(data, kind(), threshold);
    canvas.setAttribute("aria-label", `${data.alt}: ${{ image: "the image", heat: "the heat over it", mask: "the pseudo-mask" }[kind()]}`);
  }

  // As large as the stage allows.
  const fit = new ResizeObserver(() => {
    if (!drawn) return;
    const { width, height } = drawn.image;
    const scale = Math.min(stage.clientWidth / width, stage.clientHeight / height);
    Object.assign(canvas.style, { width: `${width * scale}px`, height: `${height * scale}px` });
  });

  function choose(name, value) {
    choices[name] = value;
    looking = null;
    keep();
    draw();
  }

  for (const button of buttons) {
    button.disabled = button.dataset.kind !== "image" && !data.heat;
    button.onclick = () => choose("kind", button.dataset.kind);
  }
  find("opacity").value = choices.opacity;
  find("opacity").oninput = (event) => choose("opacity", Number(event.target.value));
  find("threshold").value = threshold;
  find("threshold").oninput = (event) => { threshold = Number(event.target.value); draw(); };
  find("outline-label").hidden = !data.object;
  find("outline").checked = choices.outline;
  find("outline").onchange = (event) => choose("outline", event.target.checked);
  find("box").hidden = !data.boxable;
  find("box").onclick = () => { boxing = !boxing; mark(); };

  function mark() {
    find("box").setAttribute("aria-pressed", String(boxing));
    stage.classList.toggle("drawing", boxing);
  }
  mark();

  // A box on the object, in pixels of the picture.
  const place = (event) => {
    const shown = canvas.getBoundingClientRect();
    const across = ((event.clientX - shown.left) / shown.width) * canvas.width;
    const down = ((event.clientY - shown.top) / shown.height) * canvas.height;
    return [Math.min(Math.max(across, 0), canvas.width), Math.min(Math.max(down, 0), canvas.height)];
  };
  const spanned = (event) => {
    const [x, y] = place(event);
    return [Math.min(x, corner[0]), Math.min(y, corner[1]), Math.max(x, corner[0]), Math.max(y, corner[1])];
  };
  canvas.onpointerdown = (event) => {
    if (!boxing) return;
    canvas.setPointerCapture(event.pointerId);
    corner = place(event);
  };
  canvas.onpointermove = (event) => {
    if (!corner) return;
    const [x0, y0, x1, y1] = spanned(event);
    draw();
    const context = canvas.getContext("2d");
    context.strokeStyle = `rgb(${OUTLINE})`;
    context.lineWidth = Math.max(canvas.width / 300, 1);
    context.strokeRect(x0, y0, x1 - x0, y1 - y0);
  };
  canvas.onpointerup = (event) => {
    if (!corner) return;
    const box = spanned(event);
    corner = null;
    boxing = false;
    mark();
    if (box[2] - box[0] >= 2 && box[3] - box[1] >= 2) {
      setTriggerValue("box", { subject: data.subject, corners: box.map((side) => side / data.scale) });
    }
  };

  // Z: the image alone and back. N: to the note. Not while someone types.
  const typing = ({ tagName, type }) => tagName === "TEXTAREA" || (tagName === "INPUT" && type !== "range" && type !== "checkbox");
  const press = (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || typing(event.composedPath()[0])) return;
    if (event.key.toLowerCase() === "z") {
      looking = looking ? null : "image";
      draw();
    } else if (event.key.toLowerCase() === "n") {
      document.querySelector(`input[placeholder="${data.note}"]`)?.focus();
      event.preventDefault();
    }
  };
  document.addEventListener("keydown", press);

  (async () => {
    const image = await pixels(data.image);
    const { width, height } = image;
    const values = data.heat && new Float32Array(bytes(data.heat.values).buffer);
    const mask = data.object && (await pixels(data.object)).data;
    if (gone) return;
    drawn = {
      image,
      heat: values && upsample({ ...data.heat, values }, width, height),
      line: mask && outline(mask, width, height),
      colours: bytes(data.colours),
    };
    draw();
    fit.observe(stage);
    root.dataset.drawn = data.subject;
  })();

  root.stop = () => {
    gone = true;
    fit.disconnect();
    document.removeEventListener("keydown", press);
  };
  return root.stop;
}
