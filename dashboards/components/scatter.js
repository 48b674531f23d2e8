// Points in two dimensions; a closed line drawn around some chooses them. Moving and zooming cost no round trip.

const FADED = 0.16;       // of points that the filters leave out
const NEAR = 12;          // pixels within which a click means a point
const views = new WeakMap();

function numbers(base64, Kind) {
  return new Kind(Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0)).buffer);
}

// Whether a place lies within a closed line: how often a ray from it crosses the line.
export function within(x, y, line) {
  let inside = false;
  for (let i = 0, j = line.length - 1; i < line.length; j = i, i += 1) {
    const [xi, yi] = line[i];
    const [xj, yj] = line[j];
    if ((yi > y) !== (yj > y) && x < ((xj - xi) * (y - yi)) / (yj - yi) + xi) inside = !inside;
  }
  return inside;
}

function fitted(xs, ys) {
  const ends = (values) => values.reduce(([low, high], value) => [Math.min(low, value), Math.max(high, value)], [Infinity, -Infinity]);
  const [left, right] = ends(xs);
  const [low, high] = ends(ys);
  return { x: (left + right) / 2, y: (low + high) / 2, span: Math.max(right - left, high - low, 1e-9) * 1.08 };
}

export default function (component) {
  const { parentElement, data, setTriggerValue } = component;
  const root = parentElement.querySelector(".scatter");
  const canvas = root.querySelector("canvas");
  const context = canvas.getContext("2d");
  const xs = numbers(data.x, Float32Array);
  const ys = numbers(data.y, Float32Array);
  const codes = numbers(data.codes, Uint8Array);
  const kept = numbers(data.kept, Uint8Array);
  const before = views.get(parentElement);
  const view = before?.points === data.points ? before : { points: data.points, ...fitted(xs, ys) };
  let line = null;
  let moving = null;
  views.set(parentElement, view);

  const scale = () => Math.min(canvas.clientWidth, canvas.clientHeight) / view.span;
  const across = (x) => (x - view.x) * scale() + canvas.clientWidth / 2;
  const down = (y) => (view.y - y) * scale() + canvas.clientHeight / 2;

  function draw() {
    const dense = window.devicePixelRatio || 1;
    const [width, height] = [canvas.clientWidth * dense, canvas.clientHeight * dense].map(Math.round);
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    context.setTransform(dense, 0, 0, dense, 0, 0);
    context.clearRect(0, 0, canvas.clientWidth, canvas.clientHeight);
    const side = xs.length > 20000 ? 2 : xs.length > 3000 ? 3 : 5;
    for (const shown of [0, 1]) {       // those left out lie beneath
      context.globalAlpha = shown ? 0.85 : FADED;
      for (let code = 0; code < data.colours.length; code += 1) {
        context.fillStyle = data.colours[code];
        for (let at = 0; at < xs.length; at += 1) {
          if (codes[at] === code && kept[at] === shown) context.fillRect(across(xs[at]) - side / 2, down(ys[at]) - side / 2, side, side);
        }
      }
    }
    context.globalAlpha = 1;
    if (line) {
      context.beginPath();
      for (const [x, y] of line) context.lineTo(x, y);
      context.closePath();
      context.strokeStyle = getComputedStyle(canvas).getPropertyValue("--st-primary-color") || "currentColor";
      context.lineWidth = 2;
      context.stroke();
    }
  }

  // Places of the chosen points; a click without a line means the nearest one.
  function chosen([x, y]) {
    if (line.length > 3) {
      return [...xs.keys()].filter((at) => kept[at] && within(across(xs[at]), down(ys[at]), line));
    }
    let best = [-1, NEAR];
    for (let at = 0; at < xs.length; at += 1) {
      const distance = Math.hypot(across(xs[at]) - x, down(ys[at]) - y);
      if (kept[at] && distance < best[1]) best = [at, distance];
    }
    return best[0] < 0 ? [] : [best[0]];
  }

  const place = (event) => {
    const shown = canvas.getBoundingClientRect();
    return [event.clientX - shown.left, event.clientY - shown.top];
  };
  canvas.onpointerdown = (event) => {
    canvas.setPointerCapture(event.pointerId);
    if (event.shiftKey || event.button === 1) moving = [...place(event), view.x, view.y];
    else line = [place(event)];
  };
  canvas.onpointermove = (event) => {
    const [x, y] = place(event);
    if (moving) Object.assign(view, { x: moving[2] - (x - moving[0]) / scale(), y: moving[3] + (y - moving[1]) / scale() });
    else if (line) line.push([x, y]);
    else return;
    draw();
  };
  canvas.onpointerup = (event) => {
    const places = line ? chosen(place(event)) : [];
    line = moving = null;
    draw();
    if (places.length) setTriggerValue("chosen", places);
  };
  canvas.onwheel = (event) => {
    event.preventDefault();
    const [x, y] = place(event);
    const by = Math.exp(event.deltaY * 0.0015);
    const [atX, atY] = [(x - canvas.clientWidth / 2) / scale(), (canvas.clientHeight / 2 - y) / scale()];
    Object.assign(view, { x: view.x + atX * (1 - by), y: view.y + atY * (1 - by), span: view.span * by });
    draw();
  };
  canvas.ondblclick = () => { Object.assign(view, fitted(xs, ys)); draw(); };
  canvas.setAttribute("aria-label", data.alt);

  root.querySelector("[data-name=legend]").replaceChildren(...data.legend.map(([name, colour, count]) => {
    const item = document.createElement("li");
    const dot = document.createElement("i");
    dot.style.background = colour;
    item.append(dot, `${name} (${count.toLocaleString("en")})`);
    item.title = name;
    return item;
  }));
  const sized = new ResizeObserver(draw);
  sized.observe(canvas);
  draw();
  root.dataset.drawn = data.name;
  return () => sized.disconnect();
}
