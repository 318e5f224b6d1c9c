// Numbers of chance that come again with the same seed.
export function seeded(seed) {
  let a = seed >>> 0;
  // The finaliser of murmur3 over a counter: enough to shuffle bytes with.
  const next = () => {
    a = (a + 0x9e3779b9) >>> 0;
    let h = a;
    h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
    h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
    return ((h ^ (h >>> 16)) >>> 0) / 2 ** 32;
  };
  return {next, below: (n) => Math.floor(next() * n)};
}
