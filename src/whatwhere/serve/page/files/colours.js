// The colours of classes: the same that `whatwhere predict --draw` and `annotate=1` use.

const PALETTE = [
  [255, 64, 64], [0, 166, 255], [255, 176, 0], [24, 190, 90],
  [230, 60, 220], [0, 205, 205], [255, 112, 32], [124, 92, 255],
  [160, 215, 30], [255, 110, 170], [40, 105, 235], [0, 150, 120],
  [205, 140, 255], [190, 120, 50], [255, 230, 60], [200, 30, 100],
];

/** CRC-32 (ISO 3309) of a text in UTF-8. */
export function crc32(text) {
  let rest = 0xffffffff;
  for (const byte of new TextEncoder().encode(text)) {
    rest ^= byte;
    for (let bit = 0; bit < 8; bit += 1) rest = (rest >>> 1) ^ (rest & 1 ? 0xedb88320 : 0);
  }
  return (rest ^ 0xffffffff) >>> 0;
}

/**
 * A colour for each class name: `{fill, ink}` as CSS colours, the ink readable on the fill.
 * A name keeps its colour unless another one of these names wants the same.
 * @param {Iterable<string>} names
 * @returns {Map<string, {fill: string, ink: string}>}
 */
export function classColours(names) {
  const colours = new Map();
  const taken = new Set();
  for (const name of [...new Set(names)].sort(byCodePoint)) {
    let slot = crc32(name) % PALETTE.length;
    while (taken.has(slot) && taken.size < PALETTE.length) slot = (slot + 1) % PALETTE.length;
    taken.add(slot);
    const [red, green, blue] = PALETTE[slot];
    colours.set(name, { fill: `rgb(${red} ${green} ${blue})`, ink: ink(PALETTE[slot]) });
  }
  return colours;
}

// As Python sorts; JavaScript's own order is that of UTF-16.
function byCodePoint(one, other) {
  const a = [...one];
  const b = [...other];
  for (let at = 0; at < Math.min(a.length, b.length); at += 1) {
    const difference = a[at].codePointAt(0) - b[at].codePointAt(0);
    if (difference) return difference;
  }
  return a.length - b.length;
}

function ink([red, green, blue]) {
  const share = (value) => (value / 255) ** 2.2;
  const luminance = 0.2126 * share(red) + 0.7152 * share(green) + 0.0722 * share(blue);
  return luminance > 0.25 ? "#101010" : "#ffffff";
}
