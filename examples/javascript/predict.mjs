// Score one photograph with a model that `cavga export` wrote.
//
//   npm install --ignore-scripts     # onnxruntime-node; its script would only fetch the libraries of a GPU
//   node predict.mjs model.onnx photograph.ppm [threshold]
//
// `convert photograph.jpg -auto-orient -depth 8 photograph.ppm` (ImageMagick) makes a PPM; the graph takes what any
// decoder gives as 8-bit RGB, at any size, and resizes it itself. With the package sharp:
// `const {data, info} = await sharp(path).rotate().toColourspace("srgb").removeAlpha().raw()
//  .toBuffer({resolveWithObject: true})`, then data, info.height and info.width.
import { readFileSync } from "node:fs";
import { InferenceSession, Tensor } from "onnxruntime-node";

function readPpm(path) {
  const bytes = readFileSync(path);
  const blank = "(?:\\s|#.*\\n)+"; // and comments
  const start = bytes.subarray(0, 4096).toString("latin1");
  const header = new RegExp(`^P6${blank}(\\d+)${blank}(\\d+)${blank}255\\s`).exec(start);
  if (!header) throw new Error(`${path} is no 8-bit PPM (P6)`);
  const [width, height] = [Number(header[1]), Number(header[2])];
  const rgb = new Uint8Array(bytes.subarray(header[0].length, header[0].length + 3 * width * height));
  if (rgb.length < 3 * width * height) throw new Error(`${path} ends too early`);
  return { height, width, rgb };
}

// The model's description is JSON in its metadata, with the threshold that its training set. onnxruntime-node does not
// show metadata, but strings stand in an ONNX file as they are.
function trainedThreshold(model) {
  const description = model.toString("latin1");
  const found = /"image_threshold": ([-+.\deE]+)/.exec(description);
  if (!found) throw new Error("not a model that `cavga export` wrote");
  // Tiles and a region of interest are not in the graph: its score of a whole photograph would be another one.
  if (/"tile_overlap": |"roi": \{/.test(description))
    throw new Error("this model has tiles or a region of interest, which this sample does not cut");
  return Number(found[1]);
}

async function main(modelPath, photographPath, givenThreshold) {
  if (!photographPath) throw new Error("usage: node predict.mjs model.onnx photograph.ppm [threshold]");
  const model = readFileSync(modelPath);
  const trained = trainedThreshold(model);
  const threshold = givenThreshold === undefined ? trained : Number(givenThreshold);
  if (!Number.isFinite(threshold)) throw new Error(`the threshold must be a number, got ${givenThreshold}`);
  const { height, width, rgb } = readPpm(photographPath);
  const session = await InferenceSession.create(model, { logSeverityLevel: 3 }); // errors alone
  const output = await session.run({
    photographs: new Tensor("uint8", rgb, [1, height, width, 3]), // a batch of one
  });
  // Not output.is_anomalous: onnxruntime-node passes over the inputs that have a default, without a word, so that
  // another threshold does not reach the model. For another mask cut output.anomaly_map.
  const score = output.score.data[0];
  const isAnomalous = score >= Math.fround(threshold);
  const mask = output.mask.data;
  const share = mask.reduce((sum, marked) => sum + marked, 0) / mask.length;
  console.log(`score ${score}`);
  console.log(`threshold ${threshold}`);
  console.log(`decision ${isAnomalous ? "anomalous" : "normal"}`);
  console.log(`mask ${100 * share} %`);
}

main(...process.argv.slice(2)).catch((error) => {
  console.error(error.message);
  process.exitCode = 1;
});
