/** Random bytes that can be had again: a test that uses them prints the seed. */

/** A seed for {@linkcode randomBytes}, printed. */
export function printedSeed(): number {
  const seed = crypto.getRandomValues(new Uint32Array(1))[0];
  console.log(`seed ${seed}`);
  return seed;
}

/** `count` bytes from 1 to 255 by a linear congruential generator (Numerical Recipes). */
export function randomBytes(count: number, seed: number): Uint8Array<ArrayBuffer> {
  let state = seed;
  return Uint8Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return 1 + (state >>> 16) % 255;
  });
}
