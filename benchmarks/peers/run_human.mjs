// Runner of @vladmandic/human (npm) on its WebAssembly backend; protocol.py says what it answers.
// The native backend, tfjs-node, is left out: its installation fetches a library from outside npm.
import fs from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import readline from 'node:readline';
import { pathToFileURL } from 'node:url';

const EMOTIONS = ['angry', 'disgust', 'fear', 'happy', 'sad', 'surprise', 'neutral'];
const BATCH = 64;
const job = JSON.parse(process.argv[2]);
const require = createRequire(path.join(process.cwd(), 'package.json')); // the tool's folder
console.log = console.error; // what the tool prints must not come between the answers

// fetch of Node knows no file: addresses, and the models lie beside the package
const webFetch = globalThis.fetch;
globalThis.fetch = async (url, options) => {
  const name = String(url);
  if (!name.startsWith('file:')) return webFetch(url, options);
  return new Response(fs.readFileSync(new URL(name)), { headers: { 'content-type': 'application/octet-stream' } });
};

function readCrops(file) { // .npy, uint8, (N, 48, 48), C order
  const data = fs.readFileSync(file);
  const start = 10 + data.readUInt16LE(8);
  return { pixels: data.subarray(start), count: (data.length - start) / (48 * 48) };
}

async function createTool() {
  const { Human } = require(path.join(process.cwd(), 'node_modules/@vladmandic/human/dist/human.node-wasm.js'));
  const jpeg = require('jpeg-js');
  const off = { enabled: false };
  const human = new Human({
    backend: 'wasm',
    wasmPath: path.join(path.dirname(require.resolve('@tensorflow/tfjs-backend-wasm/package.json')), 'wasm-out') + path.sep,
    modelBasePath: pathToFileURL(path.join(process.cwd(), 'node_modules/@vladmandic/human/models') + path.sep).href,
    cacheSensitivity: 0, // every picture is looked at anew
    debug: false,
    body: off, hand: off, object: off, gesture: off, segmentation: off,
    face: { enabled: true, description: off, iris: off, antispoof: off, liveness: off, emotion: { enabled: true } },
  });
  await human.init();
  await human.load();
  const { tf } = human;
  const model = human.models.models.emotion;

  async function classifyBatch(pixels) { // what its emotion module does, for several faces in one call
    const scores = tf.tidy(() => {
      const faces = tf.tensor4d(Float32Array.from(pixels), [pixels.length / (48 * 48), 48, 48, 1]);
      const side = model.inputs[0].shape[2];
      return model.execute(tf.mul(tf.sub(tf.div(tf.image.resizeBilinear(faces, [side, side], false), 255), 0.5), 2));
    });
    const rows = await scores.array();
    scores.dispose();
    return rows;
  }

  return {
    async classify(pixels) {
      const rows = [];
      for (let i = 0; i < pixels.length; i += BATCH * 48 * 48) {
        rows.push(...await classifyBatch(pixels.subarray(i, i + BATCH * 48 * 48)));
      }
      return rows;
    },
    async readPhoto(file) {
      const { data, width, height } = jpeg.decode(fs.readFileSync(file), { useTArray: true, formatAsRGBA: false });
      const input = tf.tensor3d(data, [height, width, 3], 'int32');
      const result = await human.detect(input);
      input.dispose();
      if (result.error) throw new Error(result.error);
      return result.face.map((face) => ({ box: face.box, emotion: face.emotion?.[0]?.emotion ?? null }));
    },
  };
}

async function seconds(work) {
  const start = performance.now();
  await work();
  return (performance.now() - start) / 1000;
}

function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

function peakMemory() {
  if (fs.existsSync('/proc/self/status')) {
    return Number(/VmHWM:\s*(\d+)/.exec(fs.readFileSync('/proc/self/status', 'utf8'))[1]) / 1024;
  }
  return process.resourceUsage().maxRSS / 1024;
}

const answers = {
  async latency(tool, crops, request) {
    const times = [];
    for (let i = 0; i < request.calls; i += 1) {
      const row = i % crops.count;
      times.push(await seconds(() => tool.classify(crops.pixels.subarray(row * 48 * 48, (row + 1) * 48 * 48))));
    }
    return { seconds: median(times) };
  },
  async batch(tool, crops, request) {
    const pixels = new Uint8Array(request.count * 48 * 48);
    for (let i = 0; i < pixels.length; i += crops.pixels.length) {
      pixels.set(crops.pixels.subarray(0, Math.min(crops.pixels.length, pixels.length - i)), i);
    }
    return { seconds: await seconds(() => tool.classify(pixels)) };
  },
  async labels(tool, crops) {
    return { labels: (await tool.classify(crops.pixels)).map((row) => row.indexOf(Math.max(...row))) };
  },
  async photo(tool, crops, request) {
    let faces;
    const time = await seconds(async () => { faces = await tool.readPhoto(request.path); });
    for (const face of faces) if (!EMOTIONS.includes(face.emotion)) face.emotion = null;
    return { seconds: time, faces };
  },
  async memory() { return { peak_mb: peakMemory() }; },
};

let tool;
let crops;
for await (const line of readline.createInterface({ input: process.stdin })) {
  const request = JSON.parse(line);
  let answer;
  try {
    tool ??= await createTool();
    if (request.do !== 'photo') crops ??= readCrops(job.crops);
    answer = await answers[request.do](tool, crops, request);
  } catch (error) {
    answer = { error: `${error.name}: ${error.message}` };
  }
  fs.writeSync(1, `${JSON.stringify(answer)}\n`);
}
