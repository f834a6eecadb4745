"use strict";

const COLOURS = ["#e4572e", "#f3a712", "#3ea66b", "#2e86ab", "#a23b72", "#7d70ba", "#c1666b", "#4f9da6"];
const PAUSE = 150; // milliseconds between two pictures of the camera
const SVG = "http://www.w3.org/2000/svg";
const element = (id) => document.getElementById(id);
const results = element("results"), video = element("video"), message = element("message");
const camera = element("camera");

let words = ""; // as last confirmed, not as half typed
let asked = []; // the files shown, to be asked again when the words change
let round = 0; // what belongs to an earlier one is dropped
let stream = null;

function say(text, wrong = false) {
  if (message.textContent !== text) message.textContent = text; // screen readers repeat what is written again
  message.classList.toggle("wrong", wrong);
}

function gone() {
  throw new Error("The server does not answer.");
}

const count = (number) => `${number} ${number === 1 ? "face" : "faces"}`;

function post(place, file) {
  const form = new FormData();
  form.append("images", file, file.name || "picture");
  if (words) form.append("words", words);
  if (element("crops").checked) form.append("detect", "false");
  return fetch(place, { method: "POST", body: form }).catch(gone);
}

async function read(file) {
  const answer = await post("api/predict", file);
  const found = await answer.json().catch(() => ({}));
  if (Array.isArray(found)) return found[0];
  const error = `${file.name}: ${found.error || `the server answered with status ${answer.status}.`}`;
  if (answer.status === 413) return { error }; // too large, which the next picture need not be
  throw new Error(error);
}

function make(tag, text, attributes = {}) {
  const made = ["svg", "rect", "text"].includes(tag)
    ? document.createElementNS(SVG, tag) : document.createElement(tag);
  if (text) made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

function table(face) {
  const rows = [];
  const add = (numbers) => Object.entries(numbers)
    .sort((a, b) => b[1] - a[1])
    .forEach(([name, value]) => {
      const row = make("tr"), cell = make("td");
      cell.append(make("meter", "", { min: 0, max: 1, value, "aria-label": name }));
      row.append(make("th", name, { scope: "row" }), cell, make("td", `${Math.round(100 * value)} %`));
      rows.push(row);
    });
  add(face.probabilities);
  const emotions = rows.length;
  add(face.words);
  if (rows[emotions]) rows[emotions].classList.add("words-begin");
  const made = make("table");
  made.append(...rows);
  return made;
}

function draw(result, overlay, list) {
  overlay.setAttribute("viewBox", `0 0 ${result.width} ${result.height}`);
  const marks = [], texts = [], several = result.faces.length > 1;
  result.faces.forEach((face, index) => {
    const colour = COLOURS[index % COLOURS.length], number = several ? `${index + 1}` : "";
    const [x, y, width, height] = face.box;
    marks.push(make("rect", "", {
      x, y, width, height, rx: Math.min(width, height) / 20, stroke: colour, class: face.unsure ? "unsure" : "",
    }));
    if (number) {
      const size = Math.max(height / 5, result.height / 40);
      marks.push(make("text", number, { x: x + size / 5, y: y + size, "font-size": size, fill: colour }));
    }
    const entry = make("div", "", { class: "face" }), title = make("h3"), dot = make("i");
    dot.style.background = colour;
    title.append(dot, `${number ? `${number}: ` : ""}${face.emotion}${face.unsure ? " (unsure)" : ""}`);
    entry.append(title, table(face));
    texts.push(entry);
  });
  overlay.replaceChildren(...marks);
  list.replaceChildren(...(texts.length ? texts : [make("p", "No face was found.")]));
}

function sheet(name, view) {
  const place = make("article", "", { class: "picture" });
  const frame = make("div", "", { class: "view" }), list = make("div");
  const overlay = make("svg", "", { "aria-hidden": "true" });
  frame.append(view, overlay);
  place.append(make("h2", name), frame, list);
  results.append(place);
  return { overlay, list };
}

function forget() {
  for (const image of results.querySelectorAll("img")) URL.revokeObjectURL(image.src);
  results.replaceChildren();
}

/* Browsers read fewer kinds of picture than the server (no HEIC or TIFF), and some of them lying on their
   side; the server's own drawing takes their place. */
async function display(result, file) {
  const image = make("img", "", { alt: result.source });
  image.src = URL.createObjectURL(file);
  const { overlay, list } = sheet(result.source, image);
  draw(result, overlay, list);
  const shown = await image.decode().then(() => true, () => false);
  if (shown && image.naturalWidth === result.width && image.naturalHeight === result.height) return;
  overlay.replaceChildren();
  const answer = await post("api/annotate", file);
  if (!answer.ok) return;
  URL.revokeObjectURL(image.src);
  image.src = URL.createObjectURL(await answer.blob());
}

async function show(files) {
  if (!files.length) return;
  stopCamera();
  asked = files;
  const mine = ++round;
  let faces = 0, read_so_far = 0;
  forget();
  for (const [index, file] of files.entries()) {
    say(files.length > 1 ? `Reading picture ${index + 1} of ${files.length} …` : "Reading …");
    try {
      const result = await read(file);
      if (mine !== round) return;
      if (result.error) {
        results.append(make("p", result.error));
        continue;
      }
      read_so_far++;
      faces += result.faces.length;
      await display(result, file);
    } catch (error) {
      if (mine === round) say(error.message, true);
      return;
    }
    if (mine !== round) return;
  }
  say(read_so_far ? `${count(faces)}.` : "");
}

function release(source) {
  for (const track of source.getTracks()) track.stop();
}

function stopCamera() {
  if (!stream) return;
  release(stream);
  stream = null;
  round++;
  video.srcObject = null;
  video.hidden = true;
  document.querySelector("main").insertBefore(video, results);
  camera.setAttribute("aria-pressed", "false");
  forget();
  say("The camera is off.");
}

async function startCamera() {
  const mine = ++round;
  let opened = null;
  camera.disabled = true;
  try {
    opened = await navigator.mediaDevices.getUserMedia({ video: { width: 640, height: 480 } });
    if (mine !== round) throw new Error("Photos were chosen meanwhile.");
    video.srcObject = opened;
    video.hidden = false;
    await video.play();
  } catch (error) {
    if (opened) release(opened);
    video.hidden = true;
    if (mine === round) {
      say(navigator.mediaDevices
        ? `The camera cannot be used: ${error.message}`
        : "Browsers give the camera only to pages of this machine (localhost) or over https.", true);
    }
    return;
  } finally {
    camera.disabled = false;
  }
  stream = opened;
  for (const track of opened.getTracks()) track.addEventListener("ended", stopCamera);
  asked = [];
  forget();
  const { overlay, list } = sheet("Camera", video);
  camera.setAttribute("aria-pressed", "true");
  say("Looking …");
  watch(mine, overlay, list);
}

async function watch(mine, overlay, list) {
  const canvas = document.createElement("canvas");
  while (mine === round) {
    canvas.width = video.videoWidth;
    canvas.height = video.videoHeight;
    canvas.getContext("2d").drawImage(video, 0, 0);
    const blob = await new Promise((done) => canvas.toBlob(done, "image/jpeg", 0.9));
    try {
      const result = blob && await read(new File([blob], "camera.jpg"));
      if (mine !== round) return;
      if (result && result.error) throw new Error(result.error);
      if (result) {
        draw(result, overlay, list);
        say(`${count(result.faces.length)}.`);
      }
    } catch (error) {
      if (mine !== round) return;
      overlay.replaceChildren();
      list.replaceChildren();
      say(error.message, true);
    }
    await new Promise((done) => setTimeout(done, PAUSE));
  }
}

element("files").addEventListener("change", (event) => {
  show([...event.target.files]);
  event.target.value = ""; // so that the same file can be chosen again
});
camera.addEventListener("click", () => (stream ? stopCamera() : startCamera()));
element("ask").addEventListener("submit", (event) => event.preventDefault());
element("words").addEventListener("change", (event) => {
  words = event.target.value.trim();
  if (!stream) show(asked);
});
element("crops").addEventListener("change", () => {
  if (!stream) show(asked);
});
const brings = (event) => event.dataTransfer.types.includes("Files");
document.addEventListener("dragover", (event) => {
  if (!brings(event)) return;
  event.preventDefault();
  document.body.classList.add("dropping");
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.body.classList.remove("dropping");
});
document.addEventListener("drop", (event) => {
  document.body.classList.remove("dropping");
  if (!brings(event)) return;
  event.preventDefault();
  show([...event.dataTransfer.files]);
});
document.addEventListener("paste", (event) => show([...event.clipboardData.files]));

element("address").textContent = new URL(".", location.href).href;
words = element("words").value.trim(); // browsers keep it over a reload
fetch("api/model").then((answer) => answer.json()).catch(gone).then((model) => {
  element("card").textContent = model.card || model.name || "";
  if (!model.words) element("words").closest("label").hidden = true;
}).catch((error) => say(error.message, true));
