// Numbers as people read them.

export const number = (n) => Math.round(n).toLocaleString('en');
export const plural = (n, one, many = `${one}s`) => `${number(n)} ${n === 1 ? one : many}`;

const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];

/** Three digits and a unit. */
export function bytes(n) {
  let i = 0;
  while (n >= 1023.5 && i < units.length - 1) { n /= 1024; i++; }
  return `${i === 0 || n >= 99.95 ? Math.round(n) : n.toFixed(1)} ${units[i]}`;
}

/** Three digits, for a number a second. */
export function rate(n) {
  for (const [size, unit] of [[1e9, 'G'], [1e6, 'M'], [1e4, 'k']]) {
    if (n >= size) return `${(n / (unit === 'k' ? 1e3 : size)).toFixed(1)} ${unit}`;
  }
  return n > 0 && n < 9.95 ? n.toFixed(1) : number(n);
}

export const percent = (part) => `${(part * 100).toFixed(part < 0.0995 ? 1 : 0)} %`;

/** A time span of seconds in its two largest units: "3 d 4 h". */
export function span(seconds) {
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  const of = [[86400, 'd'], [3600, 'h'], [60, 'min'], [1, 's']];
  const i = of.findIndex(([size]) => seconds >= size);
  const rest = Math.floor((seconds % of[i][0]) / of[i + 1][0]);
  return `${Math.floor(seconds / of[i][0])} ${of[i][1]}${rest ? ` ${rest} ${of[i + 1][1]}` : ''}`;
}

/** A short time of seconds: "340 µs", "1.2 ms", "2.0 s". */
export function brief(seconds) {
  if (seconds === 0) return '0';
  for (const [size, unit] of [[1, 's'], [1e-3, 'ms'], [1e-6, 'µs']]) {
    if (seconds >= size) return `${(seconds / size).toFixed(seconds / size < 10 ? 1 : 0)} ${unit}`;
  }
  return `${Math.round(seconds * 1e9)} ns`;
}

/** Seconds of a recording, with milliseconds. */
export const stamp = (ms) => (ms / 1000).toFixed(3);
