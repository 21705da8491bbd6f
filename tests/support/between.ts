/** What another thread does at a certain moment, without another thread: one of Atomics' functions is replaced. */

type Name = "load" | "compareExchange";

/**
 * Runs `body` and calls `interfere` each time right after an `Atomics.load` (the caller has looked), or right before an
 * `Atomics.compareExchange` (and is about to act on it).
 * @param interfere gets the number of the call, from 0 on, and its array; what it does itself is not interfered with
 */
export function between<T>(name: Name, interfere: (call: number, words: unknown) => void, body: () => T): T {
  const original = Atomics[name] as (...args: unknown[]) => unknown;
  let calls = 0, busy = false;
  const interfering = (words: unknown) => {
    if (busy) return;
    busy = true;
    interfere(calls++, words);
    busy = false;
  };
  Reflect.set(Atomics, name, (...args: unknown[]) => {
    if (name === "compareExchange") interfering(args[0]);
    const result = original(...args);
    if (name === "load") interfering(args[0]);
    return result;
  });
  try {
    return body();
  } finally {
    Reflect.set(Atomics, name, original);
  }
}
