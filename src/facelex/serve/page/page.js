"use strict";

const COLOURS = ["#e4572e", "#f3a712", "#3ea66b", "#2e86ab", "#a23b72", "#7d70ba", "#c1666b", "#4f9da6"];
const PAUSE = 150; // milliseconds between two pictures of the camera
const element = (id) => document.getElementById(id);
const results = element("results"), video = element("video"), message = element("message");

let asked = []; // the files shown, to be asked again when the words change
let round = 0; // answers to an earlier question are dropped
let stream = null;

function say(text, wrong = false) {
  message.textContent = text;
  message.classList.toggle("wrong", wrong);
}

async function request(files) {
  const form = new FormData();
  for (const file of files) form.append("images", file, file.name || "picture");
  const words = element("words").value.trim();
  if (words) form.append("words", words);
  if (element("crops").checked) form.append("detect", "false");
  const answer = await fetch("api/predict", { method: "POST", body: form });
  const found = await answer.json();
  if (!Array.isArray(found)) throw new Error(found.error || `The server answered with ${answer.status}.`);
  return found;
}

function make(tag, text, attributes = {}) {
  const made = tag === "svg" || tag === "rect"
    ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  if (text) made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

function table(face) {
  const rows = [];
  const add = (numbers) => Object.entries(numbers)
    .sort((a, b) => b[1] - a[1])
    .forEach(([name, value]) => {
      const row = make("tr");
      const bar = make("meter", "", { min: 0, max: 1, value, "aria-label": name });
      const cell = make("td");
      cell.append(bar);
      row.append(make("th", name, { scope: "row" }), cell, make("td", `${Math.round(100 * value)} %`));
      rows.push(row);
    });
  add(face.probabilities);
  const emotions = rows.length;
  add(face.words);
  rows[emotions]?.classList.add("words-begin");
  const made = make("table");
  made.append(...rows);
  return made;
}

function draw(result, overlay, list) {
  overlay.setAttribute("viewBox", `0 0 ${result.width} ${result.height}`);
  const marks = [], texts = [];
  result.faces.forEach((face, number) => {
    const colour = COLOURS[number % COLOURS.length];
    const [x, y, width, height] = face.box;
    marks.push(make("rect", "", {
      x, y, width, height, rx: Math.min(width, height) / 20, stroke: colour, class: face.unsure ? "unsure" : "",
    }));
    const entry = make("div", "", { class: "face" });
    const title = make("h3"), dot = make("i");
    dot.style.background = colour;
    title.append(dot, `${face.emotion}${face.unsure ? " (unsure)" : ""}`);
    entry.append(title, table(face));
    texts.push(entry);
  });
  overlay.replaceChildren(...marks);
  list.replaceChildren(...(texts.length ? texts : [make("p", "No face was found.")]));
}

function sheet(name, view) {
  const place = make("article", "", { class: "picture" });
  const frame = make("div", "", { class: "view" }), overlay = make("svg"), list = make("div");
  frame.append(view, overlay);
  place.append(make("h2", name), frame, list);
  return { place, overlay, list };
}

function forget() {
  for (const image of results.querySelectorAll("img")) URL.revokeObjectURL(image.src);
  results.replaceChildren();
}

async function show(files) {
  if (!files.length) return;
  stopCamera();
  asked = files;
  const mine = ++round;
  say(files.length > 1 ? `Reading ${files.length} pictures …` : "Reading …");
  try {
    const found = await request(files);
    if (mine !== round) return;
    forget();
    found.forEach((result, number) => {
      if (result.error) {
        results.append(make("p", result.error));
        return;
      }
      const image = make("img", "", { alt: result.source });
      image.src = URL.createObjectURL(files[number]);
      const { place, overlay, list } = sheet(result.source, image);
      draw(result, overlay, list);
      results.append(place);
    });
    const faces = found.reduce((sum, result) => sum + (result.faces ? result.faces.length : 0), 0);
    say(`${faces} ${faces === 1 ? "face" : "faces"}.`);
  } catch (error) {
    if (mine === round) say(error.message, true);
  }
}

function stopCamera() {
  if (!stream) return;
  for (const track of stream.getTracks()) track.stop();
  stream = null;
  video.srcObject = null;
  video.hidden = true;
  document.querySelector("main").insertBefore(video, results);
  element("camera").setAttribute("aria-pressed", "false");
  round++;
  forget();
  say("The camera is off.");
}

async function startCamera() {
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { width: 640, height: 480 } });
  } catch (error) {
    say(navigator.mediaDevices
      ? `The camera cannot be used: ${error.message}`
      : "Browsers give the camera only to pages of this machine (localhost) or over https.", true);
    return;
  }
  forget();
  asked = [];
  const mine = ++round;
  video.srcObject = stream;
  video.hidden = false;
  await video.play();
  const { place, overlay, list } = sheet("Camera", video);
  results.append(place);
  element("camera").setAttribute("aria-pressed", "true");
  say("Looking …");
  const canvas = document.createElement("canvas");
  while (mine === round) {
    canvas.width = video.videoWidth;
    canvas.height = video.videoHeight;
    canvas.getContext("2d").drawImage(video, 0, 0);
    const blob = await new Promise((done) => canvas.toBlob(done, "image/jpeg", 0.9));
    try {
      const [result] = await request([new File([blob], "camera.jpg")]);
      if (mine !== round) return;
      draw(result, overlay, list);
      say(`${result.faces.length} ${result.faces.length === 1 ? "face" : "faces"}.`);
    } catch (error) {
      if (mine === round) say(error.message, true);
    }
    await new Promise((done) => setTimeout(done, PAUSE));
  }
}

element("files").addEventListener("change", (event) => {
  show([...event.target.files]);
  event.target.value = ""; // so that the same file can be chosen again
});
element("camera").addEventListener("click", () => (stream ? stopCamera() : startCamera()));
element("ask").addEventListener("submit", (event) => event.preventDefault());
element("words").addEventListener("change", () => show(stream ? [] : asked));
element("crops").addEventListener("change", () => show(stream ? [] : asked));
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("dropping");
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.body.classList.remove("dropping");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dropping");
  show([...event.dataTransfer.files]);
});
document.addEventListener("paste", (event) => show([...event.clipboardData.files]));

element("address").textContent = new URL(".", location.href).href;
fetch("api/model").then((answer) => answer.json()).then((model) => {
  element("card").textContent = model.card || model.name || "";
  if (!model.words) element("words").closest("label").hidden = true;
}).catch(() => say("The server does not answer.", true));
