// A similarity for each patch, laid over the picture: from clear (least) to yellow (most).

const STOPS = [[60, 20, 110], [180, 40, 100], [240, 110, 40], [255, 220, 60]];

function colour(level) {
  const place = level * (STOPS.length - 1);
  const low = Math.min(Math.floor(place), STOPS.length - 2);
  return STOPS[low].map((value, channel) => value + (place - low) * (STOPS[low + 1][channel] - value));
}

// Colours span the map's own 2nd to 98th percentile: they compare places of one picture.
export function drawHeat(canvas, similarity) {
  const sorted = similarity.flat().sort((a, b) => a - b);
  const at = (share) => sorted[Math.round(share * (sorted.length - 1))];
  const low = at(0.02);
  const span = Math.max(at(0.98) - low, 1e-8);
  canvas.height = similarity.length;
  canvas.width = similarity[0].length;
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(canvas.width, canvas.height);
  similarity.flat().forEach((value, index) => {
    const level = Math.min(1, Math.max(0, (value - low) / span));
    pixels.data.set([...colour(level), 40 + 165 * level], 4 * index);
  });
  context.putImageData(pixels, 0, 0);
  canvas.hidden = false; // the browser stretches it over the picture, smoothly
}
