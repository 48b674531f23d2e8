// Targets side by side. Choosing costs no round trip; what is decided about the chosen ones does.

const kept = new WeakMap();     // the chosen of a page, while it is drawn again

function element(tag, attributes = {}, ...children) {
  const made = Object.assign(document.createElement(tag), attributes);
  made.append(...children);
  return made;
}

function card({ subject, image, alt, title, about, tag, tone }, chosen, choose, open) {
  const picture = image ? element("img", { src: image, alt, loading: "lazy" }) : element("span", { className: "blank" });
  const text = element("span", { className: "about" }, element("span", { textContent: title }));
  for (const line of about) text.append(element("small", { textContent: line }));
  const button = element("button", { type: "button", title: `Open ${title}`, onclick: () => open(subject) }, picture, text);
  const box = element("input", { type: "checkbox", ariaLabel: `Choose ${title}`, checked: chosen.has(subject) });
  box.onclick = (event) => choose(subject, box.checked, event.shiftKey);
  const made = element("div", { className: "card", role: "listitem" }, button, element("label", { className: "pick" }, box));
  if (tag) made.append(element("span", { className: `tag ${tone}`, textContent: tag }));
  made.dataset.subject = subject;
  return made;
}

export default function (component) {
  const { parentElement, data, setTriggerValue } = component;
  const root = parentElement.querySelector(".targets");
  const find = (name) => root.querySelector(`[data-name=${name}]`);
  const before = kept.get(parentElement);
  const chosen = before?.page === data.page ? before.chosen : new Set();
  const subjects = data.cards.map(({ subject }) => subject);
  let last = null;
  kept.set(parentElement, { page: data.page, chosen });

  function mark() {
    for (const made of root.querySelectorAll(".card")) {
      const here = chosen.has(made.dataset.subject);
      made.classList.toggle("chosen", here);
      made.querySelector("input").checked = here;
    }
    find("all").checked = chosen.size === subjects.length && subjects.length > 0;
    find("all").indeterminate = chosen.size > 0 && chosen.size < subjects.length;
    find("count").textContent = chosen.size ? `${chosen.size} chosen` : `Choose all ${subjects.length} here`;
    for (const button of root.querySelectorAll(".actions button")) {
      button.disabled = button.dataset.single ? chosen.size !== 1 : chosen.size === 0;
    }
  }

  // With the shift key all from the last one on.
  function choose(subject, on, through) {
    const [from, to] = [subjects.indexOf(through && last ? last : subject), subjects.indexOf(subject)].sort((a, b) => a - b);
    for (const each of subjects.slice(from, to + 1)) on ? chosen.add(each) : chosen.delete(each);
    last = subject;
    mark();
  }

  const open = (subject) => setTriggerValue("open", subject);
  root.querySelector(".cards").replaceChildren(...data.cards.map((each) => card(each, chosen, choose, open)));
  find("all").onclick = (event) => {
    for (const each of subjects) event.target.checked ? chosen.add(each) : chosen.delete(each);
    mark();
  };
  find("actions").replaceChildren(...data.actions.map(({ name, label, single }) => {
    const button = element("button", { type: "button", textContent: label });
    if (single) button.dataset.single = "1";
    button.onclick = () => setTriggerValue("act", { name, subjects: subjects.filter((each) => chosen.has(each)) });
    return button;
  }));
  root.querySelector(".bar").hidden = !subjects.length;
  mark();
  root.dataset.drawn = data.page;
  root.dataset.pictures = String(data.cards.every(({ image }) => image));
}
