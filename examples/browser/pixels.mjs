// Pictures to what the image tower eats, to the same bit as the Python package: Pillow's anti-aliased bilinear
// resize on 8-bit values. A browser's own canvas resize gives other pixels, and other scores.

const PRECISION_BITS = 22; // of Pillow's fixed-point weights: 32 - 8 for the pixel - 2 for headroom

/**
 * @typedef {{data: Uint8Array|Uint8ClampedArray, width: number, height: number}} Picture
 * RGB or RGBA, three or four bytes a pixel, rows from the top: an ImageData is one.
 */

/**
 * The picture without its alpha channel, laid over white.
 * @param {Picture} picture
 * @returns {Picture} RGB.
 */
export function overWhite({ data, width, height }) {
  if (data.length === width * height * 3) return { data, width, height };
  if (data.length !== width * height * 4) {
    throw new Error(`${data.length} bytes are no RGB or RGBA picture of ${width} by ${height} pixels`);
  }
  const rgb = new Uint8Array(width * height * 3);
  for (let from = 0, to = 0; from < data.length; from += 4) {
    const alpha = data[from + 3];
    for (let channel = 0; channel < 3; channel++) {
      const sum = 255 * (255 - alpha) + data[from + channel] * alpha + 128;
      rgb[to++] = (sum + (sum >> 8)) >> 8;
    }
  }
  return { data: rgb, width, height };
}

/**
 * Pillow's `resize((width, height), BILINEAR)`, rounded to 8 bits after each of its two passes.
 *
 * Columns come first, but rows where the height shrinks much more, as in Pillow 13 (its older versions always
 * began with columns: single values differ by one).
 * @param {Picture} picture RGB.
 * @param {number} width
 * @param {number} height
 * @returns {Uint8Array} height * width * 3.
 */
export function resize(picture, width, height) {
  const lost = picture.height - height;
  if (lost > 0 && lost > 2 * (picture.width - width)) {
    return toWidth(toHeight(picture, height), width).data;
  }
  return toHeight(toWidth(picture, width), height).data;
}

function toWidth({ data, width, height }, to) {
  return { data: width === to ? data : resizeColumns(data, width, height, to), width: to, height };
}

function toHeight({ data, width, height }, to) {
  return { data: height === to ? data : resizeRows(data, width, height, to), width, height: to };
}

function resizeColumns(data, from, height, to) {
  const taps = triangle(from, to);
  const out = new Uint8Array(to * height * 3);
  for (let row = 0, at = 0; row < height; row++) {
    for (const { first, weights } of taps) {
      const start = (row * from + first) * 3;
      for (let channel = 0; channel < 3; channel++) {
        let sum = 1 << (PRECISION_BITS - 1);
        for (let tap = 0; tap < weights.length; tap++) sum += data[start + tap * 3 + channel] * weights[tap];
        out[at++] = Math.min(sum >> PRECISION_BITS, 255);
      }
    }
  }
  return out;
}

function resizeRows(data, width, from, to) {
  const stride = width * 3;
  const out = new Uint8Array(stride * to);
  triangle(from, to).forEach(({ first, weights }, row) => {
    for (let column = 0; column < stride; column++) {
      let sum = 1 << (PRECISION_BITS - 1);
      for (let tap = 0; tap < weights.length; tap++) sum += data[(first + tap) * stride + column] * weights[tap];
      out[row * stride + column] = Math.min(sum >> PRECISION_BITS, 255);
    }
  });
  return out;
}

/** For every output, the first input that counts and whole-number weights that sum to about 2 ** 22. */
function triangle(from, to) {
  const scale = from / to;
  const reach = Math.max(scale, 1);
  return Array.from({ length: to }, (_, index) => {
    const centre = (index + 0.5) * scale;
    const first = Math.max(Math.trunc(centre - reach + 0.5), 0);
    const last = Math.min(Math.trunc(centre + reach + 0.5), from);
    const weights = [];
    for (let place = first; place < last; place++) {
      weights.push(Math.max(0, 1 - Math.abs((place - centre + 0.5) * (1 / reach))));
    }
    const sum = weights.reduce((total, weight) => total + weight, 0);
    return { first, weights: weights.map((weight) => Math.trunc(0.5 + (weight / sum) * 2 ** PRECISION_BITS)) };
  });
}

/**
 * Patches high and wide under a token budget: the picture's own shape, as large as the budget allows.
 * @param {number} height pixels.
 * @param {number} width pixels.
 * @param {number} patch side of a patch in pixels.
 * @param {number} budget the most patches.
 * @returns {[number, number]}
 */
export function naflexGrid(height, width, patch, budget) {
  const sides = (ratio) => [height, width].map((side) => Math.max(1, Math.ceil((side * ratio) / patch)));
  let [low, high] = [1e-5 / 10, 100];
  while (high - low >= 1e-5) {
    const middle = (low + high) / 2;
    const [tall, wide] = sides(middle);
    if (tall * wide <= budget) low = middle;
    else high = middle;
  }
  if (low <= 1e-5) throw new Error(`${height} by ${width} pixels are too narrow for ${budget} patches`);
  return sides(low);
}

/** Pixels (H, W, 3) to the tower's range [-1, 1], channels first. */
export function planes(pixels) {
  const area = pixels.length / 3;
  const out = new Float32Array(pixels.length);
  for (let index = 0; index < pixels.length; index++) {
    out[(index % 3) * area + Math.floor(index / 3)] = pixels[index] / 127.5 - 1;
  }
  return out;
}

/** Pixels (h * p, w * p, 3) to patches (h * w, p * p * 3) in [-1, 1], each in the order (row, column, channel). */
export function patches(pixels, [tall, wide], patch) {
  const out = new Float32Array(pixels.length);
  const run = patch * 3;
  let at = 0;
  for (let row = 0; row < tall; row++) {
    for (let column = 0; column < wide; column++) {
      for (let line = 0; line < patch; line++) {
        const start = ((row * patch + line) * wide + column) * run;
        for (let index = 0; index < run; index++) out[at++] = pixels[start + index] / 127.5 - 1;
      }
    }
  }
  return out;
}
